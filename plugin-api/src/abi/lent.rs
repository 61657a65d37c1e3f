//! What a host lends for the time of a call: its threads, and memory as addresses and lengths.

use std::sync::OnceLock;

use abi_stable::StableAbi;

use crate::control::{ControlChange, in_default_control, note_control_change, take_control_change};
use crate::executor::{Executor, Task, Tasks, Threads};
use crate::prepared::{MemoryParts, PreparedMemory};
use crate::tensor::{DType, ElementView, TensorView, TensorViewMut};

/// The task of a parallel region: a function and its data.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiTask {
    data: *const (),
    call: unsafe extern "C" fn(*const (), usize, usize),
}

impl AbiTask {
    /// To be used while what the task shares is borrowed.
    fn new(task: Task<'_>) -> Self {
        let (data, call) = task.into_parts();
        Self { data, call }
    }

    /// # Safety
    /// What the task shares must be borrowed for `'a`.
    unsafe fn as_task<'a>(self) -> Task<'a> {
        // SAFETY: made of a task; borrowed as the caller promises.
        unsafe { Task::from_parts(self.data, self.call) }
    }
}

/// The host's threads. `[any-thread]`
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiExecutor {
    host: *const (),
    workers: usize,
    par_for: unsafe extern "C" fn(*const (), usize, AbiTask) -> bool,
    reserved: [usize; 4],
}

// SAFETY: it is made of an [`Executor`], which any thread may use.
unsafe impl Sync for AbiExecutor {}

impl AbiExecutor {
    /// To be used while the executor is borrowed.
    pub(crate) fn new(executor: &Executor<'_>) -> Self {
        unsafe extern "C" fn par_for(host: *const (), tasks: usize, task: AbiTask) -> bool {
            // SAFETY: the executor below, which is borrowed for as long as this is used.
            let executor = unsafe { &*host.cast::<Executor<'_>>() };
            // SAFETY: what the task shares is the caller's until this returns.
            let region = LentRegion { task: unsafe { task.as_task() }, change: OnceLock::new() };
            let ran = executor.threads().par_for(tasks, Task::new(&region));
            if let Some(change) = region.change.into_inner() {
                note_control_change(change);
            }
            ran
        }
        let host = std::ptr::from_ref(executor).cast();
        Self { host, workers: executor.workers(), par_for, reserved: [0; 4] }
    }
}

impl Threads for AbiExecutor {
    fn workers(&self) -> usize {
        self.workers
    }

    fn par_for(&self, tasks: usize, task: Task<'_>) -> bool {
        // SAFETY: whoever lends the executor keeps `host` alive meanwhile; the task is borrowed for the call.
        unsafe { (self.par_for)(self.host, tasks, AbiTask::new(task)) }
    }
}

/// A parallel region of a kernel. Each task, on whichever thread, runs in the default floating-point control.
struct LentRegion<'a> {
    task: Task<'a>,
    /// What a task left changed.
    change: OnceLock<ControlChange>,
}

impl Tasks for LentRegion<'_> {
    fn run(&self, index: usize, worker: usize) {
        in_default_control("a parallel task", || self.task.run(index, worker));
        if let Some(change) = take_control_change() {
            let _ = self.change.set(change);
        }
    }
}

/// Bytes of the host.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiBytes {
    data: *mut u8,
    len: usize,
}

impl AbiBytes {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { data: bytes.as_ptr().cast_mut(), len: bytes.len() }
    }

    pub(crate) fn new_mut(bytes: &mut [u8]) -> Self {
        Self { data: bytes.as_mut_ptr(), len: bytes.len() }
    }

    /// # Safety
    /// The bytes must be alive and unwritten for `'a`.
    pub(crate) unsafe fn as_slice<'a>(self) -> &'a [u8] {
        // SAFETY: made from a slice; alive as the caller promises.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }

    /// # Safety
    /// The bytes must come from a mutable slice, and be alive and nobody else's for `'a`.
    pub(crate) unsafe fn as_mut_slice<'a>(self) -> &'a mut [u8] {
        // SAFETY: as the caller promises.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.len) }
    }
}

/// Scratch memory of the workers.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiWorkerBytes {
    pub(crate) memory: AbiBytes,
    pub(crate) stride: usize,
    pub(crate) bytes: usize,
    pub(crate) workers: usize,
}

/// Memory for what a kernel prepares: its borrower's until it is freed.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiMemory {
    data: *mut u8,
    len: usize,
    owner: *mut (),
    free: unsafe extern "C" fn(*mut ()),
    reserved: [usize; 2],
}

impl From<PreparedMemory> for AbiMemory {
    fn from(memory: PreparedMemory) -> Self {
        let MemoryParts { data, len, owner, free } = memory.into_parts();
        Self { data, len, owner, free, reserved: [0; 2] }
    }
}

impl From<AbiMemory> for PreparedMemory {
    fn from(memory: AbiMemory) -> Self {
        let AbiMemory { data, len, owner, free, .. } = memory;
        // SAFETY: it is made of a `PreparedMemory` alone, and is no more.
        unsafe { Self::from_parts(MemoryParts { data, len, owner, free }) }
    }
}

/// A tensor of the host.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiView {
    /// 0 for an encoded tensor.
    dtype: u32,
    /// Where the bytes are: 0 is the host's memory. Views of others are lent to providers for them alone.
    space: u32,
    /// Name of the encoding.
    encoding: AbiBytes,
    shape: *const usize,
    rank: usize,
    data: AbiBytes,
    reserved: [usize; 4],
}

impl AbiView {
    pub(crate) fn new(view: &TensorView<'_>) -> Self {
        Self::from_parts(view.element(), view.shape(), AbiBytes::new(view.bytes()))
    }

    pub(crate) fn new_mut(view: TensorViewMut<'_>) -> Self {
        let (element, shape) = (view.element(), view.shape());
        Self::from_parts(element, shape, AbiBytes::new_mut(view.into_bytes()))
    }

    fn from_parts(element: ElementView<'_>, shape: &[usize], data: AbiBytes) -> Self {
        let (dtype, encoding) = match element {
            ElementView::Dense(dtype) => (dtype.0, ""),
            ElementView::Encoded(name) => (0, name),
        };
        let encoding = AbiBytes::new(encoding.as_bytes());
        Self { dtype, space: 0, encoding, shape: shape.as_ptr(), rank: shape.len(), data, reserved: [0; 4] }
    }

    /// # Safety
    /// What the view was made from must be alive for `'a`.
    unsafe fn parts<'a>(&self) -> (ElementView<'a>, &'a [usize]) {
        // SAFETY: made from a slice; alive as the caller promises.
        let shape = unsafe { std::slice::from_raw_parts(self.shape, self.rank) };
        let element = match self.dtype {
            0 => {
                // SAFETY: made from a `str`; alive as the caller promises.
                let name = unsafe { self.encoding.as_slice() };
                ElementView::Encoded(std::str::from_utf8(name).unwrap_or_default())
            }
            code => ElementView::Dense(DType(code)),
        };
        (element, shape)
    }

    /// # Safety
    /// What the view was made from must be alive and unwritten for `'a`.
    pub(crate) unsafe fn as_view<'a>(&self) -> TensorView<'a> {
        // SAFETY: as the caller promises.
        let ((element, shape), bytes) = unsafe { (self.parts(), self.data.as_slice()) };
        TensorView::from_parts(element, shape, bytes)
    }

    /// # Safety
    /// The view must come from [`Self::new_mut`]; what it was made from must be alive, and its bytes nobody else's, for `'a`.
    pub(crate) unsafe fn as_view_mut<'a>(&self) -> TensorViewMut<'a> {
        // SAFETY: as the caller promises.
        let ((element, shape), bytes) = unsafe { (self.parts(), self.data.as_mut_slice()) };
        TensorViewMut::from_parts(element, shape, bytes)
    }
}
