//! Attributes of nodes, on their way from and to Python.

use bitquilt::plugin_api::AttributeKind;
use bitquilt::text::Brief;
use bitquilt::{Attribute, Attributes, Dim};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};

use crate::error::exception;
use crate::types::dim_of;

/// An attribute of this value, as an op takes it, where that is known.
pub fn attribute_of(
    name: &str,
    value: &Bound<'_, PyAny>,
    kind: Option<AttributeKind>,
) -> PyResult<Attribute> {
    let wrong = || {
        let shown = value.repr().map_or_else(|_| "this value".to_owned(), |repr| repr.to_string());
        exception(
            "GraphError",
            format!(
                "the attribute `{}` cannot be {}: a number, a text, a bool, or a list of them was expected",
                Brief(name),
                Brief(&shown)
            ),
        )
    };
    if value.is_instance_of::<PyBool>() {
        return Ok(Attribute::Bool(value.extract()?));
    }
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(Attribute::Text(text.to_cow()?.into_owned()));
    }
    if let Ok(list) = list_of(value) {
        return list_attribute(&list, kind).ok_or_else(wrong)?;
    }
    // Numbers of NumPy are taken by what they convert to.
    if value.is_instance_of::<PyFloat>() {
        return Ok(Attribute::Float(value.extract()?));
    }
    if value.is_instance_of::<PyInt>() || value.hasattr("__index__")? {
        return value.extract().map(Attribute::Int).map_err(|_| wrong());
    }
    value.extract().map(Attribute::Float).map_err(|_| wrong())
}

fn list_of<'py>(value: &Bound<'py, PyAny>) -> PyResult<Vec<Bound<'py, PyAny>>> {
    if let Ok(list) = value.cast::<PyList>() {
        return Ok(list.iter().collect());
    }
    Ok(value.cast::<PyTuple>()?.iter().collect())
}

/// An attribute of a list; none if its values are of no kind.
fn list_attribute(list: &[Bound<'_, PyAny>], kind: Option<AttributeKind>) -> Option<PyResult<Attribute>> {
    let is_text = |value: &Bound<'_, PyAny>| value.is_instance_of::<PyString>();
    let is_shape =
        kind == Some(AttributeKind::Shape) || list.iter().any(is_text) && !list.iter().all(is_text);
    if is_shape {
        return Some(list.iter().map(dim_of).collect::<PyResult<Vec<Dim>>>().map(Attribute::Shape));
    }
    if !list.is_empty() && list.iter().all(is_text) {
        return Some(list.iter().map(|text| text.extract()).collect::<PyResult<_>>().map(Attribute::Texts));
    }
    if let Ok(ints) = list.iter().map(|value| value.extract::<i64>()).collect::<PyResult<Vec<_>>>() {
        return Some(Ok(Attribute::Ints(ints)));
    }
    list.iter()
        .map(|value| value.extract::<f64>())
        .collect::<PyResult<Vec<_>>>()
        .ok()
        .map(|floats| Ok(Attribute::Floats(floats)))
}

/// The attributes as keyword arguments.
pub fn to_python<'py>(py: Python<'py>, attributes: &Attributes) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, value) in attributes.iter() {
        match value {
            Attribute::Int(value) => dict.set_item(name, value)?,
            Attribute::Float(value) => dict.set_item(name, value)?,
            Attribute::Bool(value) => dict.set_item(name, value)?,
            Attribute::Text(value) => dict.set_item(name, value)?,
            Attribute::Ints(values) => dict.set_item(name, PyTuple::new(py, values)?)?,
            Attribute::Floats(values) => dict.set_item(name, PyTuple::new(py, values)?)?,
            Attribute::Texts(values) => dict.set_item(name, PyTuple::new(py, values)?)?,
            Attribute::Shape(dims) => {
                let dims = dims.iter().map(|dim| match dim {
                    Dim::Fixed(value) => PyInt::new(py, *value).into_any(),
                    Dim::Symbolic(_) => PyString::new(py, &dim.to_string()).into_any(),
                });
                dict.set_item(name, PyTuple::new(py, dims.collect::<Vec<_>>())?)?;
            }
            // Kinds of later versions.
            _ => dict.set_item(name, value.to_string())?,
        }
    }
    Ok(dict)
}
