//! The canonical text of a declaration.

use std::fmt::{self, Display, Formatter, Write};

use crate::declaration::{Declaration, Meaning};
use crate::field::{Entries, Stored};

impl Declaration {
    /// The canonical text: the same for equal declarations, and parsed to an equal one. Keys stand in one order, those that say
    /// nothing are left out, and numbers are the shortest that are read as the same f32.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        // Writing to a string does not fail.
        let _ = self.write_text(&mut text);
        text
    }

    fn write_text(&self, f: &mut String) -> fmt::Result {
        writeln!(f, "name = \"{}\"\nversion = {}", self.name, self.version)?;
        if !self.summary.is_empty() {
            writeln!(f, "summary = \"{}\"", self.summary.replace('\\', "\\\\").replace('"', "\\\""))?;
        }
        writeln!(f, "block_len = {}\nblock_bytes = {}", self.block_len, self.block_bytes)?;
        if self.groups != 1 {
            writeln!(f, "groups = {}", self.groups)?;
        }
        let at = self.codes.at;
        match self.code_dtype() {
            Some(dtype) => writeln!(f, "codes = {{ at = {at}, dtype = \"{}\" }}", dtype.name())?,
            None => {
                let (bits, order) = (self.codes.bits, self.codes.order.name());
                writeln!(f, "codes = {{ at = {at}, bits = {bits}, order = \"{order}\" }}")?;
            }
        }
        let unused = match &self.meaning {
            Meaning::Offset(0) => None,
            Meaning::Offset(offset) => {
                writeln!(f, "offset = {offset}")?;
                None
            }
            Meaning::Signed => {
                writeln!(f, "signed = true")?;
                None
            }
            Meaning::Values { values, unused } => {
                writeln!(f, "values = {values:?}")?;
                *unused
            }
            Meaning::Float { unused, .. } => *unused,
        };
        if let Some(unused) = unused {
            writeln!(f, "unused = {unused:?}")?;
        }
        writeln!(f, "scale = {}", self.scale)?;
        let others = [("super_scale", self.super_scale), ("min", self.min), ("zero", self.zero)];
        for (key, entries) in others {
            if let Some(entries) = entries {
                writeln!(f, "{key} = {entries}")?;
            }
        }
        Ok(())
    }
}

impl Display for Entries {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.stored {
            Stored::Float(dtype) => write!(f, "{{ at = {}, dtype = \"{}\" }}", self.at, dtype.name()),
            Stored::Bits(bits) => write!(f, "{{ at = {}, bits = {bits} }}", self.at),
        }
    }
}
