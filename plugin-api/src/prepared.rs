//! What a host has for a provider that prepares a kernel: memory, and the kernel that is displaced.

use std::fmt;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use bytemuck::{Pod, Zeroable};

use crate::{Error, Result};

/// The kernel that a provider's displaces: [`PrepareContext::next`](crate::PrepareContext::next) finds it.
#[derive(Clone, Debug)]
pub struct Next {
    pub(crate) name: String,
}

impl Next {
    /// The name of its provider.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Memory for what a kernel prepares, repacked weights for instance: zeroed at first, aligned to 64 bytes, on large pages where the
/// host has them. [`PrepareContext::memory`](crate::PrepareContext::memory) lends it; it goes back to the host when it is dropped, on
/// any thread. What `explain` says that a kernel holds is what it was lent.
pub struct PreparedMemory {
    data: NonNull<u8>,
    len: usize,
    owner: *mut (),
    free: unsafe extern "C" fn(*mut ()),
}

/// [`PreparedMemory`] in its parts.
#[derive(Clone, Copy)]
pub(crate) struct MemoryParts {
    pub(crate) data: *mut u8,
    pub(crate) len: usize,
    pub(crate) owner: *mut (),
    pub(crate) free: unsafe extern "C" fn(*mut ()),
}

// SAFETY: the bytes are owned, and so is what frees them, which may be sent (see `of`).
unsafe impl Send for PreparedMemory {}
// SAFETY: a shared reference only reads bytes.
unsafe impl Sync for PreparedMemory {}

impl PreparedMemory {
    /// Memory of a host's own kind, a vector for instance, which is dropped with it. The bytes of `memory` stay where they are when it
    /// is moved.
    pub fn of<M: AsMut<[u8]> + Send + 'static>(memory: M) -> Self {
        unsafe extern "C" fn free<M>(owner: *mut ()) {
            // SAFETY: it comes from the box below, and is freed once.
            drop(unsafe { Box::from_raw(owner.cast::<M>()) });
        }
        let owner = Box::into_raw(Box::new(memory));
        // SAFETY: the box was just made; what it holds is reached through `data` alone until it is freed.
        let bytes = unsafe { &mut *owner }.as_mut();
        Self { len: bytes.len(), data: NonNull::from(bytes).cast(), owner: owner.cast(), free: free::<M> }
    }

    /// Zeroed memory on the heap, aligned to 64 bytes: for a host of tests. An error if there is not so much.
    pub fn on_heap(len: usize) -> Result<Self> {
        let lines = len.div_ceil(size_of::<Line>());
        let mut heap = Heap { lines: Vec::new(), len };
        heap.lines.try_reserve_exact(lines).map_err(|error| {
            Error::failed(format_args!("there are no {len} bytes of memory for what is prepared: {error}"))
        })?;
        heap.lines.resize(lines, Line([0; 64]));
        Ok(Self::of(heap))
    }

    pub(crate) fn into_parts(self) -> MemoryParts {
        let Self { data, len, owner, free } = *ManuallyDrop::new(self);
        MemoryParts { data: data.as_ptr(), len, owner, free }
    }

    /// # Safety
    /// The parts come from [`Self::into_parts`], of which they are used once.
    pub(crate) unsafe fn from_parts(parts: MemoryParts) -> Self {
        let MemoryParts { data, len, owner, free } = parts;
        Self { data: NonNull::new(data).unwrap_or(NonNull::dangling()), len, owner, free }
    }
}

/// 64 bytes, aligned to as many.
#[derive(Clone, Copy, Pod, Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

struct Heap {
    lines: Vec<Line>,
    len: usize,
}

impl AsMut<[u8]> for Heap {
    fn as_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

impl Deref for PreparedMemory {
    type Target = [u8];
    fn deref(&self) -> &[u8] {
        // SAFETY: the owner's bytes, which live as long as it.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len) }
    }
}

impl DerefMut for PreparedMemory {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `self` is borrowed mutably.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len) }
    }
}

impl Drop for PreparedMemory {
    fn drop(&mut self) {
        // SAFETY: the owner is freed once, here, and not used again.
        unsafe { (self.free)(self.owner) }
    }
}

impl fmt::Debug for PreparedMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PreparedMemory of {} bytes", self.len)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    struct Counted(Vec<u8>, Arc<AtomicUsize>);

    impl AsMut<[u8]> for Counted {
        fn as_mut(&mut self) -> &mut [u8] {
            &mut self.0
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn memory_is_written_read_and_given_back_once() {
        let drops = Arc::new(AtomicUsize::new(0));
        let mut memory = PreparedMemory::of(Counted(vec![0; 100], Arc::clone(&drops)));
        memory[99] = 7;
        // SAFETY: the parts are used once.
        let memory = unsafe { PreparedMemory::from_parts(memory.into_parts()) };
        assert_eq!((memory.len(), memory[99], drops.load(Ordering::Relaxed)), (100, 7, 0));
        std::thread::spawn(move || drop(memory)).join().unwrap();
        assert_eq!(drops.load(Ordering::Relaxed), 1);
        let heap = PreparedMemory::on_heap(65).unwrap();
        assert_eq!((&heap[..], heap.as_ptr().addr() % 64), (&[0; 65][..], 0));
        assert!(PreparedMemory::on_heap(usize::MAX).is_err());
        assert!(PreparedMemory::on_heap(0).unwrap().is_empty());
    }
}
