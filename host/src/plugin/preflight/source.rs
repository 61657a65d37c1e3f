//! A library's file, read piece by piece.
//!
//! What a linker would read of a library is a small part of it, wherever it stands. Each piece that is asked for is read into memory;
//! all together have a bound, so that a file that lies about its tables takes neither the memory nor the time of the host. A
//! file that grows shorter meanwhile has pieces that cannot be read; mapped, it would end the process.

use std::cell::Cell;
use std::fs::File;
use std::ops::Range;
use std::sync::Arc;

use object::ReadRef;
use object::read::ReadCache;

/// The bytes that are read of a file, at most.
pub(super) const MAX_READ: u64 = 256 << 20;
/// What a piece costs besides its bytes.
const PIECE: u64 = 64;
/// What is read for a text whose length is not known.
const TEXT: u64 = 256;

/// A file that is read piece by piece.
pub(super) struct Source {
    pieces: ReadCache<Arc<File>>,
    len: u64,
    left: Cell<u64>,
}

/// A part of a file, or all of it.
#[derive(Clone, Copy)]
pub(super) struct Part<'a> {
    source: &'a Source,
    offset: u64,
    len: u64,
}

impl Source {
    /// Of a file of `len` bytes.
    pub(super) fn new(file: Arc<File>, len: u64) -> Self {
        Self { pieces: ReadCache::new(file), len, left: Cell::new(MAX_READ) }
    }

    /// All of it.
    pub(super) fn whole(&self) -> Part<'_> {
        Part { source: self, offset: 0, len: self.len }
    }

    /// Whether more was asked for than is read.
    pub(super) fn is_exhausted(&self) -> bool {
        self.left.get() == 0
    }

    fn pay(&self, bytes: u64) -> Result<(), ()> {
        let left = self.left.get().checked_sub(bytes.saturating_add(PIECE));
        self.left.set(left.unwrap_or(0));
        left.map(drop).ok_or(())
    }
}

impl Part<'_> {
    /// A part of it; none where it ends before.
    pub(super) fn part(self, offset: u64, len: u64) -> Option<Self> {
        let end = offset.checked_add(len)?;
        (end <= self.len).then_some(Self { offset: self.offset + offset, len, ..self })
    }
}

impl<'a> ReadRef<'a> for Part<'a> {
    fn len(self) -> Result<u64, ()> {
        Ok(self.len)
    }

    fn read_bytes_at(self, offset: u64, size: u64) -> Result<&'a [u8], ()> {
        let part = self.part(offset, size).ok_or(())?;
        self.source.pay(size)?;
        self.source.pieces.read_bytes_at(part.offset, size)
    }

    fn read_bytes_at_until(self, range: Range<u64>, delimiter: u8) -> Result<&'a [u8], ()> {
        let part = self.part(range.start, range.end.checked_sub(range.start).ok_or(())?).ok_or(())?;
        self.source.pay(TEXT)?;
        self.source.pieces.read_bytes_at_until(part.offset..part.offset + part.len, delimiter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_read_and_no_more_than_a_bound() {
        let file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut &file, b"begin").unwrap();
        file.set_len(1 << 30).unwrap();
        let source = Source::new(Arc::new(file), 1 << 30);
        let whole = source.whole();
        assert_eq!(whole.read_bytes_at(1, 4), Ok(&b"egin"[..]));
        assert_eq!(whole.part(2, 3).unwrap().read_bytes_at(0, 3), Ok(&b"gin"[..]));
        assert_eq!(whole.read_bytes_at_until(0..9, 0), Ok(&b"begin"[..]));
        for (offset, size) in [((1 << 30) - 1, 2), (u64::MAX, 2), (2, u64::MAX)] {
            assert_eq!(whole.read_bytes_at(offset, size), Err(()));
        }
        assert!(whole.part(2, 3).unwrap().part(1, 3).is_none());
        assert!(!source.is_exhausted());
        assert_eq!(whole.read_bytes_at(0, MAX_READ), Err(()));
        assert!(source.is_exhausted());
        assert_eq!(whole.read_bytes_at(0, 1), Err(()));
    }

    #[test]
    fn a_file_that_grew_shorter_has_no_such_piece() {
        let file = Arc::new(tempfile::tempfile().unwrap());
        file.set_len(100).unwrap();
        let source = Source::new(Arc::clone(&file), 100);
        file.set_len(10).unwrap();
        assert_eq!(source.whole().read_bytes_at(0, 10), Ok(&[0; 10][..]));
        assert_eq!(source.whole().read_bytes_at(5, 10), Err(()));
    }
}
