//! Memory aligned for kernels.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

/// The alignment of tensors, arenas and scratch memory: a cache line, and the widest vector register.
pub(crate) const ALIGNMENT: usize = 64;

/// A type of that alignment.
#[repr(align(64))]
struct Line;
const _: () = assert!(align_of::<Line>() == ALIGNMENT);

/// Zeroed bytes on the heap, aligned to [`ALIGNMENT`].
pub(crate) struct AlignedBytes {
    data: NonNull<u8>,
    len: usize,
}

// SAFETY: the memory is owned, and plain bytes.
unsafe impl Send for AlignedBytes {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for AlignedBytes {}

impl AlignedBytes {
    /// `len` zeros; none if there is not so much memory.
    pub(crate) fn try_zeroed(len: usize) -> Option<Self> {
        if len == 0 {
            return Some(Self { data: NonNull::<Line>::dangling().cast(), len });
        }
        let layout = Layout::from_size_align(len, ALIGNMENT).ok()?;
        // SAFETY: the layout's size is not zero.
        NonNull::new(unsafe { alloc_zeroed(layout) }).map(|data| Self { data, len })
    }

    /// `len` zeros.
    ///
    /// # Panics
    /// If `len` is above `isize::MAX`; callers have checked their sizes.
    pub(crate) fn zeroed(len: usize) -> Self {
        Self::try_zeroed(len).unwrap_or_else(|| handle_alloc_error(layout(len)))
    }

    /// A copy of `bytes`.
    pub(crate) fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::zeroed(bytes.len());
        copy.copy_from_slice(bytes);
        copy
    }
}

fn layout(len: usize) -> Layout {
    match Layout::from_size_align(len, ALIGNMENT) {
        Ok(layout) => layout,
        Err(_) => panic!("{len} bytes are more than this machine can address"),
    }
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
        if self.len > 0 {
            // SAFETY: allocated in `zeroed` with the same layout.
            unsafe { dealloc(self.data.as_ptr(), layout(self.len)) };
        }
    }
}
