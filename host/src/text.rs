//! Text on its way to a person: [what comes from elsewhere](bitquilt_plugin_api::text), and [`Columns`] for a table.

pub use bitquilt_plugin_api::text::{Brief, Cut, Lines, List, Passage, Quoted};

/// The most characters of a table's cell that are shown.
const CELL: usize = 300;

/// The widths of a table's columns, none above 300 characters. A cell that is longer is cut.
#[derive(Clone, Debug)]
pub struct Columns<const N: usize> {
    /// The number of columns, from the first, whose cells begin at the left.
    left: usize,
    widths: [usize; N],
}

impl<const N: usize> Columns<N> {
    /// Columns as wide as the widest of their headings and cells. The first `left` columns hold words, which begin at the left; the
    /// others hold numbers.
    pub fn new(left: usize, headings: [&str; N], rows: &[[String; N]]) -> Self {
        let mut widths = headings.map(|heading| cell(heading).chars().count());
        for row in rows {
            for (width, text) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell(text).chars().count());
            }
        }
        Self { left, widths }
    }

    /// A row, without spaces at its end.
    pub fn line(&self, row: &[impl AsRef<str>; N]) -> String {
        let cells = row.iter().zip(self.widths).enumerate().map(|(column, (text, width))| {
            let text = cell(text.as_ref());
            if column < self.left { format!("{text:<width$}") } else { format!("{text:>width$}") }
        });
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    }
}

/// A cell as it is shown, of at most [`CELL`] characters.
fn cell(text: &str) -> String {
    let mut shown = Cut(text, CELL).to_string();
    match shown.char_indices().nth(CELL - 1) {
        Some((at, last)) if at + last.len_utf8() < shown.len() => {
            shown.truncate(at);
            shown + "…"
        }
        _ => shown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_have_a_bound() {
        let long = "x".repeat(1 << 17);
        let columns = Columns::new(1, ["node", "bytes"], &[[long.clone(), "1".to_owned()]]);
        assert_eq!(columns.line(&["a", "12"]).chars().count(), CELL + 2 + 5);
        assert_eq!(columns.line(&[&long, "1"]), format!("{}…      1", "x".repeat(CELL - 1)));
        let controls = "\u{1b}".repeat(1 << 17);
        assert_eq!(cell(&controls).chars().count(), CELL);
        assert_eq!(cell(&"x".repeat(CELL)), "x".repeat(CELL));
        assert_eq!(Columns::new(1, ["a", "b"], &[]).line(&["a", ""]), "a");
    }
}
