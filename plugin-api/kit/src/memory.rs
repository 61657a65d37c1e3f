//! Buffers that tests lend to plugins, and that notice what is written beside them.

use std::fmt::{self, Display, Formatter};

use bitquilt_plugin_api::{Error, Result};

/// Alignment of everything that a host hands out to be written.
pub(super) const ALIGNMENT: usize = 64;
/// What stands beside a buffer.
const MARGIN: u8 = 0xC3;
/// What a buffer holds before it is written, where nothing else is asked for.
pub(super) const GARBAGE: u8 = 0xA5;

/// A cache line.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Where a buffer stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Placement {
    /// Between margins that are compared afterwards.
    Heap,
    /// Right behind a page that nobody may touch.
    AfterGuard,
    /// Right before such a page, as close as its alignment lets it.
    BeforeGuard,
}

impl Display for Placement {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Heap => "buffers on the heap",
            Self::AfterGuard => "buffers that begin behind a guard page",
            Self::BeforeGuard => "buffers that end before a guard page",
        })
    }
}

/// Where buffers stand, and what they hold at first.
#[derive(Clone, Copy)]
pub(super) struct Memory {
    pub(super) placement: Placement,
    pub(super) fill: u8,
}

impl Default for Memory {
    fn default() -> Self {
        Self { placement: Placement::Heap, fill: GARBAGE }
    }
}

/// Some bytes, all of them initialized.
pub(super) struct Buffer {
    store: Store,
    start: usize,
    len: usize,
    alignment: usize,
    placement: Placement,
}

enum Store {
    Lines(Vec<Line>),
    #[cfg(unix)]
    Pages(pages::Pages),
}

impl Buffer {
    /// `len` bytes of the memory's fill; an error if there are not as many.
    pub(super) fn new(len: usize, alignment: usize, memory: Memory) -> Result<Self> {
        let lines = |lines: usize| {
            let mut all = Vec::new();
            all.try_reserve_exact(lines).map_err(|_| too_large(len))?;
            all.resize(lines, Line([MARGIN; 64]));
            Ok::<_, Error>(Store::Lines(all))
        };
        let (store, start) = match memory.placement {
            #[cfg(unix)]
            Placement::AfterGuard => (Store::Pages(pages::Pages::new(len, MARGIN)?), 0),
            #[cfg(unix)]
            Placement::BeforeGuard => {
                let pages = pages::Pages::new(len, MARGIN)?;
                let start = pages.len() - len;
                (Store::Pages(pages), start - start % alignment)
            }
            _ => (lines(len.div_ceil(64).checked_add(2).ok_or_else(|| too_large(len))?)?, 64),
        };
        let mut buffer = Self { store, start, len, alignment, placement: memory.placement };
        buffer.as_mut().fill(memory.fill);
        Ok(buffer)
    }

    /// A copy of some bytes.
    pub(super) fn copy_of(bytes: &[u8], alignment: usize, placement: Placement) -> Result<Self> {
        let mut copy = Self::new(bytes.len(), alignment, Memory { placement, ..Memory::default() })?;
        copy.as_mut().copy_from_slice(bytes);
        Ok(copy)
    }

    /// The bytes.
    pub(super) fn as_ref(&self) -> &[u8] {
        &self.all()[self.start..self.start + self.len]
    }

    /// The bytes as values; the buffer was made with their alignment.
    pub(super) fn values<T: bytemuck::Pod>(&self) -> &[T] {
        bytemuck::cast_slice(self.as_ref())
    }

    /// As [`Self::values`], to write.
    pub(super) fn values_mut<T: bytemuck::Pod>(&mut self) -> &mut [T] {
        bytemuck::cast_slice_mut(self.as_mut())
    }

    /// Where something was written beside the bytes, if anywhere.
    pub(super) fn trespass(&self) -> Option<String> {
        let all = self.all();
        let is_touched = |byte: &u8| *byte != MARGIN;
        if let Some(index) = all[..self.start].iter().rposition(is_touched) {
            return Some(format!("byte {} before its begin", self.start - index));
        }
        let after = all[self.start + self.len..].iter().position(is_touched)?;
        Some(format!("byte {} after its end", after + 1))
    }

    fn all(&self) -> &[u8] {
        match &self.store {
            Store::Lines(lines) => bytemuck::cast_slice(lines),
            #[cfg(unix)]
            Store::Pages(pages) => pages.as_ref(),
        }
    }
}

impl AsMut<[u8]> for Buffer {
    fn as_mut(&mut self) -> &mut [u8] {
        let (start, len) = (self.start, self.len);
        let all = match &mut self.store {
            Store::Lines(lines) => bytemuck::cast_slice_mut(lines),
            #[cfg(unix)]
            Store::Pages(pages) => pages.as_mut(),
        };
        &mut all[start..start + len]
    }
}

impl Clone for Buffer {
    /// # Panics
    /// If there is no memory for it.
    fn clone(&self) -> Self {
        match Self::copy_of(self.as_ref(), self.alignment, self.placement) {
            Ok(copy) => copy,
            Err(error) => panic!("{error}"),
        }
    }
}

fn too_large(len: usize) -> Error {
    Error::failed(format_args!("there are no {len} bytes of memory"))
}

#[cfg(unix)]
mod pages {
    use super::too_large;
    use bitquilt_plugin_api::{Error, Result};

    /// Whole pages between two that nobody may touch.
    pub(super) struct Pages {
        map: *mut libc::c_void,
        map_len: usize,
        page: usize,
    }

    // SAFETY: the mapping is owned, and reached through `&self` and `&mut self` alone.
    unsafe impl Send for Pages {}
    // SAFETY: as above.
    unsafe impl Sync for Pages {}

    impl Pages {
        /// At least one page, at least `len` bytes, all of them `fill`.
        pub(super) fn new(len: usize, fill: u8) -> Result<Self> {
            // SAFETY: it only answers a number.
            let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) })
                .map_err(|_| Error::failed("the system does not say how long a page is"))?;
            let map_len = len.max(1).checked_next_multiple_of(page).and_then(|len| len.checked_add(2 * page));
            let map_len = map_len.ok_or_else(|| too_large(len))?;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANON;
            // SAFETY: a new mapping at an address that the system chooses touches no other.
            let map = unsafe { libc::mmap(std::ptr::null_mut(), map_len, libc::PROT_NONE, flags, -1, 0) };
            if map == libc::MAP_FAILED {
                return Err(too_large(len));
            }
            let mut pages = Self { map, map_len, page };
            let access = libc::PROT_READ | libc::PROT_WRITE;
            // SAFETY: the pages between the first and the last of the mapping that was just made.
            if unsafe { libc::mprotect(map.byte_add(page), map_len - 2 * page, access) } != 0 {
                return Err(too_large(len));
            }
            pages.as_mut().fill(fill);
            Ok(pages)
        }

        pub(super) fn len(&self) -> usize {
            self.map_len - 2 * self.page
        }

        pub(super) fn as_ref(&self) -> &[u8] {
            // SAFETY: readable and initialized (the system gives zeros); borrowed from `self`, which owns them.
            unsafe { std::slice::from_raw_parts(self.map.byte_add(self.page).cast(), self.len()) }
        }

        pub(super) fn as_mut(&mut self) -> &mut [u8] {
            // SAFETY: as above, and writable.
            unsafe { std::slice::from_raw_parts_mut(self.map.byte_add(self.page).cast(), self.len()) }
        }
    }

    impl Drop for Pages {
        fn drop(&mut self) {
            // SAFETY: the whole mapping, which nothing borrows any more.
            unsafe { libc::munmap(self.map, self.map_len) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_stands_where_it_should_and_notices_trespass() {
        for placement in [Placement::Heap, Placement::AfterGuard, Placement::BeforeGuard] {
            for (len, alignment) in [(0, 1), (1, 1), (100, 4), (4096, 64), (5000, 1), (70, 64)] {
                let mut buffer = Buffer::new(len, alignment, Memory { placement, fill: 7 }).unwrap();
                assert_eq!(buffer.as_ref(), vec![7; len]);
                assert!((buffer.as_ref().as_ptr() as usize).is_multiple_of(alignment));
                assert_eq!(buffer.trespass(), None);
                let (start, end) = (buffer.start, buffer.start + len);
                let total = buffer.all().len();
                if placement != Placement::Heap {
                    assert!(placement == Placement::BeforeGuard || start == 0);
                    assert!(placement == Placement::AfterGuard || total - end < alignment);
                }
                let all: *mut u8 = buffer.all().as_ptr().cast_mut();
                if end < total {
                    // SAFETY: inside the store, beside the bytes.
                    unsafe { all.add(end).write(0) };
                    assert_eq!(buffer.trespass().unwrap(), "byte 1 after its end");
                }
                if start > 0 {
                    // SAFETY: as above.
                    unsafe { all.add(start - 1).write(0) };
                    assert_eq!(buffer.trespass().unwrap(), "byte 1 before its begin");
                }
                assert_eq!(buffer.clone().as_ref(), buffer.as_mut());
            }
        }
    }

    #[test]
    fn what_no_memory_holds_is_an_error() {
        for placement in [Placement::Heap, Placement::AfterGuard, Placement::BeforeGuard] {
            for len in [usize::MAX, usize::MAX / 2, 1 << 60] {
                assert!(Buffer::new(len, 64, Memory { placement, fill: 0 }).is_err());
            }
        }
    }
}
