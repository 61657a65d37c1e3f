//! The host's threads, lent to kernels.

use std::any::Any;
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::guard;
use crate::tensor::WorkerScratch;
use crate::tile::{Tile, Tiles};
use crate::{Error, Result};

/// Threads that can run tasks, to make an [`Executor`] of.
pub trait Threads: Sync {
    /// The number of workers; the caller is one.
    fn workers(&self) -> usize;
    /// Runs `task` for each index in `0..tasks`, and returns when all have returned.
    ///
    /// No two calls for one worker overlap, and worker numbers are below [`Self::workers`]. Answers false, and calls nothing, on a
    /// thread that has no worker number. Does not panic.
    fn par_for(&self, tasks: usize, task: Task<'_>) -> bool;
}

/// What the tasks of a parallel region share: the region.
pub(crate) trait Tasks: Sync {
    /// Runs the task with this index as this worker. Does not unwind.
    fn run(&self, index: usize, worker: usize);
}

/// The task of a parallel region: a function, and what all calls of it share.
///
/// It is handed on by value from library to library. A worker that has it reads what is shared at once, and nothing on the way
/// there: what lies on the stack of another core costs a worker a tenth of a microsecond, line by line.
#[derive(Clone, Copy)]
pub struct Task<'a> {
    shared: *const (),
    run: RunTask,
    borrow: PhantomData<&'a ()>,
}

/// The function of a [`Task`]: of what is shared, the index and the worker.
pub(crate) type RunTask = unsafe extern "C" fn(*const (), usize, usize);

// SAFETY: what is shared is `Sync`.
unsafe impl Send for Task<'_> {}
// SAFETY: as above.
unsafe impl Sync for Task<'_> {}

impl<'a> Task<'a> {
    pub(crate) fn new<T: Tasks>(shared: &'a T) -> Self {
        unsafe extern "C" fn run<T: Tasks>(shared: *const (), index: usize, worker: usize) {
            // SAFETY: what `new` was given, which is borrowed for as long as the task is used.
            unsafe { &*shared.cast::<T>() }.run(index, worker);
        }
        Self { shared: std::ptr::from_ref(shared).cast(), run: run::<T>, borrow: PhantomData }
    }

    pub(crate) fn into_parts(self) -> (*const (), RunTask) {
        (self.shared, self.run)
    }

    /// # Safety
    /// The parts are of a task, and what it shares is borrowed for `'a`.
    pub(crate) unsafe fn from_parts(shared: *const (), run: RunTask) -> Self {
        Self { shared, run, borrow: PhantomData }
    }

    /// Runs the task with this index as this worker, below [`Threads::workers`]. Does not unwind.
    #[inline]
    pub fn run(self, index: usize, worker: usize) {
        // SAFETY: the two belong together, and what is shared is borrowed.
        unsafe { (self.run)(self.shared, index, worker) }
    }
}

/// The host's threads. Plugins never start their own.
#[derive(Clone, Copy)]
pub struct Executor<'a>(&'a dyn Threads);

/// The calling thread alone.
struct Serial;

impl Threads for Serial {
    fn workers(&self) -> usize {
        1
    }

    fn par_for(&self, tasks: usize, task: Task<'_>) -> bool {
        (0..tasks).for_each(|index| task.run(index, 0));
        true
    }
}

impl<'a> Executor<'a> {
    /// An executor of these threads.
    pub fn of<T: Threads>(threads: &'a T) -> Self {
        Self(threads)
    }

    /// An executor that runs every task on the calling thread, in order.
    pub fn serial() -> Executor<'static> {
        Executor(&Serial)
    }

    pub(crate) fn threads(self) -> &'a dyn Threads {
        self.0
    }

    /// The number of workers: worker indices are below it.
    pub fn workers(&self) -> usize {
        self.0.workers()
    }

    /// Runs `body(task, worker)` for each task in `0..tasks` and returns when all are done.
    ///
    /// Tasks run in any order, on the caller and on the host's workers; those of one worker run one after the other. A call
    /// from inside a task runs on that task's thread. A panic in a task ends the call with that panic once the running
    /// tasks are done; tasks that were not begun are left out.
    ///
    /// # Panics
    /// If a task does, and on a thread that the host did not start: it would have no worker index of its own.
    pub fn par_for<F: Fn(usize, usize) + Sync>(&self, tasks: usize, body: F) {
        let region = Region { body, panic: First::none() };
        let ran = self.0.par_for(tasks, Task::new(&region));
        assert!(
            ran,
            "`par_for` was called on a thread that the host did not start; plugins have no threads of their own"
        );
        if let Some(Panic { payload, place }) = region.panic.into_inner() {
            guard::set_place(place);
            resume_unwind(payload);
        }
    }

    /// Runs `body(task, scratch)` for each task in `0..tasks`, where `scratch` is the memory of the worker that runs it. The
    /// error of the lowest task that has one is answered, for any number of threads; tasks after it that were not begun are left out.
    ///
    /// # Panics
    /// If `scratch` is for fewer workers than the executor has.
    pub fn try_par_for(
        &self,
        tasks: usize,
        scratch: WorkerScratch<'_>,
        body: impl Fn(usize, &mut [u8]) -> Result<()> + Sync,
    ) -> Result<()> {
        let error = First::none();
        self.par_for(tasks, |task, worker| {
            // SAFETY: tasks of one worker run one after the other.
            error.attempt(task, || body(task, unsafe { scratch.worker(worker) }));
        });
        error.into_inner().map_or(Ok(()), Err)
    }

    /// Like [`Self::par_chunks_mut`], for a body that can fail: the error of the first chunk that has one is answered, for any
    /// number of threads; chunks after it that were not begun are left out.
    ///
    /// # Panics
    /// As [`Self::par_chunks_mut`] does.
    pub fn try_par_chunks_mut<T: Send>(
        &self,
        data: &mut [T],
        chunk_len: usize,
        scratch: WorkerScratch<'_>,
        body: impl Fn(usize, &mut [T], &mut [u8]) -> Result<()> + Sync,
    ) -> Result<()> {
        let error = First::none();
        self.par_chunks_mut(data, chunk_len, scratch, |index, chunk, scratch| {
            error.attempt(index, || body(index, chunk, scratch));
        });
        error.into_inner().map_or(Ok(()), Err)
    }

    /// Runs `body(index, chunk, scratch)` for each chunk of `chunk_len` elements of `data` (the last may be shorter), where
    /// `scratch` is the memory of the worker that runs it.
    ///
    /// # Panics
    /// If `chunk_len` is 0, or `scratch` is for fewer workers than the executor has.
    pub fn par_chunks_mut<T: Send>(
        &self,
        data: &mut [T],
        chunk_len: usize,
        scratch: WorkerScratch<'_>,
        body: impl Fn(usize, &mut [T], &mut [u8]) + Sync,
    ) {
        assert!(chunk_len > 0, "chunks need a length");
        let (len, base) = (data.len(), SendPtr(data.as_mut_ptr()));
        self.par_for(len.div_ceil(chunk_len), |index, worker| {
            let begin = index * chunk_len;
            let count = chunk_len.min(len - begin);
            // SAFETY: each task has its own index, so the chunks of two tasks do not overlap, and all lie in `data`.
            let chunk = unsafe { std::slice::from_raw_parts_mut(base.get().add(begin), count) };
            // SAFETY: tasks of one worker run one after the other.
            body(index, chunk, unsafe { scratch.worker(worker) });
        });
    }

    /// Runs `body(tile, scratch)` for each tile of `rows` rows and `columns` columns of a row-major matrix of rows of `row_len` elements
    /// (the last of each may be fewer), where `scratch` is the memory of the worker that runs it. Tiles that are as high as the matrix
    /// are columns. The error of the first tile that has one is answered, for any number of threads; tiles after it that were not
    /// begun are left out.
    ///
    /// # Panics
    /// If `rows` or `columns` is 0, `data` is no whole number of rows, or `scratch` is for fewer workers than the executor has.
    pub fn try_par_tiles_mut<T: Send>(
        &self,
        data: &mut [T],
        row_len: usize,
        [rows, columns]: [usize; 2],
        scratch: WorkerScratch<'_>,
        body: impl Fn(Tile<'_, T>, &mut [u8]) -> Result<()> + Sync,
    ) -> Result<()> {
        assert!(rows > 0 && columns > 0, "a tile has rows and columns");
        let tiles = Tiles::new(data, row_len);
        let (height, across) = (tiles.rows(), row_len.div_ceil(columns));
        let piece = |at: usize, len: usize, end: usize| {
            at.saturating_mul(len)..end.min(at.saturating_add(1).saturating_mul(len))
        };
        self.try_par_for(height.div_ceil(rows) * across, scratch, |index, scratch| {
            let rows = piece(index / across, rows, height);
            let columns = piece(index % across, columns, row_len);
            // SAFETY: each task has its own index, so that the tiles of two do not overlap.
            body(unsafe { tiles.tile(rows, columns) }, scratch)
        })
    }
}

/// What went wrong in the lowest task of a region in which something did: the same for any number of threads.
struct First<T> {
    /// Its number; written under the lock alone.
    task: AtomicUsize,
    fault: Mutex<Option<T>>,
}

impl<T> First<T> {
    fn none() -> Self {
        Self { task: AtomicUsize::new(usize::MAX), fault: Mutex::new(None) }
    }

    /// Whether something went wrong in a task before this one.
    fn is_before(&self, task: usize) -> bool {
        self.task.load(Ordering::Relaxed) < task
    }

    /// Keeps the fault of `task` if no task before it has one. Answers the one that is not kept.
    fn keep(&self, task: usize, fault: T) -> Option<T> {
        let mut first = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        if first.is_some() && self.is_before(task) {
            return Some(fault);
        }
        self.task.store(task, Ordering::Relaxed);
        first.replace(fault)
    }

    fn into_inner(self) -> Option<T> {
        self.fault.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

impl First<Error> {
    /// Runs one task, unless one before it has failed.
    fn attempt(&self, task: usize, body: impl FnOnce() -> Result<()>) {
        if self.is_before(task) {
            return;
        }
        if let Err(error) = body() {
            self.keep(task, error);
        }
    }
}

/// One call of `par_for`: what its tasks share.
struct Region<F> {
    body: F,
    panic: First<Panic>,
}

/// A panic of a task: what it carried, and where it happened.
struct Panic {
    payload: Box<dyn Any + Send>,
    place: Option<String>,
}

impl<F: Fn(usize, usize) + Sync> Tasks for Region<F> {
    /// Runs one task. No panic leaves it, since threads are another library's.
    fn run(&self, task: usize, worker: usize) {
        if self.panic.is_before(task) {
            return;
        }
        if let Err(payload) = catch_unwind(AssertUnwindSafe(|| (self.body)(task, worker))) {
            let panic = Panic { payload, place: guard::take_place() };
            if let Some(other) = self.panic.keep(task, panic) {
                // A payload's destructor is the author's code and may panic, too.
                guard::discard(other.payload);
            }
        }
    }
}

struct SendPtr<T>(*mut T);

impl<T> SendPtr<T> {
    fn get(&self) -> *mut T {
        self.0
    }
}

// SAFETY: the pointer is used for disjoint chunks alone, one a task, and `T: Send` where it is made.
unsafe impl<T: Send> Sync for SendPtr<T> {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chunks_cover_the_slice_once() {
        let mut data = vec![0u32; 103];
        Executor::serial().par_chunks_mut(&mut data, 10, WorkerScratch::none(), |index, chunk, _| {
            assert_eq!(chunk.len(), if index == 10 { 3 } else { 10 });
            chunk.iter_mut().for_each(|value| *value += 1);
        });
        assert!(data.iter().all(|value| *value == 1));
    }

    #[test]
    fn tiles_cover_the_matrix_once() {
        for (height, row_len, size) in [
            (3, 10, [usize::MAX, 4]),
            (1, 1, [1, 1]),
            (5, 7, [2, 3]),
            (2, 5, [9, 9]),
            (0, 4, [1, 2]),
            (4, 0, [3, 3]),
        ] {
            let mut data = vec![0usize; height * row_len];
            let tile = |mut tile: Tile<'_, usize>, _: &mut [u8]| {
                assert!(tile.rows().len() <= size[0] && tile.columns().len() <= size[1]);
                for row in tile.rows() {
                    let first = row * row_len + tile.columns().start;
                    tile.row(row).iter_mut().zip(first..).for_each(|(value, place)| *value += place + 1);
                }
                Ok(())
            };
            let none = WorkerScratch::none();
            Executor::serial().try_par_tiles_mut(&mut data, row_len, size, none, tile).unwrap();
            assert_eq!(data, (1..=height * row_len).collect::<Vec<_>>());
        }
    }

    #[test]
    fn the_first_error_ends_a_region() {
        let ran = Mutex::new(Vec::new());
        let result = Executor::serial().try_par_for(5, WorkerScratch::none(), |task, _| {
            ran.lock().unwrap().push(task);
            if task >= 2 { Err(Error::failed(format_args!("task {task}"))) } else { Ok(()) }
        });
        assert_eq!(result.unwrap_err().message(), "task 2");
        assert_eq!(ran.into_inner().unwrap(), [0, 1, 2]);
    }

    #[test]
    fn the_fault_of_the_lowest_task_is_kept_in_any_order() {
        let error = First::none();
        for task in [5, 3, 7, 2, 4] {
            error.attempt(task, || Err(Error::failed(format_args!("task {task}"))));
        }
        error.attempt(1, || Ok(()));
        assert!(error.is_before(3) && !error.is_before(2));
        assert_eq!(error.into_inner().unwrap().message(), "task 2");
        let other = First::none();
        assert_eq!(
            (other.keep(2, "b"), other.keep(1, "a"), other.keep(3, "c")),
            (None, Some("b"), Some("c"))
        );
        assert_eq!(other.into_inner(), Some("a"));
    }

    #[test]
    fn a_panic_in_a_task_reaches_the_caller() {
        let caught =
            catch_unwind(|| Executor::serial().par_for(4, |task, _| assert_ne!(task, 2, "task two")));
        let payload = caught.unwrap_err();
        assert!(payload.downcast_ref::<String>().unwrap().contains("task two"));
    }
}
