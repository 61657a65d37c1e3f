//! What a host lends for the time of a call: its threads, and memory as addresses and lengths.

use abi_stable::StableAbi;

use crate::tensor::{DType, ElementView, TensorView, TensorViewMut};

/// One task of a parallel region: a function and its data.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiTask {
    data: *const (),
    call: unsafe extern "C" fn(*const (), usize, usize),
}

impl AbiTask {
    pub(crate) fn new(data: *const (), call: unsafe extern "C" fn(*const (), usize, usize)) -> Self {
        Self { data, call }
    }

    /// Runs task `index` as `worker`. It does not unwind.
    ///
    /// # Safety
    /// The data the task was made with must be alive.
    pub(crate) unsafe fn call(&self, index: usize, worker: usize) {
        // SAFETY: as the caller promises.
        unsafe { (self.call)(self.data, index, worker) }
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

impl AbiExecutor {
    pub(crate) const fn new(
        host: *const (),
        workers: usize,
        par_for: unsafe extern "C" fn(*const (), usize, AbiTask) -> bool,
    ) -> Self {
        Self { host, workers, par_for, reserved: [0; 4] }
    }

    pub(crate) fn workers(&self) -> usize {
        self.workers
    }

    /// Whether the tasks ran; they do not on a thread that is not the host's.
    pub(crate) fn par_for(&self, tasks: usize, task: AbiTask) -> bool {
        // SAFETY: whoever made the executor promised that `host` and `par_for` work from any thread while it lives.
        unsafe { (self.par_for)(self.host, tasks, task) }
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

/// A tensor of the host.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiView {
    /// 0 for an encoded tensor.
    dtype: u32,
    flags: u32,
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
        Self { dtype, flags: 0, encoding, shape: shape.as_ptr(), rank: shape.len(), data, reserved: [0; 4] }
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
