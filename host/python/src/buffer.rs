//! Memory of tensors that Python reads where it lies.

use std::ffi::{CStr, c_int, c_void};

use bitquilt::{DType, Tensor};
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;

/// The bytes of a tensor under a dtype of NumPy's own and a shape; an array over it holds it, and with it the tensor.
#[pyclass(frozen, module = "bitquilt._native")]
pub struct Lent {
    tensor: Tensor,
    dtype: DType,
    shape: Vec<usize>,
}

impl Lent {
    /// A tensor's bytes; `shape` of values of `dtype` has as many.
    pub fn new(tensor: Tensor, dtype: DType, shape: Vec<usize>) -> Self {
        Self { tensor, dtype, shape }
    }

    /// A read-only array over them.
    pub fn array(self, py: Python<'_>) -> PyResult<Bound<'_, PyAny>> {
        py.import("numpy")?.call_method1("asarray", (Bound::new(py, self)?,))
    }
}

#[pymethods]
impl Lent {
    /// Lends the memory.
    ///
    /// # Safety
    /// `view` is a `Py_buffer` that the interpreter wants filled.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let memory = Memory { bytes: this.tensor.bytes(), dtype: this.dtype, shape: &this.shape };
        // SAFETY: as the caller promises; the object holds the tensor, whose bytes stay where they are.
        unsafe { memory.lend(slf.clone().into_any(), view, flags) }
    }

    /// Takes back what was lent beside the memory.
    ///
    /// # Safety
    /// `view` was filled by `__getbuffer__`.
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: as the caller promises.
        unsafe { release(view) }
    }
}

/// Bytes that are lent, and what they are.
pub struct Memory<'a> {
    /// The bytes.
    pub bytes: &'a [u8],
    /// A dtype that NumPy has itself.
    pub dtype: DType,
    /// The shape, in values.
    pub shape: &'a [usize],
}

/// What a `Py_buffer` points to besides the memory.
struct Layout {
    shape: Vec<ffi::Py_ssize_t>,
    strides: Vec<ffi::Py_ssize_t>,
}

impl Memory<'_> {
    /// Fills a `Py_buffer`.
    ///
    /// # Safety
    /// `view` is a `Py_buffer` that may be written, and `owner` holds the bytes for as long as it lives. It is emptied by [`release`].
    pub unsafe fn lend(
        &self,
        owner: Bound<'_, PyAny>,
        view: *mut ffi::Py_buffer,
        flags: c_int,
    ) -> PyResult<()> {
        if view.is_null() {
            return Err(PyBufferError::new_err("there is no view to fill"));
        }
        // SAFETY: the view may be written. Who asks for a buffer and is refused finds no owner in it.
        unsafe { (*view).obj = std::ptr::null_mut() };
        if flags & ffi::PyBUF_WRITABLE == ffi::PyBUF_WRITABLE {
            return Err(PyBufferError::new_err("a tensor cannot be written to; copy it: `numpy.array(t)`"));
        }
        let size = self.dtype.size().unwrap_or(1);
        let signed = |value: usize| ffi::Py_ssize_t::try_from(value).unwrap_or(ffi::Py_ssize_t::MAX);
        let mut strides = vec![0; self.shape.len()];
        let mut stride = size;
        for (slot, dim) in strides.iter_mut().zip(self.shape).rev() {
            *slot = signed(stride);
            stride = stride.saturating_mul((*dim).max(1));
        }
        let shape = self.shape.iter().copied().map(signed).collect();
        let mut layout = Box::new(Layout { shape, strides });
        let wants = |flag: c_int| flags & flag == flag;
        // SAFETY: the view may be written. The bytes live as long as the owner, to which it gets a reference of its own; shape and
        // strides live until `release`, and the format for ever.
        unsafe {
            (*view).buf = self.bytes.as_ptr().cast_mut().cast::<c_void>();
            (*view).len = signed(self.bytes.len());
            (*view).readonly = 1;
            (*view).itemsize = signed(size);
            (*view).ndim = c_int::try_from(self.shape.len()).unwrap_or(c_int::MAX);
            (*view).format = if wants(ffi::PyBUF_FORMAT) {
                format(self.dtype).as_ptr().cast_mut()
            } else {
                std::ptr::null_mut()
            };
            (*view).shape =
                if wants(ffi::PyBUF_ND) { layout.shape.as_mut_ptr() } else { std::ptr::null_mut() };
            (*view).strides =
                if wants(ffi::PyBUF_STRIDES) { layout.strides.as_mut_ptr() } else { std::ptr::null_mut() };
            (*view).suboffsets = std::ptr::null_mut();
            (*view).internal = Box::into_raw(layout).cast::<c_void>();
            (*view).obj = owner.into_ptr();
        }
        Ok(())
    }
}

/// Empties a `Py_buffer`.
///
/// # Safety
/// It was filled by [`Memory::lend`], and is emptied once.
pub unsafe fn release(view: *mut ffi::Py_buffer) {
    // SAFETY: `lend` has put a box there.
    unsafe {
        drop(Box::from_raw((*view).internal.cast::<Layout>()));
        (*view).internal = std::ptr::null_mut();
    }
}

/// The format of a dtype, as the module `struct` writes it.
fn format(dtype: DType) -> &'static CStr {
    match dtype {
        DType::F32 => c"f",
        DType::F64 => c"d",
        DType::F16 => c"e",
        DType::I8 => c"b",
        DType::I16 => c"h",
        DType::I32 => c"i",
        DType::I64 => c"q",
        DType::U16 => c"H",
        DType::U32 => c"I",
        DType::U64 => c"Q",
        DType::BOOL => c"?",
        _ => c"B",
    }
}
