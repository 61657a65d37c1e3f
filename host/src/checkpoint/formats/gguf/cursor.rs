//! Reading forward through bytes that may end too early.

use std::borrow::Cow;
use std::fmt::Display;

use bytemuck::AnyBitPattern;

use crate::checkpoint::error::Fault;
use crate::checkpoint::metadata::Escaped;

/// A position in a file. Each read says what it reads, for the message if the file ends there.
pub(super) struct Cursor<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl<'a> Cursor<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, position: 0 }
    }

    /// Bytes that were read.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    /// Bytes that are left.
    pub(super) fn remaining(&self) -> usize {
        self.bytes.len() - self.position
    }

    /// The next `len` bytes.
    pub(super) fn take(&mut self, len: u64, what: impl Display) -> Result<&'a [u8], Fault> {
        let taken = usize::try_from(len).ok().and_then(|len| self.bytes[self.position..].get(..len));
        let taken = taken.ok_or_else(|| {
            let (position, remaining) = (self.position, self.remaining());
            Fault::File(format!(
                "{what} at byte {position} takes {len} bytes, of which the file has {remaining}; it was cut, or is damaged"
            ))
        })?;
        self.position += taken.len();
        Ok(taken)
    }

    /// The next number.
    pub(super) fn number<T: AnyBitPattern>(&mut self, what: impl Display) -> Result<T, Fault> {
        Ok(bytemuck::pod_read_unaligned(self.take(size_of::<T>() as u64, what)?))
    }

    /// A text: its length as u64, and as many bytes, which should be UTF-8.
    pub(super) fn text(&mut self, what: impl Display) -> Result<&'a [u8], Fault> {
        let len = self.number(&what)?;
        self.take(len, what)
    }

    /// A text that names something. Bytes of it that are no UTF-8 are written as `\x80`.
    pub(super) fn name(&mut self, what: impl Display) -> Result<Cow<'a, str>, Fault> {
        let bytes = self.text(what)?;
        Ok(match std::str::from_utf8(bytes) {
            Ok(name) => Cow::Borrowed(name),
            Err(_) => Cow::Owned(Escaped(bytes).to_string()),
        })
    }
}
