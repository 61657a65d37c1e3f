//! Encodings that are written in Python.

use bitquilt::plugin_api::{Error, Result, Rows};
use bitquilt::text::Brief;
use bitquilt::{DType, EncodingSpec, Importance};
use pyo3::prelude::*;

use super::{part, raised};
use crate::array::Array;
use crate::error::exception;
use crate::numpy;

/// An object with `name`, `block_len`, `block_bytes`, `quantize(rows, importance)` and `dequantize(blocks)`.
pub struct PythonEncoding {
    object: Py<PyAny>,
    spec: EncodingSpec,
}

impl PythonEncoding {
    /// Reads what the encoding is.
    pub fn of(object: &Bound<'_, PyAny>) -> PyResult<Self> {
        let name: String = part(object, "name", "a text")?;
        let block_len = part(object, "block_len", "a number of values")?;
        let block_bytes = part(object, "block_bytes", "a number of bytes")?;
        let mut spec = EncodingSpec::new(name, block_len, block_bytes);
        if object.hasattr("version")? {
            spec = spec.version(part(object, "version", "a number")?);
        }
        if object.hasattr("summary")? {
            spec = spec.summary(part::<String>(object, "summary", "a line of text")?);
        }
        if object.hasattr("importance")? {
            spec = spec.importance(importance(&part::<String>(
                object,
                "importance",
                "\"ignored\", \"optional\" or \"required\"",
            )?)?);
        }
        Ok(Self { object: object.clone().unbind(), spec })
    }

    /// What one of its functions answers, copied to `dst`.
    fn answer<'py>(
        &self,
        py: Python<'py>,
        function: &str,
        dtype: DType,
        dst: &mut [u8],
        call: impl FnOnce(&Bound<'py, PyAny>) -> PyResult<Bound<'py, PyAny>>,
    ) -> PyResult<()> {
        let what = format!("what `{function}` of `{}` answers", Brief(&self.spec.name));
        let answer = call(self.object.bind(py))?;
        let array = Array::of(&what, &answer)?;
        if array.dtype() != dtype || array.as_ref().len() != dst.len() {
            let count = dst.len() / dtype.size().unwrap_or(1);
            let found = format!("{} {:?}", array.dtype(), array.shape());
            return Err(exception(
                "QuantizeError",
                format!("{what} is {found}; {count} values of {dtype} were expected"),
            ));
        }
        dst.copy_from_slice(array.as_ref());
        Ok(())
    }
}

fn importance(name: &str) -> PyResult<Importance> {
    match name {
        "ignored" => Ok(Importance::Ignored),
        "optional" => Ok(Importance::Optional),
        "required" => Ok(Importance::Required),
        other => Err(exception(
            "SessionError",
            format!(
                "`importance` is `{}`; \"ignored\", \"optional\" or \"required\" was expected",
                Brief(other)
            ),
        )),
    }
}

/// Calls Python, unless the interpreter is gone.
pub fn attached<T>(call: impl FnOnce(Python<'_>) -> PyResult<T>) -> Result<T> {
    Python::try_attach(|py| call(py).map_err(|error| raised::note(py, error)))
        .unwrap_or_else(|| Err(Error::failed("the Python interpreter has ended")))
}

impl bitquilt::plugin_api::QuantizationEncoding for PythonEncoding {
    fn spec(&self) -> EncodingSpec {
        self.spec.clone()
    }

    fn quantize(&self, rows: Rows<'_>, importance: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        let shape = [rows.iter().len(), rows.row_len()];
        attached(|py| {
            self.answer(py, "quantize", DType::U8, dst, |object| {
                let rows = numpy::copied_values(py, &shape, rows.values())?;
                let importance = importance
                    .map(|weights| numpy::copied_values(py, &[weights.len()], weights))
                    .transpose()?;
                object.call_method1("quantize", (rows, importance))
            })
        })
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        let shape = [blocks.len() / self.spec.block_bytes.max(1), self.spec.block_bytes];
        attached(|py| {
            self.answer(py, "dequantize", DType::F32, bytemuck::cast_slice_mut(dst), |object| {
                object.call_method1("dequantize", (numpy::copied(py, DType::U8, &shape, blocks)?,))
            })
        })
    }
}
