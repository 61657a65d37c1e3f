//! Memory aligned for kernels, and that of mapped files.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;

use memmap2::Mmap;

/// The alignment of tensors, arenas and scratch memory: a cache line, and the widest vector register.
pub(crate) const ALIGNMENT: usize = 64;

/// A type of that alignment.
#[repr(align(64))]
struct Line;
const _: () = assert!(align_of::<Line>() == ALIGNMENT);

/// Bytes on the heap, aligned to [`ALIGNMENT`]. Where many are zeroed, their pages take memory when they are first touched.
pub(crate) struct AlignedBytes {
    data: NonNull<u8>,
    len: usize,
    /// What was allocated, which `data` lies in.
    block: NonNull<u8>,
}

// SAFETY: the memory is owned, and plain bytes.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// `len` zeros; none if there is not so much memory.
    pub(crate) fn try_zeroed(len: usize) -> Option<Self> {
        if len == 0 {
            let data = NonNull::<Line>::dangling().cast();
            return Some(Self { data, len, block: data });
        }
        // SAFETY: the layout's size is not zero.
        let block = NonNull::new(unsafe { alloc_zeroed(layout(len)?) })?;
        let padding = block.addr().get().wrapping_neg() % ALIGNMENT;
        // SAFETY: the block has `ALIGNMENT - 1` bytes more than `len`.
        Some(Self { data: unsafe { block.add(padding) }, len, block })
    }

    /// `len` zeros.
    ///
    /// # Panics
    /// If `len` is above `isize::MAX`; callers have checked their sizes.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self::try_zeroed(len).unwrap_or_else(|| match layout(len) {
            Some(layout) => handle_alloc_error(layout),
            None => panic!("{len} bytes are more than this machine can address"),
        })
    }

    /// Where the bytes begin. Unlike a pointer that is made of a slice, it stays valid when the bytes are borrowed again.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.data
    }

    /// A copy of `bytes`.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }
}

/// The layout of a block that has `len` aligned bytes somewhere. Allocators that are asked for the alignment itself write the zeros.
fn layout(len: usize) -> Option<Layout> {
    Layout::array::<u8>(len.checked_add(ALIGNMENT - 1)?).ok()
}

impl Deref for AlignedBytes {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: `len` initialized bytes, or a well-aligned dangling pointer and none.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl DerefMut for AlignedBytes {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `deref`, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl Drop for AlignedBytes {
    fn drop(&mut self) {
        if let (1.., Some(layout)) = (self.len, layout(self.len)) {
            // SAFETY: allocated in `try_zeroed` with the same layout.
            unsafe { dealloc(self.block.as_ptr(), layout) };
        }
    }
}

/// Lets the system have back the pages of a range of a mapped file, until somebody reads them again.
///
/// To read a byte is to have as much around it resident as the page cache holds in one piece: that much around the range goes, too.
#[cfg(unix)]
pub(crate) fn forget_pages(file: &Mmap, range: Range<usize>) {
    /// The largest piece, to a multiple of which all are aligned in the file.
    const PIECE: usize = 2 << 20;
    let (begin, end) = (range.start / PIECE * PIECE, range.end.next_multiple_of(PIECE).min(file.len()));
    if begin < end {
        // SAFETY: the mapping is of a file and never written, so that a page that is dropped is read from the file again with the
        // same bytes, whoever shares it. A failure changes nothing.
        let _ =
            unsafe { file.unchecked_advise_range(memmap2::UncheckedAdvice::DontNeed, begin, end - begin) };
    }
}

/// Other systems drop pages as they see fit.
#[cfg(not(unix))]
pub(crate) fn forget_pages(_: &Mmap, _: Range<usize>) {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_aligned_and_zero() {
        for len in [0, 1, 63, 64, 65, 4096, 1 << 20] {
            let mut bytes = AlignedBytes::zeroed(len);
            assert_eq!((bytes.len(), bytes.as_ptr().addr() % ALIGNMENT), (len, 0));
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(1);
        }
        assert!(AlignedBytes::try_zeroed(usize::MAX).is_none());
        assert!(AlignedBytes::try_zeroed(isize::MAX as usize).is_none());
    }

    /// The bytes of a mapping that are resident.
    #[cfg(target_os = "linux")]
    fn resident(map: &[u8]) -> usize {
        let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
        let begin = format!("{:x}-", map.as_ptr().addr());
        let mut lines = maps.lines().skip_while(|line| !line.starts_with(&begin));
        let line = lines.find_map(|line| line.strip_prefix("Rss:")).unwrap();
        1024 * line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap()
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn forgotten_pages_are_not_resident_and_read_again() {
        let bytes: Vec<u8> = (0..3u32 << 20).map(|index| (index % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        // SAFETY: nobody else has the file.
        let map = unsafe { Mmap::map(&file) }.unwrap();
        assert_eq!(map[..], bytes);
        assert!(resident(&map) >= bytes.len());
        forget_pages(&map, bytes.len() - 10_000..bytes.len());
        assert!(resident(&map) <= 2 << 20);
        forget_pages(&map, 0..10);
        assert_eq!(resident(&map), 0);
        assert_eq!(map[..], bytes);
    }
}
