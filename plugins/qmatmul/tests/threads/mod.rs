//! Threads that products are computed with.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitquilt_kernels::Par;
use rayon::{ThreadPool, ThreadPoolBuilder};

/// The most threads that a product is computed with.
pub const MOST_THREADS: usize = 3;

/// Threads that stay from region to region: an emulator is slow to start one, and keeps some of its memory.
pub struct Threads(&'static ThreadPool);

impl Threads {
    /// So many, at most [`MOST_THREADS`].
    pub fn new(threads: usize) -> Self {
        static POOLS: [OnceLock<ThreadPool>; MOST_THREADS + 1] = [const { OnceLock::new() }; _];
        let start = || ThreadPoolBuilder::new().num_threads(threads).build().expect("threads");
        Self(POOLS[threads].get_or_init(start))
    }
}

impl Par for Threads {
    fn threads(&self) -> usize {
        self.0.current_num_threads()
    }

    fn par_for(&self, tasks: usize, body: &(dyn Fn(usize, usize) + Sync)) {
        let next = AtomicUsize::new(0);
        self.0.broadcast(|thread| {
            loop {
                let task = next.fetch_add(1, Ordering::Relaxed);
                if task >= tasks {
                    break;
                }
                body(task, thread.index());
            }
        });
    }
}
