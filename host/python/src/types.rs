//! Types of tensors, on their way from and to Python.

use bitquilt::{DType, Dim, Element, TensorType};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyInt, PyString, PyTuple};

use crate::error::exception;

/// A dimension: a number, a symbol, or an expression such as `past + seq`. -1 is the rest of a shape.
pub fn dim_of(value: &Bound<'_, PyAny>) -> PyResult<Dim> {
    let wrong = || {
        let shown = value.repr().map_or_else(|_| "this".to_owned(), |repr| repr.to_string());
        exception(
            "GraphError",
            format!(
                "{} is no dimension; a number from 0 or a symbol was expected",
                bitquilt::text::Brief(&shown)
            ),
        )
    };
    if let Ok(text) = value.cast::<PyString>() {
        return text
            .to_cow()?
            .parse()
            .map_err(|error: bitquilt::plugin_api::Error| exception("GraphError", error.message()));
    }
    if value.is_instance_of::<PyBool>() {
        return Err(wrong());
    }
    match value.extract::<i64>().map_err(|_| wrong())? {
        -1 => Ok(Dim::from("_")),
        number => usize::try_from(number).map(Dim::Fixed).map_err(|_| wrong()),
    }
}

/// A `bitquilt.TensorType`.
pub fn type_of(object: &Bound<'_, PyAny>) -> PyResult<TensorType> {
    let part = |name: &str| {
        object.getattr(name).map_err(|_| {
            let kind = object.get_type().name().map_or_else(|_| "?".to_owned(), |name| name.to_string());
            exception("GraphError", format!("a `TensorType` was expected, `{kind}` was given"))
        })
    };
    let (name, encoded) = (part("element")?.extract::<String>()?, part("encoded")?.extract::<bool>()?);
    let element = match DType::from_name(&name) {
        Some(dtype) if !encoded => Element::Dense(dtype),
        _ => Element::Encoded(name),
    };
    let shape = part("shape")?.try_iter()?.map(|dim| dim_of(&dim?)).collect::<PyResult<_>>()?;
    Ok(TensorType { element, shape })
}

/// A type as `bitquilt.TensorType`.
pub fn to_python<'py>(py: Python<'py>, tensor: &TensorType) -> PyResult<Bound<'py, PyAny>> {
    let class = py.import("bitquilt._types")?.getattr("TensorType")?;
    let dim = |dim: &Dim| match dim {
        Dim::Fixed(value) => Ok(PyInt::new(py, *value).into_any()),
        Dim::Symbolic(_) => Ok(PyString::new(py, &dim.to_string()).into_any()),
    };
    let shape = tensor.shape.iter().map(dim).collect::<PyResult<Vec<_>>>()?;
    class.call1((tensor.element.to_string(), PyTuple::new(py, shape)?, tensor.encoding().is_some()))
}
