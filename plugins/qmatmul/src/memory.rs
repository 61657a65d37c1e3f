//! Memory for prepared weights.

use std::io;

use memmap2::MmapMut;

/// Size and alignment of the large pages that the system is asked for.
const LARGE_PAGE: usize = 2 << 20;

/// Bytes that a kernel may prefetch, and a register load, past the end of a weight.
const SLACK: usize = 64;

/// Zeroed memory that starts at a multiple of 64 bytes, on large pages where the system has them.
pub(crate) struct AlignedBuffer {
    map: MmapMut,
    start: usize,
    len: usize,
}

impl AlignedBuffer {
    /// Asks the system for `len` bytes.
    pub(crate) fn zeroed(len: usize) -> io::Result<Self> {
        let large = len >= LARGE_PAGE;
        let padding = if large { LARGE_PAGE } else { 0 };
        let total = len.checked_add(padding + SLACK).ok_or(io::ErrorKind::OutOfMemory)?;
        let map = MmapMut::map_anon(total)?;
        let mut start = 0;
        if large {
            start = map.as_ptr().align_offset(LARGE_PAGE);
            // Without large pages a weight is read a little slower, and nothing else changes.
            #[cfg(target_os = "linux")]
            let _ = map.advise(memmap2::Advice::HugePage);
        }
        Ok(Self { map, start, len })
    }

    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.map[self.start..self.start + self.len]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.map[self.start..self.start + self.len]
    }
}
