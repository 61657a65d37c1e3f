//! Quantizing and decoding tensors.

use std::ops::Range;
use std::sync::Arc;

use bitquilt_plugin_api::host::in_default_control;
use bitquilt_plugin_api::{DType, Element, Importance, Rows, Scalar, ShapeDisplay};
use half::slice::HalfFloatSliceExt;
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
    /// The values are no floats of these kinds.
    #[error("only f32, f16 and bf16 tensors are quantized, this one is {found}")]
    NotDense {
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

fn widen<T: Wide>(tensor: &Tensor) -> Result<Tensor, QuantizeError> {
    let mut data = AlignedBytes::zeroed(dense_bytes(DType::F32, tensor.shape())?);
    let values: &mut [f32] = bytemuck::cast_slice_mut(&mut data);
    values
        .par_chunks_mut(CHUNK_VALUES)
        .zip(tensor.values::<T>()?.par_chunks(CHUNK_VALUES))
        .for_each(|(dst, src)| T::widen(src, dst));
    Ok(Tensor::from_memory(DType::F32, tensor.shape().to_vec(), data)?)
}

/// A small float that is widened to f32 exactly.
trait Wide: Scalar {
    /// Widens as many values.
    fn widen(src: &[Self], dst: &mut [f32]);
}

impl Wide for f16 {
    fn widen(src: &[Self], dst: &mut [f32]) {
        src.convert_to_f32_slice(dst);
    }
}

impl Wide for bf16 {
    fn widen(src: &[Self], dst: &mut [f32]) {
        src.convert_to_f32_slice(dst);
    }
}

/// The values of a dense tensor, to be read as f32.
#[derive(Clone, Copy)]
enum Values<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
}

impl<'a> Values<'a> {
    fn of(tensor: &'a Tensor) -> Result<Self, QuantizeError> {
        match tensor.element() {
            Element::Dense(DType::F32) => Ok(Self::F32(tensor.values()?)),
            Element::Dense(DType::F16) => Ok(Self::F16(tensor.values()?)),
            Element::Dense(DType::BF16) => Ok(Self::BF16(tensor.values()?)),
            found => Err(QuantizeError::NotDense { found }),
        }
    }

    /// The values in a range, widened into `buffer` where they are not f32 already.
    fn read(self, range: Range<usize>, buffer: &'a mut Vec<f32>) -> &'a [f32] {
        buffer.resize(if matches!(self, Self::F32(_)) { 0 } else { range.len() }, 0.0);
        match self {
            Self::F32(values) => return &values[range],
            Self::F16(values) => f16::widen(&values[range], buffer),
            Self::BF16(values) => bf16::widen(&values[range], buffer),
        }
        buffer
    }
}

/// Whether no value is NaN or infinite.
fn all_finite(values: &[f32]) -> bool {
    const EXPONENT: u32 = 0x7f80_0000;
    // Without an early end, so that it becomes vector code.
    values.iter().fold(0, |bad, x| bad | u32::from(x.to_bits() & EXPONENT == EXPONENT)) == 0
}

impl RegisteredEncoding {
    /// Encodes a tensor of f32, f16 or bf16 values and of rank 1 or more, row by row, on all cores.
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

    /// Whether a tensor can be encoded, with importance if there is some: all that [`Self::quantize`] checks before it encodes.
    pub fn check(&self, tensor: &Tensor, importance: Option<&[f32]>) -> Result<(), QuantizeError> {
        let values = self.check_types(tensor, importance)?;
        let count = tensor.len();
        let bad = (0..count.div_ceil(CHUNK_VALUES)).into_par_iter().find_map_first(|chunk| {
            let begin = chunk * CHUNK_VALUES;
            let mut buffer = Vec::new();
            let values = values.read(begin..count.min(begin + CHUNK_VALUES), &mut buffer);
            if all_finite(values) {
                return None;
            }
            let at = values.iter().position(|value| !value.is_finite())?;
            Some((begin + at, values[at]))
        });
        let Some((index, value)) = bad else { return Ok(()) };
        let row_len = tensor.shape().last().copied().unwrap_or(1);
        let (row, column, encoding) = (index / row_len, index % row_len, self.spec().name.clone());
        Err(QuantizeError::NotFinite { encoding, row, column, value })
    }

    /// [`Self::check`] but for the values themselves.
    fn check_types<'a>(
        &self,
        tensor: &'a Tensor,
        importance: Option<&[f32]>,
    ) -> Result<Values<'a>, QuantizeError> {
        let values = Values::of(tensor)?;
        encoded_bytes(self.spec(), tensor.shape())?;
        self.check_importance(tensor.shape().last().copied().unwrap_or(1), importance)?;
        Ok(values)
    }

    fn encode(&self, tensor: &Tensor, importance: Option<&[f32]>) -> Result<Tensor, QuantizeError> {
        let spec = self.spec();
        let values = self.check_types(tensor, importance)?;
        let mut data = AlignedBytes::zeroed(encoded_bytes(spec, tensor.shape())?);
        let row_len = tensor.shape().last().copied().unwrap_or(1);
        if !data.is_empty() {
            let row_bytes = row_len / spec.block_len * spec.block_bytes;
            let rows_a_chunk = CHUNK_VALUES.div_ceil(row_len);
            let chunk_len = rows_a_chunk * row_len;
            let count = tensor.len();
            let chunks = data.par_chunks_mut(rows_a_chunk * row_bytes).enumerate();
            // A thread keeps its buffer from chunk to chunk.
            chunks.try_for_each_init(Vec::new, |buffer, (chunk, dst)| {
                let begin = chunk * chunk_len;
                let values = values.read(begin..count.min(begin + chunk_len), buffer);
                if !all_finite(values) {
                    // Of several such values the first of the tensor is named, whichever chunk came first.
                    return self.check(tensor, importance);
                }
                let rows = Rows::new(values, row_len).map_err(|source| self.failed(tensor, source))?;
                let done = self.handle.encoding().quantize(rows, importance, dst);
                done.map_err(|source| self.failed(tensor, source))
            })?;
        }
        tensor.forget_pages();
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
        // Where the caller's thread takes the smallest numbers for zero, one of them would not be negative.
        let bad = in_default_control("the importance", || {
            weights.iter().position(|weight| !weight.is_finite() || *weight < 0.0)
        });
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
