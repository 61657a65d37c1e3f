//! Threads, as the kernels see them.

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
pub(crate) fn part(len: usize, parts: usize, index: usize) -> std::ops::Range<usize> {
    len * index / parts..len * (index + 1) / parts
}
