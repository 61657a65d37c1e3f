//! Encodings that are declared as data.

use std::path::PathBuf;

use bitquilt::declared::{self, CodeDType, ScaleDType};
use bitquilt::file;
use bitquilt::text::Brief;
use pyo3::prelude::*;

use crate::error::{OrRaise, exception};

/// A declared encoding: where codes and scales lie in a block, and what they mean.
#[pyclass(frozen, module = "bitquilt._native")]
pub struct Declaration {
    pub declaration: declared::Declaration,
}

/// The dtype of a scale or minimum.
fn scale_dtype(key: &str, name: &str) -> PyResult<ScaleDType> {
    ScaleDType::from_name(name).ok_or_else(|| {
        let sentence = format!(
            "`{key}`: there is no dtype `{}` for it; there are f32, f16, bf16, f8_e4m3 and e8m0",
            Brief(name)
        );
        exception("DeclarationError", sentence)
    })
}

/// What the codes of a block are.
#[derive(FromPyObject)]
pub enum Codes {
    /// Whole numbers of so many bits, or places in a table.
    Bits(u32),
    /// Small floats.
    Float(String),
}

#[pymethods]
impl Declaration {
    /// Scales come first in a block, then minima, then the codes in one little-endian stream of bits.
    #[new]
    #[pyo3(signature = (name, block_len, bits, *, values, offset, signed, scale, min, groups, unused, summary, version))]
    #[expect(clippy::too_many_arguments, reason = "the arguments of Python, each by its name")]
    fn new(
        name: &str,
        block_len: usize,
        bits: Codes,
        values: Option<Vec<f32>>,
        offset: Option<u32>,
        signed: bool,
        scale: &str,
        min: Option<&str>,
        groups: usize,
        unused: Option<f32>,
        summary: Option<&str>,
        version: u32,
    ) -> PyResult<Self> {
        let scale = scale_dtype("scale", scale)?;
        let min = min.map(|name| scale_dtype("min", name)).transpose()?;
        let floats = match &bits {
            Codes::Bits(_) => None,
            Codes::Float(name) => Some(CodeDType::from_name(name).ok_or_else(|| {
                let sentence = format!("`bits`: there is no float `{}` for codes; give a number of bits, f4_e2m1, f6_e2m3, f6_e3m2, f8_e4m3 or f8_e5m2", Brief(name));
                exception("DeclarationError", sentence)
            })?),
        };
        let width = match bits {
            Codes::Bits(bits) => bits,
            Codes::Float(_) => floats.map_or(0, CodeDType::bits),
        };
        let min_at = scale.size().saturating_mul(groups);
        let codes_at = min_at.saturating_add(min.map_or(0, |dtype| dtype.size().saturating_mul(groups)));
        let code_bytes = block_len.saturating_mul(width as usize).div_ceil(8);
        let mut builder =
            declared::Declaration::builder(name, block_len, codes_at.saturating_add(code_bytes));
        builder = builder.version(version).scale(0, scale);
        builder = match floats {
            Some(dtype) => builder.float_codes(codes_at, dtype),
            None => builder.codes(codes_at, width),
        };
        if groups != 1 {
            builder = builder.groups(groups);
        }
        if let Some(dtype) = min {
            builder = builder.min(min_at, dtype);
        }
        if let Some(values) = values {
            builder = builder.values(values);
        }
        if let Some(offset) = offset {
            builder = builder.offset(offset);
        }
        if signed {
            builder = builder.signed();
        }
        if let Some(value) = unused {
            builder = builder.unused(value);
        }
        if let Some(summary) = summary {
            builder = builder.summary(summary);
        }
        Ok(Self { declaration: builder.build().or_raise()? })
    }

    /// That of a text, as a file `NAME.encoding.toml` has it.
    #[staticmethod]
    fn parse(text: &str) -> PyResult<Self> {
        Ok(Self { declaration: declared::Declaration::parse(text).or_raise()? })
    }

    #[getter]
    fn name(&self) -> &str {
        self.declaration.name()
    }

    #[getter]
    fn version(&self) -> u32 {
        self.declaration.version()
    }

    #[getter]
    fn block_len(&self) -> usize {
        self.declaration.block_len()
    }

    #[getter]
    fn block_bytes(&self) -> usize {
        self.declaration.block_bytes()
    }

    /// The text of it.
    fn to_text(&self) -> String {
        self.declaration.to_text()
    }

    /// Its size, a picture of a block, and the formula of a value.
    fn describe(&self) -> String {
        self.declaration.describe().to_string()
    }

    /// Writes it into a file, whose name has to end in `.encoding.toml` for a plugin directory.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let text = self.declaration.to_text();
        py.detach(|| file::replace(path, |file| file.write_all(text.as_bytes()))).or_raise()
    }

    fn __repr__(&self) -> String {
        let (len, bytes) = (self.declaration.block_len(), self.declaration.block_bytes());
        format!("Declaration({}, {len} values in {bytes} bytes)", self.declaration.name())
    }
}
