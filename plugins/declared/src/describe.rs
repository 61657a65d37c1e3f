//! What a declaration is, for a person.

use std::fmt::{self, Display, Formatter};

use crate::declaration::{Declaration, Meaning};
use crate::field::{Order, Stored};

/// The least columns of a field in the picture, the bar before it included.
const LEAST: usize = 8;

impl Declaration {
    /// Its size, a picture of a block's bytes, and the formula of a value, each on lines of its own.
    ///
    /// ```
    /// # fn main() -> Result<(), bitquilt_declared::DeclarationError> {
    /// use bitquilt_declared::{Declaration, ScaleDType};
    ///
    /// let int4 = Declaration::builder("my.int4", 64, 34).codes(2, 4).offset(8).scale(0, ScaleDType::F16).build()?;
    /// assert_eq!(
    ///     int4.describe().to_string(),
    ///     "\
    /// my.int4: 64 values in 34 bytes, 4.25 bits a value
    ///
    /// byte   0            2                 34
    ///        | scale: f16 | codes: 32 bytes |
    ///
    /// codes  4 bits each in one little-endian stream: code i from bit 4 * i on
    /// value  (code - 8) * scale
    /// "
    /// );
    /// # Ok(())
    /// # }
    /// ```
    pub fn describe(&self) -> impl Display + '_ {
        Description(self)
    }

    /// Fields in the order of their bytes: first byte, byte after the last, and what is there.
    fn pieces(&self) -> Vec<(usize, usize, String)> {
        let bytes = self.codes.bytes(self.block_len);
        let count = |bytes| if bytes == 1 { "1 byte".to_owned() } else { format!("{bytes} bytes") };
        let mut pieces = vec![(self.codes.at, self.codes.at + bytes, format!("codes: {}", count(bytes)))];
        let fields = [("scale", Some(self.scale), self.groups), ("super_scale", self.super_scale, 1)];
        let fields =
            fields.into_iter().chain([("min", self.min, self.groups), ("zero", self.zero, self.groups)]);
        for (key, entries, entries_count) in fields {
            let Some(entries) = entries else { continue };
            let stored = match entries.stored {
                Stored::Float(dtype) => dtype.name().to_owned(),
                Stored::Bits(1) => "1 bit".to_owned(),
                Stored::Bits(bits) => format!("{bits} bits"),
            };
            let times = if entries_count > 1 { format!("{entries_count} x ") } else { String::new() };
            pieces.push((
                entries.at,
                entries.at + entries.bytes(entries_count),
                format!("{key}: {times}{stored}"),
            ));
        }
        pieces.sort();
        let mut all = Vec::new();
        let mut end = 0;
        for piece in pieces {
            if piece.0 > end {
                all.push((end, piece.0, "unused".to_owned()));
            }
            end = piece.1;
            all.push(piece);
        }
        if end < self.block_bytes {
            all.push((end, self.block_bytes, "unused".to_owned()));
        }
        all
    }

    /// The formula of a value.
    fn formula(&self) -> String {
        let level = match &self.meaning {
            Meaning::Offset(0) => "code".to_owned(),
            Meaning::Offset(offset) => format!("code - {offset}"),
            Meaning::Signed => "signed code".to_owned(),
            Meaning::Values { .. } => "values[code]".to_owned(),
            Meaning::Float { dtype, .. } => format!("{} code", dtype.name()),
        };
        let level = match (self.has_zero(), level.contains(" - ")) {
            (true, true) => format!("(({level}) - zero)"),
            (true, false) => format!("({level} - zero)"),
            (false, true) => format!("({level})"),
            (false, false) => level,
        };
        let scale = if self.super_scale.is_some() { "(scale * super_scale)" } else { "scale" };
        let min = if self.has_min() { " + min" } else { "" };
        format!("{level} * {scale}{min}")
    }
}

struct Description<'a>(&'a Declaration);

impl Display for Description<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self(declaration) = *self;
        let Declaration { name, summary, block_len, block_bytes, .. } = declaration;
        let bits = *block_bytes as f64 * 8.0 / *block_len as f64;
        writeln!(f, "{name}: {block_len} values in {block_bytes} bytes, {} bits a value", rounded(bits))?;
        if !summary.is_empty() {
            writeln!(f, "{summary}")?;
        }
        let (mut numbers, mut boxes) = ("byte   ".to_owned(), "       ".to_owned());
        for (begin, _, what) in declaration.pieces() {
            let width = (what.len() + 3).max(LEAST);
            numbers += &format!("{begin:<width$}");
            boxes += &format!("| {what:<0$}", width - 2);
        }
        writeln!(f, "\n{numbers}{block_bytes}\n{boxes}|\n")?;
        let bits = declaration.codes.bits;
        match declaration.codes.order {
            Order::Halves => {
                let half = block_len / 2;
                writeln!(f, "codes  byte i has code i in bits 0..4, and code i + {half} in bits 4..8")?;
            }
            Order::Sequential if bits == 8 => writeln!(f, "codes  a byte each")?,
            Order::Sequential => {
                let plural = if bits == 1 { "bit" } else { "bits" };
                let place = if bits == 1 { "i".to_owned() } else { format!("{bits} * i") };
                writeln!(
                    f,
                    "codes  {bits} {plural} each in one little-endian stream: code i from bit {place} on"
                )?;
            }
        }
        if declaration.groups > 1 {
            let len = declaration.group_len();
            writeln!(f, "groups {}: value i is of group i / {len}", declaration.groups)?;
        }
        writeln!(f, "value  {}", declaration.formula())
    }
}

/// At most four places after the point.
fn rounded(number: f64) -> String {
    let text = format!("{number:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}
