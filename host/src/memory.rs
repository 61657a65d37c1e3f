//! Memory aligned for kernels, and that of mapped files.

use std::alloc::{Layout, alloc_zeroed, dealloc};
use std::fs;
use std::ops::{Deref, DerefMut, Range};
use std::ptr::NonNull;
use std::sync::OnceLock;

use memmap2::Mmap;

/// The alignment of tensors, arenas and scratch memory: a cache line, and the widest vector register.
pub(crate) const ALIGNMENT: usize = 64;

/// A type of that alignment.
#[repr(align(64))]
struct Line;
const _: () = assert!(align_of::<Line>() == ALIGNMENT);

/// A block of bytes on the heap, aligned to [`ALIGNMENT`]. The pages of a large zeroed block take memory when they are first written.
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
    /// No bytes.
    pub(crate) fn empty() -> Self {
        let data = NonNull::<Line>::dangling().cast();
        Self { data, len: 0, block: data }
    }

    /// A block of `len` zeros; `None` if `len` is more than the memory of the machine, or of the container that the process runs in.
    pub(crate) fn zeroed(len: usize) -> Option<Self> {
        if len == 0 {
            return Some(Self::empty());
        }
        // A system that overcommits memory would end the process when the pages are written.
        if len > machine_memory() {
            return None;
        }
        // SAFETY: the layout's size is not zero.
        let block = NonNull::new(unsafe { alloc_zeroed(layout(len)?) })?;
        let padding = block.addr().get().wrapping_neg() % ALIGNMENT;
        // SAFETY: the block has `ALIGNMENT - 1` bytes more than `len`.
        Some(Self { data: unsafe { block.add(padding) }, len, block })
    }

    /// Where the bytes begin. Unlike a pointer that is made of a slice, it stays valid when the bytes are borrowed again.
    pub(crate) fn start(&self) -> NonNull<u8> {
        self.data
    }

    /// A copy of `bytes`; `None` as for [`Self::zeroed`].
    pub(crate) fn copy_of(bytes: &[u8]) -> Option<Self> {
        let mut copy = Self::zeroed(bytes.len())?;
        copy.copy_from_slice(bytes);
        Some(copy)
    }
}

/// The layout of a block that has `len` aligned bytes somewhere. Allocators that are asked for the alignment itself write the zeros.
fn layout(len: usize) -> Option<Layout> {
    Layout::array::<u8>(len.checked_add(ALIGNMENT - 1)?).ok()
}

/// The bytes of the machine's memory and swap, or what its container may have of them; `usize::MAX` where that is not told.
pub(crate) fn machine_memory() -> usize {
    static BYTES: OnceLock<usize> = OnceLock::new();
    *BYTES.get_or_init(|| {
        let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo_total(&text));
        let groups = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
        let group = groups.iter().filter_map(|path| fs::read_to_string(path).ok()?.trim().parse().ok()).min();
        machine.unwrap_or(usize::MAX).min(group.unwrap_or(usize::MAX))
    })
}

/// The sum of memory and swap in Linux's `/proc/meminfo`, in bytes.
fn meminfo_total(text: &str) -> Option<usize> {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name))?;
        value.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()?.checked_mul(1024)
    };
    field("MemTotal:")?.checked_add(field("SwapTotal:").unwrap_or_default())
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
            // SAFETY: allocated in `zeroed` with the same layout.
            unsafe { dealloc(self.block.as_ptr(), layout) };
        }
    }
}

/// Releases the resident pages of a range of a mapped file; the next read of a page brings it back from the file.
///
/// The page cache holds a file in pieces of up to 2 MiB, and reading one byte makes its whole piece resident. The range is therefore
/// widened to whole pieces.
#[cfg(unix)]
pub(crate) fn forget_pages(file: &Mmap, range: Range<usize>) {
    /// The size of the largest piece, in bytes. Pieces are aligned to their size in the file.
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
            let mut bytes = AlignedBytes::zeroed(len).unwrap();
            assert_eq!((bytes.len(), bytes.as_ptr().addr() % ALIGNMENT), (len, 0));
            assert!(bytes.iter().all(|byte| *byte == 0));
            bytes.fill(1);
        }
        assert_eq!(*AlignedBytes::copy_of(&[1, 2]).unwrap(), [1, 2]);
    }

    #[test]
    fn memory_that_cannot_be_had_is_refused() {
        for len in [usize::MAX, isize::MAX as usize, 1 << 50, machine_memory().saturating_add(1)] {
            assert!(AlignedBytes::zeroed(len).is_none(), "{len}");
        }
        for (text, bytes) in [
            ("MemTotal:       16 kB\nMemFree: 1 kB\nSwapTotal: 4 kB\n", Some(20 << 10)),
            ("MemTotal: 16 kB\n", Some(16 << 10)),
            ("MemTotal: 99999999999999999999 kB\n", None),
            ("", None),
        ] {
            assert_eq!(meminfo_total(text), bytes, "{text}");
        }
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
