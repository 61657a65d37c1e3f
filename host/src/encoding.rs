//! Quantizing and decoding tensors.

use std::sync::Arc;

use bitquilt_plugin_api::{DType, Element, Importance, Rows, Scalar, ShapeDisplay};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::memory::AlignedBytes;
use crate::plugin::{RegisteredEncoding, Registry, UnknownEncoding};
use crate::tensor::{Tensor, TensorError, dense_bytes, encoded_bytes};

/// Values a thread takes at a time, at least: less is not worth handing over.
const CHUNK_VALUES: usize = 1 << 16;

/// Why a tensor was not quantized or decoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The values are not f32.
    #[error("only f32 tensors are quantized, this one is {found}; cast it first")]
    NotF32 {
        /// What the tensor holds.
        found: Element,
    },
    /// A value is NaN or infinite.
    #[error("the value at row {row}, column {column} is {value}; `{encoding}` encodes finite values only")]
    NotFinite {
        /// The encoding's name.
        encoding: String,
        /// Index of the row, over all outer dimensions.
        row: usize,
        /// Index in the row.
        column: usize,
        /// The value.
        value: f32,
    },
    /// The encoding does nothing without importance.
    #[error("`{encoding}` needs an importance vector: one weight for each of the {columns} columns")]
    ImportanceMissing {
        /// The encoding's name.
        encoding: String,
        /// Values in a row.
        columns: usize,
    },
    /// The importance vector is of another length, or has values that are no weights.
    #[error(
        "the importance vector {problem}; `{encoding}` wants {columns} finite weights that are not negative"
    )]
    Importance {
        /// The encoding's name.
        encoding: String,
        /// Values in a row.
        columns: usize,
        /// What is wrong with it.
        problem: String,
    },
    /// The tensor is not encoded as this encoding.
    #[error("the tensor holds {found}, not blocks of `{encoding}`")]
    OtherEncoding {
        /// The encoding's name.
        encoding: String,
        /// What the tensor holds.
        found: Element,
    },
    /// The tensor's blocks are of another version or layout of the encoding.
    #[error(
        "the tensor's blocks are of `{encoding}` version {found}, the one registered is version {expected}, or of another block layout"
    )]
    OtherVersion {
        /// The encoding's name.
        encoding: String,
        /// The tensor's version.
        found: u32,
        /// The registered version.
        expected: u32,
    },
    /// The tensor is of a dtype that holds no weights.
    #[error("the tensor holds {found} values; f32, f16, bf16 and encoded tensors can be taken as f32")]
    NotFloat {
        /// What the tensor holds.
        found: Element,
    },
    /// No such encoding.
    #[error(transparent)]
    UnknownEncoding(#[from] UnknownEncoding),
    /// The shape cannot be encoded.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The encoding itself failed.
    #[error("`{encoding}` failed on a tensor of shape {}: {source}", ShapeDisplay(.shape))]
    Encoding {
        /// The encoding's name.
        encoding: String,
        /// The logical shape.
        shape: Vec<usize>,
        /// What it said.
        source: bitquilt_plugin_api::Error,
    },
}

impl Registry {
    /// A weight's values as f32, whether it is f32, f16, bf16 or encoded.
    pub fn to_f32(&self, tensor: &Tensor) -> Result<Tensor, QuantizeError> {
        match tensor.element() {
            Element::Encoded(name) => self.require_encoding(&name)?.dequantize(tensor),
            Element::Dense(DType::F32) => Ok(tensor.clone()),
            Element::Dense(DType::F16) => widen::<f16>(tensor),
            Element::Dense(DType::BF16) => widen::<bf16>(tensor),
            found @ Element::Dense(_) => Err(QuantizeError::NotFloat { found }),
        }
    }
}

fn widen<T: Scalar + Into<f32>>(tensor: &Tensor) -> Result<Tensor, QuantizeError> {
    let mut data = AlignedBytes::zeroed(dense_bytes(DType::F32, tensor.shape())?);
    let values: &mut [f32] = bytemuck::cast_slice_mut(&mut data);
    values
        .par_chunks_mut(CHUNK_VALUES)
        .zip(tensor.values::<T>()?.par_chunks(CHUNK_VALUES))
        .for_each(|(dst, src)| dst.iter_mut().zip(src).for_each(|(dst, src)| *dst = (*src).into()));
    Ok(Tensor::from_memory(DType::F32, tensor.shape().to_vec(), data)?)
}

impl RegisteredEncoding {
    /// Encodes an f32 tensor of rank 1 or more, row by row, on all cores.
    ///
    /// The answer has the same logical shape; its bytes are `u8 [.., bytes a row]`, and its type remembers the encoding. An error
    /// says that the rows are no whole number of blocks, which value is not finite, or that the encoding demands importance.
    pub fn quantize(&self, tensor: &Tensor) -> Result<Tensor, QuantizeError> {
        self.encode(tensor, None)
    }

    /// As [`Self::quantize`], with a weight for each column that says how much its errors cost.
    pub fn quantize_with_importance(
        &self,
        tensor: &Tensor,
        importance: &[f32],
    ) -> Result<Tensor, QuantizeError> {
        self.encode(tensor, Some(importance))
    }

    fn encode(&self, tensor: &Tensor, importance: Option<&[f32]>) -> Result<Tensor, QuantizeError> {
        let spec = self.spec();
        let not_f32 = |_| QuantizeError::NotF32 { found: tensor.element() };
        let values = tensor.values::<f32>().map_err(not_f32)?;
        let mut data = AlignedBytes::zeroed(encoded_bytes(spec, tensor.shape())?);
        let row_len = tensor.shape().last().copied().unwrap_or(1);
        self.check_importance(row_len, importance)?;
        if let Some(index) = values.par_iter().position_first(|value| !value.is_finite()) {
            let (row, column, value) = (index / row_len, index % row_len, values[index]);
            return Err(QuantizeError::NotFinite { encoding: spec.name.clone(), row, column, value });
        }
        if !values.is_empty() {
            let row_bytes = row_len / spec.block_len * spec.block_bytes;
            let rows_a_chunk = CHUNK_VALUES.div_ceil(row_len);
            let chunks = values.par_chunks(rows_a_chunk * row_len);
            chunks
                .zip(data.par_chunks_mut(rows_a_chunk * row_bytes))
                .try_for_each(|(values, dst)| {
                    self.handle.encoding().quantize(Rows::new(values, row_len)?, importance, dst)
                })
                .map_err(|source| self.failed(tensor, source))?;
        }
        Ok(Tensor::from_encoded_memory(Arc::new(spec.clone()), tensor.shape().to_vec(), data)?)
    }

    fn check_importance(&self, columns: usize, importance: Option<&[f32]>) -> Result<(), QuantizeError> {
        let (encoding, wanted) = (self.spec().name.clone(), self.spec().importance);
        let Some(weights) = importance else {
            return match wanted {
                Importance::Required => Err(QuantizeError::ImportanceMissing { encoding, columns }),
                _ => Ok(()),
            };
        };
        let bad = weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0);
        let problem = match bad {
            _ if weights.len() != columns => format!("has {} weights", weights.len()),
            Some(index) => format!("has {} at column {index}", weights[index]),
            None => return Ok(()),
        };
        Err(QuantizeError::Importance { encoding, columns, problem })
    }

    /// Decodes a tensor of this encoding into f32, on all cores.
    pub fn dequantize(&self, tensor: &Tensor) -> Result<Tensor, QuantizeError> {
        self.check_same(tensor)?;
        let spec = self.spec();
        let mut data = AlignedBytes::zeroed(dense_bytes(DType::F32, tensor.shape())?);
        let blocks_a_chunk = CHUNK_VALUES.div_ceil(spec.block_len);
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut data);
        values
            .par_chunks_mut(blocks_a_chunk * spec.block_len)
            .zip(tensor.bytes().par_chunks(blocks_a_chunk * spec.block_bytes))
            .try_for_each(|(dst, blocks)| self.handle.encoding().dequantize(blocks, dst))
            .map_err(|source| self.failed(tensor, source))?;
        Ok(Tensor::from_memory(DType::F32, tensor.shape().to_vec(), data)?)
    }

    /// Whether a tensor's blocks are what this encoding reads and writes.
    pub(crate) fn check_same(&self, tensor: &Tensor) -> Result<(), QuantizeError> {
        let (spec, encoding) = (self.spec(), self.spec().name.clone());
        match tensor.encoding() {
            Some(found) if found.name != spec.name => {
                Err(QuantizeError::OtherEncoding { encoding, found: tensor.element() })
            }
            None => Err(QuantizeError::OtherEncoding { encoding, found: tensor.element() }),
            Some(found) => {
                let layout = |spec: &bitquilt_plugin_api::EncodingSpec| {
                    (spec.version, spec.block_len, spec.block_bytes)
                };
                if layout(found) == layout(spec) {
                    return Ok(());
                }
                Err(QuantizeError::OtherVersion { encoding, found: found.version, expected: spec.version })
            }
        }
    }

    fn failed(&self, tensor: &Tensor, source: bitquilt_plugin_api::Error) -> QuantizeError {
        QuantizeError::Encoding { encoding: self.spec().name.clone(), shape: tensor.shape().to_vec(), source }
    }
}
