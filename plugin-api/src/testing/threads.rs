//! Threads that tests lend to kernels.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::host::Threads;

/// So many threads, started for each region and joined at its end.
pub struct TestThreads(pub usize);

thread_local! {
    /// Which worker this thread is, inside a region.
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
}

impl Threads for TestThreads {
    fn workers(&self) -> usize {
        self.0.max(1)
    }

    fn par_for(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) {
        if let Some(worker) = WORKER.get() {
            return (0..tasks).for_each(|index| task(index, worker));
        }
        let next = AtomicUsize::new(0);
        let work = |worker| {
            WORKER.set(Some(worker));
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= tasks {
                    break;
                }
                task(index, worker);
            }
            WORKER.set(None);
        };
        std::thread::scope(|scope| {
            for worker in 1..self.workers() {
                scope.spawn(move || work(worker));
            }
            work(0);
        });
    }
}
