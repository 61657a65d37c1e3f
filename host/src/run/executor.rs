//! The host's threads: a small pool that kernels borrow through the plugin interface.
//!
//! A run enters the pool and has its workers until it leaves. While it is in, the workers spin between parallel regions, which
//! begin and end within a microsecond; between runs they spin for a moment, and park. If the pool is taken, a run is serial on its
//! caller. A region that begins inside a task runs on that task's thread.

use std::cell::{Cell, UnsafeCell};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use bitquilt_plugin_api::host::{Task, Threads, in_default_control};

/// Pauses that a worker spends waiting for the next region of a run before it parks.
const SPINS: u32 = 20_000;

/// Pauses that a worker spends waiting for the next run: a caller that comes back at once, as one that decodes token after token
/// does, need not wake it. A caller that stays away leaves its core to others.
const SPINS_BETWEEN_RUNS: u32 = 4_000;

/// A pool of threads; the thread that enters it is worker 0.
pub(crate) struct ThreadPool {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

/// Bit of [`Gate::state`] that says that a region takes workers; the bits below count those inside, the ones above count regions.
const OPEN: u64 = 1 << 32;

/// The bits of the gate that are of its region alone.
const REGION: u64 = !(OPEN | INSIDE);

/// The bits that count those inside.
const INSIDE: u64 = OPEN - 1;

struct Shared {
    workers: usize,
    /// Whether a run is in.
    taken: AtomicBool,
    stopping: AtomicBool,
    gate: Gate,
    /// How many tasks of each worker's share of the region have begun; none between regions.
    shares: Box<[Share]>,
    /// Workers that are parked, or about to.
    parked: AtomicUsize,
    park: Mutex<()>,
    wake: Condvar,
}

/// What opens a region to the workers, who watch it: on cache lines of its own, so that one that sees the gate open has the region too.
#[repr(align(128))]
struct Gate {
    /// [`OPEN`], the number of workers inside the region, and which region it is.
    state: AtomicU64,
    region: UnsafeCell<Region>,
}

/// The region's task, with its lifetime erased: the gate keeps workers out once the region ends.
#[derive(Clone, Copy)]
struct Region {
    tasks: usize,
    task: Option<Task<'static>>,
}

/// A counter on cache lines of its own.
#[repr(align(128))]
struct Share(AtomicUsize);

// SAFETY: `region` is written only while the gate is closed and nobody is inside, and read only inside.
unsafe impl Sync for Shared {}

thread_local! {
    /// The pool this thread works for at the moment, which of its workers it is, and whether its regions run inline.
    static ROLE: Cell<Role> = const { Cell::new(Role { pool: 0, worker: 0, inline: false }) };
}

#[derive(Clone, Copy)]
struct Role {
    pool: usize,
    worker: usize,
    inline: bool,
}

impl ThreadPool {
    /// A pool of `workers` workers, at least one; the thread that enters the pool is one of them. Returns once every other worker has
    /// started, so that the first run does not wait for threads to be created.
    pub(crate) fn new(workers: usize) -> std::io::Result<Self> {
        let workers = workers.max(1);
        let shared = Arc::new(Shared {
            workers,
            taken: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            gate: Gate { state: AtomicU64::new(0), region: UnsafeCell::new(Region { tasks: 0, task: None }) },
            shares: (0..workers).map(|_| Share(AtomicUsize::new(0))).collect(),
            parked: AtomicUsize::new(0),
            park: Mutex::new(()),
            wake: Condvar::new(),
        });
        let mut pool = Self { shared, threads: Vec::with_capacity(workers - 1) };
        for worker in 1..workers {
            let shared = Arc::clone(&pool.shared);
            let thread = std::thread::Builder::new().name(format!("bitquilt-{worker}"));
            // A thread begins with the floating-point control of the one that starts it.
            let work = move || in_default_control("a worker", || shared.work(worker));
            pool.threads.push(thread.spawn(work)?);
        }
        let mut spins = 0;
        while pool.shared.parked.load(Ordering::SeqCst) < workers - 1 {
            relax(&mut spins);
        }
        Ok(pool)
    }

    /// The number of workers.
    pub(crate) fn workers(&self) -> usize {
        self.shared.workers
    }

    /// Takes the pool for a run on this thread. Where it is taken, by another run or by the one this thread is in, the run is serial.
    pub(crate) fn enter(&self) -> Entered<'_> {
        let before = ROLE.get();
        let inline = self.shared.taken.swap(true, Ordering::Acquire);
        ROLE.set(Role { pool: self.shared.id(), worker: 0, inline });
        Entered { shared: &self.shared, before, owner: !inline }
    }
}

impl Drop for ThreadPool {
    fn drop(&mut self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.wake_parked();
        for thread in self.threads.drain(..) {
            // A worker does not panic: tasks do not unwind.
            let _ = thread.join();
        }
    }
}

/// A run's use of the pool.
pub(crate) struct Entered<'a> {
    shared: &'a Shared,
    before: Role,
    owner: bool,
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        ROLE.set(self.before);
        if self.owner {
            self.shared.taken.store(false, Ordering::Release);
        }
    }
}

impl Threads for Entered<'_> {
    fn workers(&self) -> usize {
        self.shared.workers
    }

    fn par_for(&self, tasks: usize, task: Task<'_>) -> bool {
        let role = ROLE.get();
        if role.pool != self.shared.id() {
            return false;
        }
        if role.inline || tasks <= 1 || self.shared.workers == 1 {
            (0..tasks).for_each(|index| task.run(index, role.worker));
        } else {
            ROLE.set(Role { inline: true, ..role });
            self.shared.run_region(tasks, task);
            ROLE.set(role);
        }
        true
    }
}

impl Shared {
    fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }

    fn run_region(&self, tasks: usize, task: Task<'_>) {
        // SAFETY: only the lifetime changes. Workers call the task inside the gate alone, and this function waits until they left.
        let erased = unsafe { std::mem::transmute::<Task<'_>, Task<'static>>(task) };
        // SAFETY: the gate is closed and nobody is inside: the last region's caller, who is the pool's one owner, waited for that.
        unsafe { *self.gate.region.get() = Region { tasks, task: Some(erased) } };
        // The lowest bit of the count of regions is the one above `OPEN`. A closed gate is nobody else's to change.
        let region = (self.gate.state.load(Ordering::Relaxed) & REGION).wrapping_add(OPEN << 1);
        self.gate.state.store(region | OPEN, Ordering::SeqCst);
        if self.parked.load(Ordering::SeqCst) > 0 {
            self.wake_parked();
        }
        self.run_tasks(tasks, task, 0);
        self.gate.state.fetch_and(!OPEN, Ordering::AcqRel);
        let mut spins = 0u32;
        while self.gate.state.load(Ordering::Acquire) & INSIDE != 0 {
            relax(&mut spins);
        }
        // Now, and not when the next region begins, which would wait until the counters have come from the cores of their workers.
        self.shares.iter().for_each(|share| share.0.store(0, Ordering::Relaxed));
    }

    /// The first task of the share of `worker`, which ends where that of the next one starts.
    fn first_task(&self, tasks: usize, worker: usize) -> usize {
        // Without the overflow that `tasks * worker` could have.
        tasks / self.workers * worker + tasks % self.workers * worker / self.workers
    }

    /// Runs the tasks of the worker's share, in their order, and then what is left of the others'. Tasks that lie side by side often
    /// read memory that does, and where the same tasks come again, a worker's caches know what they read.
    fn run_tasks(&self, tasks: usize, task: Task<'_>, worker: usize) {
        for owner in (worker..self.workers).chain(0..worker) {
            let (first, end) = (self.first_task(tasks, owner), self.first_task(tasks, owner + 1));
            loop {
                let index = first + self.shares[owner].0.fetch_add(1, Ordering::Relaxed);
                if index >= end {
                    break;
                }
                task.run(index, worker);
            }
        }
    }

    /// A worker's life.
    fn work(&self, worker: usize) {
        ROLE.set(Role { pool: self.id(), worker, inline: true });
        let mut spins = 0;
        // The region that the worker was in last: when it leaves one there is nothing to do in it.
        let mut done = 0;
        loop {
            if let Some(region) = self.try_enter(done) {
                done = region;
                // SAFETY: inside the gate the region is not written.
                let Region { tasks, task } = unsafe { *self.gate.region.get() };
                if let Some(task) = task {
                    self.run_tasks(tasks, task, worker);
                }
                self.gate.state.fetch_sub(1, Ordering::Release);
                spins = 0;
            } else if self.stopping.load(Ordering::Relaxed) {
                return;
            } else if spins < self.patience() {
                spins += 1;
                std::hint::spin_loop();
            } else {
                self.park_until_needed(done);
                spins = 0;
            }
        }
    }

    /// Pauses before a worker parks.
    fn patience(&self) -> u32 {
        if self.taken.load(Ordering::Relaxed) { SPINS } else { SPINS_BETWEEN_RUNS }
    }

    /// Enters the region that is open, if it is not `done`, and says which it is.
    fn try_enter(&self, done: u64) -> Option<u64> {
        let enter = |gate: u64| is_new(gate, done).then_some(gate + 1);
        if !is_new(self.gate.state.load(Ordering::Relaxed), done) {
            return None;
        }
        let gate = self.gate.state.fetch_update(Ordering::Acquire, Ordering::Relaxed, enter).ok()?;
        Some(gate & REGION)
    }

    fn park_until_needed(&self, done: u64) {
        let mut guard = self.park.lock().unwrap_or_else(PoisonError::into_inner);
        self.parked.fetch_add(1, Ordering::SeqCst);
        // Whoever opens the gate after this check sees that a worker is parked, and wakes it under the lock.
        while !is_new(self.gate.state.load(Ordering::SeqCst), done) && !self.stopping.load(Ordering::SeqCst) {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.parked.fetch_sub(1, Ordering::SeqCst);
    }

    fn wake_parked(&self) {
        let _guard = self.park.lock().unwrap_or_else(PoisonError::into_inner);
        self.wake.notify_all();
    }
}

/// Whether the gate is open to a worker that is done with one region.
fn is_new(gate: u64, done: u64) -> bool {
    gate & OPEN != 0 && gate & REGION != done
}

/// Waits a little, and lets other threads have the core when the wait is long.
fn relax(spins: &mut u32) {
    *spins = spins.wrapping_add(1);
    if spins.is_multiple_of(1024) {
        std::thread::yield_now();
    } else {
        std::hint::spin_loop();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Barrier, atomic::AtomicU32};
    use std::time::{Duration, Instant};

    use bitquilt_plugin_api::Executor;

    use super::*;

    fn each_task_runs_once(entered: &Entered<'_>, tasks: usize) {
        let counts: Vec<AtomicU32> = (0..tasks).map(|_| AtomicU32::new(0)).collect();
        let busy: Vec<AtomicBool> = (0..entered.workers()).map(|_| AtomicBool::new(false)).collect();
        Executor::of(entered).par_for(tasks, |task, worker| {
            assert!(!busy[worker].swap(true, Ordering::SeqCst), "two tasks of worker {worker} at once");
            counts[task].fetch_add(1, Ordering::Relaxed);
            busy[worker].store(false, Ordering::SeqCst);
        });
        assert!(counts.iter().all(|count| count.load(Ordering::Relaxed) == 1));
    }

    #[test]
    fn every_task_runs_once_for_every_number_of_workers() {
        for workers in [1, 2, 3, 7] {
            let pool = ThreadPool::new(workers).unwrap();
            for run in 0..50 {
                let entered = pool.enter();
                for tasks in [0, 1, 2, 3, 17, 100] {
                    each_task_runs_once(&entered, tasks);
                }
                if run % 10 == 0 {
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            }
        }
    }

    #[test]
    fn a_region_inside_a_task_runs_on_its_thread() {
        let pool = ThreadPool::new(3).unwrap();
        let entered = pool.enter();
        let executor = Executor::of(&entered);
        let inner = AtomicU32::new(0);
        executor.par_for(8, |_, outer_worker| {
            let thread = std::thread::current().id();
            executor.par_for(5, |_, worker| {
                assert_eq!((worker, std::thread::current().id()), (outer_worker, thread));
                inner.fetch_add(1, Ordering::Relaxed);
            });
        });
        assert_eq!(inner.into_inner(), 40);
    }

    #[test]
    fn runs_beside_each_other_are_serial_but_complete() {
        let pool = ThreadPool::new(2).unwrap();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        each_task_runs_once(&pool.enter(), 9);
                    }
                });
            }
        });
        let (outer, inner) = (pool.enter(), pool.enter());
        each_task_runs_once(&inner, 4);
        drop(inner);
        each_task_runs_once(&outer, 4);
    }

    #[test]
    fn workers_park_while_the_caller_is_away() {
        let pool = ThreadPool::new(3).unwrap();
        let all_park = || {
            let start = Instant::now();
            while pool.shared.parked.load(Ordering::SeqCst) < 2 {
                assert!(
                    start.elapsed() < Duration::from_secs(20),
                    "workers spin while there is nothing to do"
                );
                std::thread::sleep(Duration::from_millis(1));
            }
        };
        // No worker sleeps through a region whose tasks wait for each other.
        let all_work = |entered: &Entered<'_>| {
            let barrier = Barrier::new(3);
            Executor::of(entered).par_for(3, |_, _| {
                barrier.wait();
            });
        };
        let entered = pool.enter();
        all_work(&entered);
        all_park();
        all_work(&entered);
        drop(entered);
        all_park();
    }

    /// A worker that lost its core inside a region keeps the others waiting, who let it have one of theirs.
    #[test]
    fn regions_end_beside_threads_that_want_the_cores() {
        struct Stop<'a>(&'a AtomicBool);
        impl Drop for Stop<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let pool = ThreadPool::new(cores.max(2)).unwrap();
        let stop = AtomicBool::new(false);
        let begin = Instant::now();
        std::thread::scope(|scope| {
            let _stop = Stop(&stop);
            for _ in 0..2 * cores {
                scope.spawn(|| {
                    while !stop.load(Ordering::Relaxed) {
                        std::hint::spin_loop();
                    }
                });
            }
            for _ in 0..10 {
                let entered = pool.enter();
                (0..10).for_each(|_| each_task_runs_once(&entered, 40));
            }
        });
        assert!(begin.elapsed() < Duration::from_secs(60), "{:?} for 100 short regions", begin.elapsed());
    }

    #[test]
    fn a_thread_of_nobody_is_refused() {
        let pool = ThreadPool::new(2).unwrap();
        let entered = pool.enter();
        std::thread::scope(|scope| {
            let stray = scope.spawn(|| Executor::of(&entered).par_for(4, |_, _| {}));
            assert!(stray.join().is_err());
        });
    }

    #[test]
    fn a_panic_in_a_task_leaves_the_pool_usable() {
        let pool = ThreadPool::new(2).unwrap();
        let entered = pool.enter();
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            Executor::of(&entered).par_for(16, |task, _| assert_ne!(task, 7));
        }));
        assert!(result.is_err());
        each_task_runs_once(&entered, 16);
    }
}
