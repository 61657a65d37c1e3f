//! What a file says about itself.

use bitquilt::checkpoint::metadata::{Array, Value};
use bitquilt::text::Brief;
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyFloat, PyInt, PyList, PyString, PyTuple};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::exception;

/// Values by key, with the types that they have in the file.
#[pyclass(frozen, module = "bitquilt._native")]
#[derive(Default)]
pub struct Metadata {
    entries: Mutex<bitquilt::checkpoint::Metadata>,
}

impl Metadata {
    /// Those of a file.
    pub fn of(metadata: bitquilt::checkpoint::Metadata) -> Self {
        Self { entries: Mutex::new(metadata) }
    }

    /// The entries. No Python runs while they are locked.
    pub fn lock(&self) -> MutexGuard<'_, bitquilt::checkpoint::Metadata> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[pymethods]
impl Metadata {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    fn __len__(&self) -> usize {
        self.lock().len()
    }

    fn __contains__(&self, key: &str) -> bool {
        self.lock().contains(key)
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: &str) -> PyResult<Bound<'py, PyAny>> {
        let value = self.lock().get(key).cloned();
        to_python(py, &value.ok_or_else(|| PyKeyError::new_err(key.to_owned()))?)
    }

    fn __setitem__(&self, key: String, value: &Bound<'_, PyAny>) -> PyResult<()> {
        let value = value_of(&key, value)?;
        self.lock().insert(key, value);
        Ok(())
    }

    fn __delitem__(&self, key: &str) -> PyResult<()> {
        let removed = self.lock().remove(key);
        removed.map(drop).ok_or_else(|| PyKeyError::new_err(key.to_owned()))
    }

    /// The keys, in their order.
    fn keys(&self) -> Vec<String> {
        self.lock().iter().map(|(key, _)| key.to_owned()).collect()
    }

    fn copy(&self) -> Self {
        Self::of(self.lock().clone())
    }
}

fn to_python<'py>(py: Python<'py>, value: &Value) -> PyResult<Bound<'py, PyAny>> {
    Ok(match value {
        Value::U8(value) => PyInt::new(py, *value).into_any(),
        Value::I8(value) => PyInt::new(py, *value).into_any(),
        Value::U16(value) => PyInt::new(py, *value).into_any(),
        Value::I16(value) => PyInt::new(py, *value).into_any(),
        Value::U32(value) => PyInt::new(py, *value).into_any(),
        Value::I32(value) => PyInt::new(py, *value).into_any(),
        Value::U64(value) => PyInt::new(py, *value).into_any(),
        Value::I64(value) => PyInt::new(py, *value).into_any(),
        Value::F32(value) => PyFloat::new(py, f64::from(*value)).into_any(),
        Value::F64(value) => PyFloat::new(py, *value).into_any(),
        Value::Bool(value) if *value < 2 => PyBool::new(py, *value == 1).to_owned().into_any(),
        Value::Bool(value) => PyInt::new(py, *value).into_any(),
        Value::String(text) => PyString::new(py, text).into_any(),
        Value::Bytes(bytes) => PyBytes::new(py, bytes).into_any(),
        Value::Array(array) => array_to_python(py, array)?.into_any(),
    })
}

fn array_to_python<'py>(py: Python<'py>, array: &Array) -> PyResult<Bound<'py, PyList>> {
    match array {
        Array::U8(values) => PyList::new(py, values),
        Array::I8(values) => PyList::new(py, values),
        Array::U16(values) => PyList::new(py, values),
        Array::I16(values) => PyList::new(py, values),
        Array::U32(values) => PyList::new(py, values),
        Array::I32(values) => PyList::new(py, values),
        Array::U64(values) => PyList::new(py, values),
        Array::I64(values) => PyList::new(py, values),
        Array::F32(values) => PyList::new(py, values),
        Array::F64(values) => PyList::new(py, values),
        Array::Bool(values) => PyList::new(py, values.iter().map(|value| *value != 0)),
        Array::String(texts) => PyList::new(py, texts),
        Array::Bytes(texts) => {
            PyList::new(py, texts.iter().map(|bytes| PyBytes::new(py, bytes)).collect::<Vec<_>>())
        }
        Array::Array(arrays) => PyList::new(
            py,
            arrays.iter().map(|array| array_to_python(py, array)).collect::<PyResult<Vec<_>>>()?,
        ),
    }
}

/// A value of Python. A whole number is i64, or u64 where it is larger, and a number f64; NumPy's numbers and arrays have their own types.
fn value_of(key: &str, object: &Bound<'_, PyAny>) -> PyResult<Value> {
    let wrong = || {
        let kind = object.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
        exception(
            "CheckpointError",
            format!(
                "the metadata `{}` cannot be of type `{kind}`: a bool, a number, a text, bytes, or a list of one of them was expected",
                Brief(key)
            ),
        )
    };
    if let Some(array) = numpy_value(object)? {
        return Ok(array);
    }
    if object.is_instance_of::<PyBool>() {
        return Ok(Value::Bool(u8::from(object.extract::<bool>()?)));
    }
    if object.is_instance_of::<PyInt>() {
        return object
            .extract()
            .map(Value::I64)
            .or_else(|_| object.extract().map(Value::U64))
            .map_err(|_| wrong());
    }
    if object.is_instance_of::<PyFloat>() {
        return Ok(Value::F64(object.extract()?));
    }
    if let Ok(text) = object.cast::<PyString>() {
        return Ok(Value::String(text.to_cow()?.into_owned()));
    }
    if let Ok(bytes) = object.cast::<PyBytes>() {
        return Ok(Value::Bytes(bytes.as_bytes().to_vec()));
    }
    if object.is_instance_of::<PyList>() || object.is_instance_of::<PyTuple>() {
        return list_value(object).map(Value::Array).ok_or_else(wrong);
    }
    Err(wrong())
}

fn list_value(object: &Bound<'_, PyAny>) -> Option<Array> {
    let items: Vec<Bound<'_, PyAny>> = object.extract().ok()?;
    let all = |is: &dyn Fn(&Bound<'_, PyAny>) -> bool| items.iter().all(is);
    if all(&|item| item.is_instance_of::<PyBool>()) {
        return Some(Array::Bool(
            items.iter().filter_map(|item| item.extract::<bool>().ok()).map(u8::from).collect(),
        ));
    }
    if all(&|item| item.is_instance_of::<PyInt>() && !item.is_instance_of::<PyBool>()) {
        return object.extract().ok().map(Array::I64).or_else(|| object.extract().ok().map(Array::U64));
    }
    if all(&|item| item.is_instance_of::<PyString>()) {
        return object.extract().ok().map(Array::String);
    }
    if all(&|item| item.is_instance_of::<PyFloat>() || item.is_instance_of::<PyInt>()) {
        return object.extract().ok().map(Array::F64);
    }
    None
}

/// The value of a scalar or a list-like array of NumPy's.
fn numpy_value(object: &Bound<'_, PyAny>) -> PyResult<Option<Value>> {
    if object.is_instance_of::<PyFloat>() || !object.hasattr("dtype")? || !object.hasattr("tolist")? {
        return Ok(None);
    }
    let name: String = object.getattr("dtype")?.getattr("name")?.extract()?;
    let (list, is_scalar) = (object.call_method0("tolist")?, object.getattr("shape")?.len()? == 0);
    macro_rules! typed {
        ($($name:literal => $variant:ident),*) => {
            match name.as_str() {
                $($name if is_scalar => Some(Value::$variant(list.extract()?)),
                $name => Some(Value::Array(Array::$variant(list.extract()?))),)*
                _ => None,
            }
        };
    }
    Ok(
        typed!("uint8" => U8, "int8" => I8, "uint16" => U16, "int16" => I16, "uint32" => U32, "int32" => I32, "uint64" => U64,
        "int64" => I64, "float32" => F32, "float64" => F64),
    )
}
