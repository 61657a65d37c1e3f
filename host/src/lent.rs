//! Memory for what kernels prepare, lent to them.
//!
//! Prepared weights lie one after the other in regions that they share, on large pages where the system has them: a small weight of its own
//! mapping would lie on small pages, whose translations a processor runs out of.

use std::{
    io,
    ops::Range,
    ptr::NonNull,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use memmap2::{MmapMut, MmapOptions};

use crate::memory::{ALIGNMENT, machine_memory};

/// Size and alignment of the large pages that the system is asked for.
const LARGE_PAGE: usize = 2 << 20;

/// A multiple of every size of page that a system of this architecture has.
#[cfg(target_os = "linux")]
const SMALL_PAGE: usize = if cfg!(target_arch = "x86_64") { 4 << 10 } else { 64 << 10 };

/// Bytes of addresses that a region has at least. Memory is only taken where it is written.
const REGION: usize = 64 << 20;

/// The region that the next buffer goes to, while any buffer in it lives.
static CURRENT: Mutex<Current> = Mutex::new(Current { region: Weak::new(), taken: 0 });

struct Current {
    region: Weak<Region>,
    /// Bytes of the region that were given to buffers.
    taken: usize,
}

impl Current {
    /// The next `len` bytes of the region, or of a new one.
    fn take(&mut self, len: usize) -> io::Result<(Arc<Region>, Range<usize>)> {
        let fits = |region: &Arc<Region>| region.len - self.taken >= len;
        let region = match self.region.upgrade().filter(fits) {
            Some(region) => region,
            None => {
                let region = Arc::new(Region::new(len)?);
                *self = Self { region: Arc::downgrade(&region), taken: 0 };
                region
            }
        };
        let start = self.taken;
        self.taken += len;
        Ok((region, start..self.taken))
    }
}

/// A mapping that buffers share.
struct Region {
    #[cfg_attr(
        not(target_os = "linux"),
        expect(dead_code, reason = "it is held as long as its memory is used")
    )]
    map: MmapMut,
    start: NonNull<u8>,
    len: usize,
}

// SAFETY: a byte of the mapping is reached by one buffer alone, which was given it.
unsafe impl Send for Region {}
// SAFETY: as above.
unsafe impl Sync for Region {}

impl Region {
    /// Asks the system for the addresses of at least `len` bytes.
    fn new(len: usize) -> io::Result<Self> {
        let len = len.max(REGION);
        let total = len.checked_add(LARGE_PAGE).ok_or(io::ErrorKind::OutOfMemory)?;
        let mut map = MmapOptions::new().len(total).no_reserve_swap().map_anon()?;
        // Without large pages a weight is read a little slower, and nothing else changes.
        #[cfg(target_os = "linux")]
        let _ = map.advise(memmap2::Advice::HugePage);
        let padding = map.as_ptr().align_offset(LARGE_PAGE);
        let start = NonNull::from(&mut map[padding..]).cast();
        Ok(Self { map, start, len })
    }
}

/// Zeroed memory that starts at a multiple of 64 bytes, on large pages where the system has them.
pub(crate) struct LentBytes {
    region: Arc<Region>,
    /// What it was given of the region.
    range: Range<usize>,
    len: usize,
}

impl LentBytes {
    /// Asks the system for `len` bytes; none when it does not have them.
    pub(crate) fn zeroed(len: usize) -> Option<Self> {
        let whole = len.checked_next_multiple_of(ALIGNMENT)?;
        // A system that overcommits memory would end the process when the pages are written.
        if whole > machine_memory() {
            return None;
        }
        let (region, range) = CURRENT.lock().unwrap_or_else(PoisonError::into_inner).take(whole).ok()?;
        Some(Self { region, range, len })
    }

    fn start(&self) -> *mut u8 {
        // SAFETY: the range is within the region.
        unsafe { self.region.start.as_ptr().add(self.range.start) }
    }
}

impl AsMut<[u8]> for LentBytes {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: the bytes are mapped as long as the region lives, and this buffer's alone.
        unsafe { std::slice::from_raw_parts_mut(self.start(), self.len) }
    }
}

impl Drop for LentBytes {
    /// Gives the pages that are this buffer's alone back to the system; their addresses go with the last buffer of the region.
    fn drop(&mut self) {
        #[cfg(target_os = "linux")]
        {
            let padding = self.region.start.as_ptr() as usize - self.region.map.as_ptr() as usize;
            let first = (padding + self.range.start).next_multiple_of(SMALL_PAGE);
            let end = (padding + self.range.end) / SMALL_PAGE * SMALL_PAGE;
            let Some(len) = end.checked_sub(first).filter(|len| *len > 0) else { return };
            // SAFETY: nobody reads these pages any more, nor has anybody else a byte of them.
            let _ = unsafe {
                self.region.map.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, first, len)
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_lie_side_by_side_and_do_not_touch() {
        let mut buffers: Vec<LentBytes> =
            [1, 64, 5000, 3 << 20, 12_345, 70 << 20, 9].map(|len| LentBytes::zeroed(len).unwrap()).into();
        for (i, buffer) in buffers.iter_mut().enumerate() {
            assert_eq!(buffer.as_mut().as_ptr() as usize % ALIGNMENT, 0);
            assert!(buffer.as_mut().iter().all(|byte| *byte == 0));
            buffer.as_mut().fill(i as u8 + 1);
        }
        // The memory of a buffer is given back, and not a byte of its neighbours.
        buffers.remove(3);
        buffers.remove(1);
        for (buffer, fill) in buffers.iter_mut().zip([1, 3, 5, 6, 7]) {
            assert!(buffer.as_mut().iter().all(|byte| *byte == fill));
        }
    }

    #[test]
    fn sizes_that_no_machine_has_are_refused() {
        assert!(LentBytes::zeroed(usize::MAX).is_none());
        assert!(LentBytes::zeroed(isize::MAX as usize - LARGE_PAGE).is_none());
    }
}
