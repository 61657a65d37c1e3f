//! Threads that tests lend to kernels.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::{self, ThreadId};

use bitquilt_plugin_api::host::{Task, Threads};

/// Threads that are started for each region and joined at its end. The thread that made them is worker 0.
pub struct TestThreads {
    workers: usize,
    owner: ThreadId,
}

thread_local! {
    /// Which worker this thread is, inside a region.
    static WORKER: Cell<Option<usize>> = const { Cell::new(None) };
}

impl TestThreads {
    /// So many workers, this thread included; at least one.
    pub fn new(workers: usize) -> Self {
        Self { workers: workers.max(1), owner: thread::current().id() }
    }
}

impl Threads for TestThreads {
    fn workers(&self) -> usize {
        self.workers
    }

    fn par_for(&self, tasks: usize, task: Task<'_>) -> bool {
        if let Some(worker) = WORKER.get() {
            (0..tasks).for_each(|index| task.run(index, worker));
            return true;
        }
        if thread::current().id() != self.owner {
            return false;
        }
        let next = AtomicUsize::new(0);
        let work = |worker| {
            WORKER.set(Some(worker));
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                if index >= tasks {
                    break;
                }
                task.run(index, worker);
            }
            WORKER.set(None);
        };
        let work = &work;
        thread::scope(|scope| {
            for worker in 1..self.workers {
                // Where no thread can be started the others do its tasks.
                let _ = thread::Builder::new().spawn_scoped(scope, move || work(worker));
            }
            work(0);
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use bitquilt_plugin_api::Executor;

    use super::*;

    #[test]
    fn every_task_runs_once_also_inside_tasks() {
        let threads = TestThreads::new(3);
        let counts: Vec<AtomicUsize> = (0..20).map(|_| AtomicUsize::new(0)).collect();
        let executor = Executor::of(&threads);
        executor.par_for(4, |outer, worker| {
            executor.par_for(5, |inner, same| {
                assert_eq!(worker, same);
                counts[outer * 5 + inner].fetch_add(1, Ordering::Relaxed);
            });
        });
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn other_threads_are_refused() {
        let threads = TestThreads::new(2);
        let ran = thread::scope(|scope| scope.spawn(|| Executor::of(&threads).par_for(1, |_, _| {})).join());
        let said = ran.unwrap_err();
        assert!(said.downcast_ref::<&str>().unwrap().contains("on a thread that the host did not start"));
    }
}
