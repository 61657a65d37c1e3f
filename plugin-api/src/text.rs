//! Text from elsewhere, a file's or a plugin's, on its way to a person: without control characters, which a terminal obeys, and no
//! longer than a person reads.
//!
//! [`Brief`] is for a name inside a sentence, [`List`] and [`Quoted`] for several, [`Passage`] for a whole message.

use std::fmt::{self, Display, Formatter, Write};

/// The most characters of a name that are shown.
const NAME: usize = 120;
/// The most names of a list that are shown.
const NAMES: usize = 64;
/// The characters of a list after which no more names are shown.
const NAMES_LENGTH: usize = 1500;
/// The most characters of a message that are shown.
const MESSAGE: usize = 4000;
/// The most characters that a passage may be longer: room for what is said of a cut.
const REMARK: usize = 64;

/// A name, or another short text, on one line. One of more than 120 characters is cut, and its length follows.
///
/// ```
/// use bitquilt_plugin_api::text::Brief;
/// assert_eq!(Brief("blk.0\u{1b}[31m\n").to_string(), r"blk.0\u{1b}[31m\n");
/// assert!(Brief(&"x".repeat(1000)).to_string().ends_with("x… (1000 characters)"));
/// ```
#[derive(Clone, Copy, Debug)]
pub struct Brief<'a>(pub &'a str);

impl Display for Brief<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Cut(self.0, NAME).fmt(f)?;
        match self.0.chars().count() {
            count if count > NAME => write!(f, " ({count} characters)"),
            _ => Ok(()),
        }
    }
}

/// Text on one line, of which so many characters are shown.
#[derive(Clone, Copy, Debug)]
pub struct Cut<'a>(pub &'a str, pub usize);

impl Display for Cut<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(text, most) = *self;
        text.chars().take(most).try_for_each(|char| write_char(f, char))?;
        if text.chars().nth(most).is_some() { f.write_str("…") } else { Ok(()) }
    }
}

/// A message of one or more lines. One of many more than 4000 characters, as they are shown, is cut there, and how many are left out
/// follows. What was cut is not cut again.
#[derive(Clone, Copy, Debug)]
pub struct Passage<'a>(pub &'a str);

impl Display for Passage<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (mut shown, mut end) = (0, None);
        for (at, char) in self.0.char_indices() {
            shown += shown_len(char);
            if shown > MESSAGE {
                end.get_or_insert(at);
            }
            if shown > MESSAGE + REMARK {
                break;
            }
        }
        let Some(end) = end.filter(|_| shown > MESSAGE + REMARK) else { return Lines(self.0).fmt(f) };
        let (beginning, rest) = self.0.split_at(end);
        write!(f, "{}… (and {} more characters)", Lines(beginning), rest.chars().count())
    }
}

impl Passage<'_> {
    /// What another library says, which may be no UTF-8, as a passage shows it.
    pub fn of_bytes(said: &[u8]) -> String {
        Passage(&String::from_utf8_lossy(said)).to_string()
    }
}

/// Text of any length with its lines, which a terminal shows and does not obey.
#[derive(Clone, Copy, Debug)]
pub struct Lines<'a>(pub &'a str);

impl Display for Lines<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|char| match char {
            '\n' | '\t' => f.write_char(char),
            _ => write_char(f, char),
        })
    }
}

/// Names with commas between them: the first 64 at most, fewer where they are long, each [`Brief`], and the number of the others.
#[derive(Clone, Copy, Debug)]
pub struct List<'a>(pub &'a [String]);

impl Display for List<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_list(f, self.0, "")
    }
}

/// As [`List`], each name between backticks.
#[derive(Clone, Copy, Debug)]
pub struct Quoted<'a>(pub &'a [String]);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write_list(f, self.0, "`")
    }
}

fn write_list(f: &mut Formatter<'_>, names: &[String], quote: &str) -> fmt::Result {
    let (mut written, mut length) = (0, 0);
    for name in names.iter().take(NAMES) {
        let comma = if written == 0 { "" } else { ", " };
        let name = Brief(name).to_string();
        write!(f, "{comma}{quote}{name}{quote}")?;
        (written, length) = (written + 1, length + name.chars().count());
        if length > NAMES_LENGTH {
            break;
        }
    }
    match names.len() - written {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}

/// The number of characters that [`Lines`] shows for one.
fn shown_len(char: char) -> usize {
    match char {
        '\n' | '\t' => 1,
        _ if is_quote(char) => 1,
        _ => char.escape_debug().len(),
    }
}

fn write_char(f: &mut impl Write, char: char) -> fmt::Result {
    match is_quote(char) {
        true => f.write_char(char),
        false => write!(f, "{}", char.escape_debug()),
    }
}

/// Whether Rust escapes a character that a terminal does not obey.
fn is_quote(char: char) -> bool {
    matches!(char, '\'' | '"' | '\\')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_what_nobody_reads_is_cut() {
        for (text, shown) in [
            ("", ""),
            ("blk.0.ffn_up 'a' \"b\" \\", "blk.0.ffn_up 'a' \"b\" \\"),
            ("größe 大", "größe 大"),
            ("\u{1b}]0;title\u{7}", r"\u{1b}]0;title\u{7}"),
            ("a\r\nb\tc\0", r"a\r\nb\tc\0"),
            ("\u{9b}31m", r"\u{9b}31m"),
            ("\u{202e}gpj.exe\u{200b}", r"\u{202e}gpj.exe\u{200b}"),
        ] {
            assert_eq!(Brief(text).to_string(), shown);
        }
        assert_eq!(Passage("a\n\tb\u{1b}\r").to_string(), "a\n\tb\\u{1b}\\r");
        assert_eq!(Lines("a\n\u{1b}").to_string(), "a\n\\u{1b}");
        let just = "ä".repeat(NAME);
        assert_eq!(Brief(&just).to_string(), just);
        assert_eq!(Brief(&format!("{just}ä")).to_string(), format!("{just}… (121 characters)"));
        let just = "ä".repeat(MESSAGE);
        assert_eq!(Passage(&just).to_string(), just);
        let cut = Passage(&"x".repeat(100_000)).to_string();
        assert_eq!(cut, format!("{}… (and 96000 more characters)", "x".repeat(MESSAGE)));
        assert_eq!(Passage(&cut).to_string(), cut);
        assert_eq!(Passage::of_bytes(b"n\xffo\x1b"), "n\u{fffd}o\\u{1b}");
        let cut = Passage(&"\u{1b}".repeat(100_000)).to_string();
        assert_eq!(cut, format!("{}… (and 99334 more characters)", r"\u{1b}".repeat(666)));
    }

    #[test]
    fn lists_are_cut() {
        let names: Vec<String> = (0..1000).map(|number| format!("n{number}")).collect();
        assert_eq!(List(&names[..2]).to_string(), "n0, n1");
        assert_eq!(List(&[]).to_string(), "");
        assert!(List(&names[..64]).to_string().ends_with("n62, n63"));
        assert!(List(&names).to_string().ends_with("n62, n63 and 936 more"));
        assert_eq!(Quoted(&names[..2]).to_string(), "`n0`, `n1`");
        let names = vec!["\u{1b}".repeat(100_000); 64];
        assert!(Quoted(&names).to_string().len() < 2500);
        assert!(Quoted(&names).to_string().ends_with("… (100000 characters)` and 61 more"));
    }
}
