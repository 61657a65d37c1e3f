//! An allocator that counts what is allocated, and refuses what no reader of a small file may ask for.

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::null_mut;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use bitquilt_models::budget::Budgeted;

/// The most bytes of one allocation. Who does not expect an answer of none ends the process.
pub const MOST: usize = 2 << 30;

/// The allocator of `bitquilt-models`, which templates need, as the `#[global_allocator]` of a fuzzer.
pub struct Bounded;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

impl Bounded {
    /// The most bytes that are allocated at a time while `call` runs, above those that were allocated before.
    pub fn peak_of(call: impl FnOnce()) -> usize {
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        call();
        PEAK.load(Relaxed).saturating_sub(before)
    }
}

/// Counts what was allocated, and takes it back if it is too much: only then, because who has a budget waits before.
///
/// # Safety
/// `memory` is an answer of [`Budgeted`] to `layout`.
unsafe fn counted(memory: *mut u8, layout: Layout) -> *mut u8 {
    if memory.is_null() {
        return memory;
    }
    if layout.size() > MOST {
        // SAFETY: it was just allocated, and nobody has it.
        unsafe { Budgeted.dealloc(memory, layout) };
        return null_mut();
    }
    let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
    PEAK.fetch_max(live, Relaxed);
    memory
}

// SAFETY: all is done by that allocator.
unsafe impl GlobalAlloc for Bounded {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises; the answer is counted with its layout.
        unsafe { counted(Budgeted.alloc(layout), layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as the caller promises; the answer is counted with its layout.
        unsafe { counted(Budgeted.alloc_zeroed(layout), layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as the caller promises.
        unsafe { Budgeted.dealloc(pointer, layout) }
    }
}
