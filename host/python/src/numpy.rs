//! NumPy's side: dtypes, and arrays that are made for Python.

use bitquilt::plugin_api::ElementView;
use bitquilt::{DType, TensorView};
use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::PyTuple;

use crate::error::tensor_error;

/// NumPy's name of each dtype that it has itself.
const OWN: [(DType, &str); 12] = [
    (DType::F32, "float32"),
    (DType::F64, "float64"),
    (DType::F16, "float16"),
    (DType::I8, "int8"),
    (DType::I16, "int16"),
    (DType::I32, "int32"),
    (DType::I64, "int64"),
    (DType::U8, "uint8"),
    (DType::U16, "uint16"),
    (DType::U32, "uint32"),
    (DType::U64, "uint64"),
    (DType::BOOL, "bool"),
];

/// Dtypes that `ml_dtypes` adds: its name, and NumPy's dtype of the same size.
const ADDED: [(DType, &str, DType); 3] = [
    (DType::BF16, "bfloat16", DType::U16),
    (DType::F8_E4M3, "float8_e4m3fn", DType::U8),
    (DType::F8_E5M2, "float8_e5m2", DType::U8),
];

/// What is used of NumPy again and again.
struct Numpy {
    empty: Py<PyAny>,
    dtypes: Vec<(DType, Py<PyAny>)>,
}

impl Numpy {
    fn get(py: Python<'_>) -> PyResult<&Self> {
        static NUMPY: PyOnceLock<Numpy> = PyOnceLock::new();
        NUMPY.get_or_try_init(py, || {
            let module = py.import("numpy")?;
            let dtype = |(dtype, name): &(DType, &str)| {
                Ok((*dtype, module.call_method1("dtype", (*name,))?.unbind()))
            };
            Ok(Self {
                empty: module.getattr("empty")?.unbind(),
                dtypes: OWN.iter().map(dtype).collect::<PyResult<_>>()?,
            })
        })
    }
}

/// NumPy's dtype of the same size as one that NumPy has not itself.
pub fn bits_of(dtype: DType) -> Option<DType> {
    ADDED.iter().find(|(added, ..)| *added == dtype).map(|(.., bits)| *bits)
}

/// The dtype of an array of a dtype that `ml_dtypes` adds.
pub fn added(name: &str) -> Option<DType> {
    ADDED.iter().find(|(_, known, _)| *known == name).map(|(dtype, ..)| *dtype)
}

/// `numpy.dtype` of a dtype; for bf16 and the small floats that of `ml_dtypes`.
pub fn dtype<'py>(py: Python<'py>, dtype: DType) -> PyResult<Bound<'py, PyAny>> {
    if let Some((_, own)) = Numpy::get(py)?.dtypes.iter().find(|(own, _)| *own == dtype) {
        return Ok(own.bind(py).clone());
    }
    let Some((_, name, _)) = ADDED.iter().find(|(added, ..)| *added == dtype) else {
        return Err(tensor_error(format!("NumPy has no dtype for {dtype}")));
    };
    let module = py.import("ml_dtypes").map_err(|_| {
        tensor_error(format!(
            "NumPy has no {dtype} of its own: install `ml_dtypes`, which adds it, or take the bytes (`t.bytes`) or f32 values (`bq.dequantize(t)`)"
        ))
    })?;
    py.import("numpy")?.call_method1("dtype", (module.getattr(*name)?,))
}

/// An array of a dtype of NumPy's own, whose values are anything.
fn empty<'py>(py: Python<'py>, dtype: DType, shape: &[usize]) -> PyResult<Bound<'py, PyAny>> {
    let numpy = Numpy::get(py)?;
    let own = numpy.dtypes.iter().find(|(own, _)| *own == dtype);
    let own = own.ok_or_else(|| tensor_error(format!("NumPy has no dtype for {dtype}")))?;
    numpy.empty.bind(py).call1((PyTuple::new(py, shape)?, own.1.bind(py)))
}

/// A new array, whose bytes `fill` writes, all of them. It is told them before anybody else has the array.
pub fn filled<'py>(
    py: Python<'py>,
    dtype: DType,
    shape: &[usize],
    fill: impl FnOnce(&mut [u8]) -> PyResult<()>,
) -> PyResult<Bound<'py, PyAny>> {
    let bits = bits_of(dtype);
    // One of rank 0 has no buffer.
    let own = if shape.is_empty() { &[1] } else { shape };
    let array = empty(py, bits.unwrap_or(dtype), own)?;
    let buffer = PyUntypedBuffer::get(&array)?;
    let len = buffer.len_bytes();
    if len > 0 {
        // SAFETY: the array was made here, contiguous and writable, of `len` bytes which nobody else knows of, and lives through the
        // call. Its memory may be uninitialized for the allocator, but was handed out by it: any byte is a value of u8.
        fill(unsafe { std::slice::from_raw_parts_mut(buffer.buf_ptr().cast::<u8>(), len) })?;
    } else {
        fill(&mut [])?;
    }
    drop(buffer);
    let array = match bits {
        None => array,
        Some(_) => array.call_method1("view", (self::dtype(py, dtype)?,))?,
    };
    if shape.is_empty() { array.call_method1("reshape", (PyTuple::empty(py),)) } else { Ok(array) }
}

/// A copy of these bytes as an array.
pub fn copied<'py>(
    py: Python<'py>,
    dtype: DType,
    shape: &[usize],
    bytes: &[u8],
) -> PyResult<Bound<'py, PyAny>> {
    filled(py, dtype, shape, |memory| {
        if memory.len() != bytes.len() {
            return Err(tensor_error(format!(
                "{} bytes were expected of {dtype}, there are {}",
                memory.len(),
                bytes.len()
            )));
        }
        memory.copy_from_slice(bytes);
        Ok(())
    })
}

/// A copy of these values as an array.
pub fn copied_values<'py>(py: Python<'py>, shape: &[usize], values: &[f32]) -> PyResult<Bound<'py, PyAny>> {
    copied(py, DType::F32, shape, bytemuck::cast_slice(values))
}

/// A copy of a dense view; none of an encoded one.
pub fn of_view<'py>(py: Python<'py>, view: &TensorView<'_>) -> PyResult<Option<Bound<'py, PyAny>>> {
    match view.element() {
        ElementView::Dense(dtype) => copied(py, dtype, view.shape(), view.bytes()).map(Some),
        ElementView::Encoded(_) => Ok(None),
    }
}
