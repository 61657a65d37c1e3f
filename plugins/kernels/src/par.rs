//! Threads, as the kernels see them.

use std::ops::Range;

/// Lends threads to a kernel.
pub trait Par {
    /// How many threads may take part.
    fn threads(&self) -> usize;

    /// Calls `body(task, worker)` once for each task in `0..tasks`, in any order and at the same time as far as
    /// there are threads, and returns when all calls have. `worker` is below [`threads`](Self::threads).
    fn par_for(&self, tasks: usize, body: &(dyn Fn(usize, usize) + Sync));
}

/// The calling thread alone.
#[derive(Clone, Copy, Debug, Default)]
pub struct Serial;

impl Par for Serial {
    fn threads(&self) -> usize {
        1
    }

    fn par_for(&self, tasks: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        (0..tasks).for_each(|task| body(task, 0));
    }
}

/// Part `index` of `0..len` cut into `parts` parts whose lengths differ by at most one.
pub(crate) fn part(len: usize, parts: usize, index: usize) -> Range<usize> {
    len * index / parts..len * (index + 1) / parts
}

/// Cuts `bytes`, units of `unit` bytes, into `parts` parts as [`part`] does, and calls `body(part, units, bytes)` once for each, in
/// `tasks` tasks.
pub(crate) fn par_parts_mut(
    par: &dyn Par,
    tasks: usize,
    bytes: &mut [u8],
    unit: usize,
    parts: usize,
    body: impl Fn(usize, Range<usize>, &mut [u8]) + Sync,
) {
    /// A pointer that tasks share; each writes to parts of its own.
    struct Shared(*mut u8);
    // SAFETY: the parts of two tasks do not overlap.
    unsafe impl Sync for Shared {}
    impl Shared {
        fn get(&self) -> *mut u8 {
            self.0
        }
    }
    let units = bytes.len() / unit;
    let shared = Shared(bytes.as_mut_ptr());
    par.par_for(tasks, &|task, _| {
        for index in part(parts, tasks, task) {
            let of_part = part(units, parts, index);
            // SAFETY: no two parts overlap, a part is in one task, and a task runs once.
            let bytes = unsafe {
                std::slice::from_raw_parts_mut(shared.get().add(of_part.start * unit), of_part.len() * unit)
            };
            body(index, of_part, bytes);
        }
    });
}
