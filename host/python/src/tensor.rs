//! Tensors.

use std::ffi::c_int;
use std::sync::Arc;

use bitquilt::registry::Registry;
use bitquilt::{DType, EncodingSpec, TensorType};
use pyo3::exceptions::PyBufferError;
use pyo3::ffi;
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyTuple};

use crate::array::Array;
use crate::buffer::{self, Lent, Memory};
use crate::error::{OrRaise, tensor_error};
use crate::{numpy, work};

/// A tensor, and the encodings that it was made with.
#[pyclass(frozen, module = "bitquilt._native")]
pub struct Tensor {
    pub tensor: bitquilt::Tensor,
    pub registry: Option<Arc<Registry>>,
}

impl Tensor {
    /// A tensor of a session's.
    pub fn of(tensor: bitquilt::Tensor, registry: &Arc<Registry>) -> Self {
        Self { tensor, registry: Some(Arc::clone(registry)) }
    }

    /// The values of an encoded tensor, or of f16 and bf16 ones, as an f32 array.
    pub fn decoded<'py>(&self, py: Python<'py>, registry: &Registry) -> PyResult<Bound<'py, PyAny>> {
        let tensor = &self.tensor;
        let Some(spec) = tensor.encoding() else {
            let values = work::run_for(py, tensor.len(), || registry.to_f32(tensor))?.or_raise()?;
            return numpy::copied(py, DType::F32, values.shape(), values.bytes());
        };
        let encoding = registry.require_encoding(&spec.name).or_raise()?;
        numpy::filled(py, DType::F32, tensor.shape(), |memory| {
            // SAFETY: any four bytes are an f32.
            let (before, values, after) = unsafe { memory.align_to_mut::<f32>() };
            if !before.is_empty() || !after.is_empty() {
                return Err(tensor_error("NumPy has given memory that is not aligned for float32"));
            }
            work::run_for(py, tensor.len(), || encoding.dequantize_into(tensor, values))?.or_raise()
        })
    }

    /// The dtype of NumPy's own under which the bytes are lent, and the shape of so many values.
    fn lent(&self) -> (DType, Vec<usize>) {
        match self.tensor.dtype() {
            Some(dtype) => (numpy::bits_of(dtype).unwrap_or(dtype), self.tensor.shape().to_vec()),
            None => (DType::U8, self.tensor.byte_shape()),
        }
    }

    fn encoded_error(&self) -> String {
        format!(
            "the tensor is {}, whose blocks are no numbers: decode it with `bq.dequantize(t)`, or take its blocks, `t.bytes`",
            bitquilt::text::Brief(&self.tensor.tensor_type().to_string())
        )
    }
}

/// A tensor of what is given: a `Tensor` as it is, or of an array's values.
///
/// An array of floats that nobody may write to is shared, and every other copied, if `share` is not set. Where it is, an array of floats
/// is shared that others can write to: for the time of a call.
pub fn of_any(what: &str, object: &Bound<'_, PyAny>, share: bool) -> PyResult<bitquilt::Tensor> {
    if let Ok(tensor) = object.cast::<Tensor>() {
        return Ok(tensor.get().tensor.clone());
    }
    let array = Array::of(what, object)?;
    let (dtype, shape) = (array.dtype(), array.shape().to_vec());
    match !array.is_index() && (share || array.is_readonly()) {
        true => bitquilt::Tensor::from_owner(dtype, shape, array),
        false => bitquilt::Tensor::from_bytes(dtype, shape, array.as_ref()),
    }
    .or_raise()
}

/// An encoded tensor of blocks.
pub fn of_blocks(
    spec: &EncodingSpec,
    shape: Vec<usize>,
    blocks: &Bound<'_, PyAny>,
) -> PyResult<bitquilt::Tensor> {
    let array = Array::of("`blocks`", blocks)?;
    if array.dtype() != DType::U8 {
        return Err(tensor_error(format!("`blocks` holds {} values; blocks are u8", array.dtype())));
    }
    match array.is_readonly() {
        true => bitquilt::Tensor::from_encoded_owner(spec, shape, array),
        false => bitquilt::Tensor::from_encoded(spec, shape, array.as_ref()),
    }
    .or_raise()
}

#[pymethods]
impl Tensor {
    #[new]
    #[pyo3(signature = (array, /))]
    fn new(array: &Bound<'_, PyAny>) -> PyResult<Self> {
        Ok(Self { tensor: of_any("the array", array, false)?, registry: None })
    }

    /// The logical shape, in values.
    #[getter]
    fn shape<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        PyTuple::new(py, self.tensor.shape())
    }

    /// The name of the dtype or of the encoding.
    #[getter]
    fn element(&self) -> String {
        self.tensor.element().to_string()
    }

    /// The name of the encoding; None for a dense tensor.
    #[getter]
    fn encoding(&self) -> Option<&str> {
        self.tensor.encoding().map(|spec| spec.name.as_str())
    }

    /// NumPy's dtype; None for an encoded tensor.
    #[getter]
    fn dtype<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.tensor.dtype().map(|dtype| numpy::dtype(py, dtype)).transpose()
    }

    /// The type: element and shape.
    #[getter]
    fn r#type<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let tensor: TensorType = self.tensor.tensor_type();
        crate::types::to_python(py, &tensor)
    }

    /// Number of values.
    #[getter]
    fn size(&self) -> usize {
        self.tensor.len()
    }

    /// Number of bytes.
    #[getter]
    fn nbytes(&self) -> usize {
        self.tensor.bytes().len()
    }

    /// Number of dimensions.
    #[getter]
    fn ndim(&self) -> usize {
        self.tensor.shape().len()
    }

    /// A read-only u8 array over the memory: `[rows, bytes a row]`, or `[.., bytes a row]` for a tensor of another rank.
    #[getter]
    fn bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let mut shape = self.tensor.byte_shape();
        if let Some(size) = self.tensor.dtype().and_then(DType::size) {
            match shape.last_mut() {
                Some(last) => *last *= size,
                None => shape.push(size),
            }
        }
        Lent::new(self.tensor.clone(), DType::U8, shape).array(py)
    }

    /// A read-only array of a dense tensor's values, over its memory.
    fn numpy<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let Some(dtype) = self.tensor.dtype() else { return Err(tensor_error(self.encoded_error())) };
        let (lent, shape) = self.lent();
        let array = Lent::new(self.tensor.clone(), lent, shape).array(py)?;
        match lent == dtype {
            true => Ok(array),
            false => array.call_method1("view", (numpy::dtype(py, dtype)?,)),
        }
    }

    /// The values as a new f32 array, by the encodings that the tensor was made with.
    fn dequantize<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        match &self.registry {
            Some(registry) => self.decoded(py, registry),
            None => self.decoded(py, &Registry::default()),
        }
    }

    #[pyo3(signature = (dtype=None, copy=None))]
    fn __array__<'py>(
        &self,
        py: Python<'py>,
        dtype: Option<&Bound<'py, PyAny>>,
        copy: Option<bool>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let array = self.numpy(py)?;
        match dtype {
            None if copy != Some(true) => Ok(array),
            None => array.call_method0("copy"),
            Some(dtype) => {
                let options = PyDict::new(py);
                options.set_item("copy", copy.unwrap_or(false))?;
                array.call_method("astype", (dtype,), Some(&options))
            }
        }
    }

    #[pyo3(signature = (**options))]
    fn __dlpack__<'py>(
        &self,
        py: Python<'py>,
        options: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        if let Some(dtype) = self.tensor.dtype().filter(|dtype| numpy::bits_of(*dtype).is_some()) {
            // NumPy, whose arrays are lent, has no code of DLPack's for it.
            let sentence = format!(
                "NumPy does not lend {dtype} by DLPack; take `t.bytes`, u8 values, and view them as {dtype}"
            );
            return Err(PyBufferError::new_err(sentence));
        }
        self.numpy(py)?.call_method("__dlpack__", (), options)
    }

    fn __dlpack_device__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        self.numpy(py)?.call_method0("__dlpack_device__")
    }

    fn __eq__(&self, other: &Bound<'_, PyAny>) -> bool {
        other.cast::<Self>().is_ok_and(|other| other.get().tensor == self.tensor)
    }

    fn __repr__(&self) -> String {
        let (tensor, bytes) = (self.tensor.tensor_type().to_string(), self.tensor.bytes().len());
        format!("Tensor({}, {bytes} bytes)", bitquilt::text::Brief(&tensor))
    }

    /// Lends the memory of a dense tensor.
    ///
    /// # Safety
    /// `view` is a `Py_buffer` that the interpreter wants filled.
    unsafe fn __getbuffer__(slf: Bound<'_, Self>, view: *mut ffi::Py_buffer, flags: c_int) -> PyResult<()> {
        let this = slf.get();
        let (dtype, shape) = this.lent();
        match this.tensor.dtype() {
            Some(own) if own == dtype => {
                let memory = Memory { bytes: this.tensor.bytes(), dtype, shape: &shape };
                // SAFETY: as the caller promises; the object holds the tensor, whose bytes stay where they are.
                unsafe { memory.lend(slf.clone().into_any(), view, flags) }
            }
            Some(own) => Err(PyBufferError::new_err(format!(
                "the buffer protocol has no {own}; take `t.numpy()` or `t.bytes`"
            ))),
            None => Err(PyBufferError::new_err(this.encoded_error())),
        }
    }

    /// Takes back what was lent beside the memory.
    ///
    /// # Safety
    /// `view` was filled by `__getbuffer__`.
    unsafe fn __releasebuffer__(&self, view: *mut ffi::Py_buffer) {
        // SAFETY: as the caller promises.
        unsafe { buffer::release(view) }
    }
}
