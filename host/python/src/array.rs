//! Arrays of NumPy and of others, read where they lie.

use std::ffi::CStr;

use bitquilt::DType;
use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;

use crate::error::tensor_error;
use crate::numpy;

/// A contiguous array that Python owns, held for as long as this is.
///
/// Its bytes are not copied. Who changes them meanwhile gets values of before and after, and nothing worse: integers and booleans, which
/// index memory, are [copied](Self::is_index) before they are used.
pub struct Array {
    buffer: PyUntypedBuffer,
    dtype: DType,
    /// Whether it is of rank 0, and the buffer that of the same value in rank 1.
    is_scalar: bool,
}

impl Array {
    /// An array of NumPy, or anything that exports its memory by the buffer protocol or DLPack. `what` begins the sentence of an error.
    pub fn of(what: &str, object: &Bound<'_, PyAny>) -> PyResult<Self> {
        match buffer_of(object) {
            Ok(buffer) => Self::of_buffer(what, buffer, None),
            Err(error) => Self::of_others(what, object, error),
        }
    }

    /// What has no buffer: arrays of dtypes that NumPy does not know itself, and those of other libraries.
    fn of_others(what: &str, object: &Bound<'_, PyAny>, error: PyErr) -> PyResult<Self> {
        let py = object.py();
        let name = object.getattr("dtype").and_then(|dtype| dtype.getattr("name")?.extract::<String>());
        if let Some(dtype) = name.as_ref().ok().and_then(|name| numpy::added(name)) {
            let bits = numpy::dtype(py, numpy::bits_of(dtype).unwrap_or(DType::U8))?;
            return Self::of_buffer(what, buffer_of(&object.call_method1("view", (bits,))?)?, Some(dtype));
        }
        if object.hasattr("__dlpack__")? && !object.hasattr("__array_interface__")? {
            let array = py.import("numpy")?.call_method1("from_dlpack", (object,)).map_err(|error| {
                tensor_error(format!("{what}: NumPy does not take it by DLPack: {}", error.value(py)))
            })?;
            return Self::of_buffer(what, buffer_of(&array)?, None);
        }
        let kind = object.get_type().name()?.to_string();
        Err(tensor_error(match name {
            Ok(name) => format!(
                "{what} has dtype {name}, whose memory NumPy does not lend ({}); convert it to float32, for example",
                error.value(py)
            ),
            Err(_) => format!(
                "{what} is of type `{kind}`; an array was expected: of NumPy, or one that exports the buffer protocol or DLPack"
            ),
        }))
    }

    fn of_buffer(
        what: &str,
        (buffer, is_scalar): (PyUntypedBuffer, bool),
        dtype: Option<DType>,
    ) -> PyResult<Self> {
        let found = dtype_of(buffer.format(), buffer.item_size())
            .map_err(|problem| tensor_error(format!("{what} {problem}")))?;
        if !buffer.is_c_contiguous() {
            return Err(tensor_error(format!(
                "{what} is not contiguous in C order: its strides are {:?} for the shape {:?}; give `numpy.ascontiguousarray` of it",
                buffer.strides(),
                buffer.shape()
            )));
        }
        Ok(Self { buffer, dtype: dtype.unwrap_or(found), is_scalar })
    }

    /// The dtype.
    pub fn dtype(&self) -> DType {
        self.dtype
    }

    /// The shape.
    pub fn shape(&self) -> &[usize] {
        if self.is_scalar { &[] } else { self.buffer.shape() }
    }

    /// Whether nobody may write to it by this object.
    pub fn is_readonly(&self) -> bool {
        self.buffer.readonly()
    }

    /// Whether its values are integers or booleans: what they say must not change between a check and its use.
    pub fn is_index(&self) -> bool {
        !matches!(
            self.dtype,
            DType::F32 | DType::F64 | DType::F16 | DType::BF16 | DType::F8_E4M3 | DType::F8_E5M2
        )
    }

    /// Whether the values can be read where they lie.
    pub fn is_aligned(&self) -> bool {
        self.as_ref().as_ptr().addr().is_multiple_of(self.dtype.size().unwrap_or(1))
    }
}

impl AsRef<[u8]> for Array {
    fn as_ref(&self) -> &[u8] {
        let len = self.buffer.len_bytes();
        if len == 0 {
            return &[];
        }
        // SAFETY: the buffer is held, contiguous, and of `len` bytes; any byte is a value of u8. A thread of the interpreter that writes
        // to it meanwhile is the caller's matter, which the package's documentation says; see the type's own.
        unsafe { std::slice::from_raw_parts(self.buffer.buf_ptr().cast::<u8>(), len) }
    }
}

/// The buffer of an object, and whether it is of rank 0, which has none: then that of the same memory in rank 1.
fn buffer_of(object: &Bound<'_, PyAny>) -> PyResult<(PyUntypedBuffer, bool)> {
    match PyUntypedBuffer::get(object) {
        Ok(buffer) => Ok((buffer, false)),
        Err(error) => {
            let is_scalar =
                object.getattr("shape").is_ok_and(|shape| shape.len().is_ok_and(|rank| rank == 0));
            if !is_scalar || !object.hasattr("reshape")? {
                return Err(error);
            }
            Ok((PyUntypedBuffer::get(&object.call_method1("reshape", (1,))?)?, true))
        }
    }
}

/// The dtype of a format of the buffer protocol, or what is wrong with it.
fn dtype_of(format: &CStr, size: usize) -> Result<DType, String> {
    let text = format.to_bytes();
    let (is_big, kind) = match text {
        [b'@' | b'=' | b'<' | b'^', kind @ ..] => (false, kind),
        [b'>' | b'!', kind @ ..] => (true, kind),
        kind => (false, kind),
    };
    let dtype = match (kind, size) {
        (b"f", 4) => DType::F32,
        (b"d", 8) => DType::F64,
        (b"e", 2) => DType::F16,
        (b"b" | b"h" | b"i" | b"l" | b"q" | b"n", 1) => DType::I8,
        (b"b" | b"h" | b"i" | b"l" | b"q" | b"n", 2) => DType::I16,
        (b"b" | b"h" | b"i" | b"l" | b"q" | b"n", 4) => DType::I32,
        (b"b" | b"h" | b"i" | b"l" | b"q" | b"n", 8) => DType::I64,
        (b"B" | b"H" | b"I" | b"L" | b"Q" | b"N", 1) => DType::U8,
        (b"B" | b"H" | b"I" | b"L" | b"Q" | b"N", 2) => DType::U16,
        (b"B" | b"H" | b"I" | b"L" | b"Q" | b"N", 4) => DType::U32,
        (b"B" | b"H" | b"I" | b"L" | b"Q" | b"N", 8) => DType::U64,
        (b"?", 1) => DType::BOOL,
        _ => {
            let format = String::from_utf8_lossy(text);
            return Err(format!(
                "has values of the format `{}`, for which there is no dtype; convert it to float32, for example",
                bitquilt::text::Brief(&format)
            ));
        }
    };
    if is_big && size > 1 {
        return Err(format!(
            "has {dtype} values in big-endian order; convert it: `a.astype(a.dtype.newbyteorder('='))`"
        ));
    }
    Ok(dtype)
}
