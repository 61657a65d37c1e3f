//! Quantizing and decoding tensors.

mod decode;
mod error;
mod importance;
mod loss;
mod values;
mod warning;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitquilt_plugin_api::host::in_default_control;
use bitquilt_plugin_api::{DType, Element, Importance, Rows};
use half::{bf16, f16};
use rayon::prelude::*;

use crate::interrupt::Interrupt;
use crate::registry::{RegisteredEncoding, Registry};
use crate::tensor::{Tensor, TensorElement, TensorError, encoded_bytes};

pub(crate) use decode::Decoder;
pub use error::QuantizeError;
pub(crate) use importance::{vector_of, vectors_of};
pub use loss::SquaredError;
pub use warning::{Indices, QuantizeWarning, Quantized, RowLoss};

use importance::MatrixImportance;
use loss::{Encoded, Look, Loss, LostRows, NotDecodable, PIECE, Verdict};
use values::{CHUNK_VALUES, Values, first_not_finite, widen};

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

    /// A tensor as ops take it that want encoded data: values of f32, f16 or bf16 as data of the encoding of their dtype, in the same
    /// memory; every other tensor as it is.
    pub fn as_encoded(&self, tensor: &Tensor) -> Tensor {
        let encoding = tensor.dtype().and_then(|dtype| self.encoding(&dtype.to_string()));
        let encoded = encoding.and_then(|encoding| tensor.as_encoded(encoding.spec()));
        encoded.unwrap_or_else(|| tensor.clone())
    }
}

impl RegisteredEncoding {
    /// Encodes a tensor of f32, f16 or bf16 values and of rank 1 or more, row by row, on all cores.
    ///
    /// The tensor of the answer has the same logical shape; its bytes are `u8 [.., bytes a row]`, and its type remembers the encoding.
    /// What was encoded is decoded again to see what became of it: rows that are lost are warnings of the answer, and values whose block
    /// would decode to NaN or infinity are an error. So are rows that are no whole number of blocks, values that are not finite, and a
    /// lack of importance where the encoding demands it.
    pub fn quantize(&self, tensor: &Tensor) -> Result<Quantized, QuantizeError> {
        self.encode(tensor, None, Measure::Doubtful).map(|(quantized, _)| quantized)
    }

    /// As [`Self::quantize`], with a weight for each column that says how much its errors cost.
    ///
    /// Weights are finite and not negative; only their ratios count. A vector of very small or large weights is multiplied by a power of
    /// four first. The columns of a block that has no weight but zero count alike, which is a warning.
    ///
    /// For a tensor `[matrices, rows, columns]` there may be as many weights for each matrix, one after the other. A matrix that has none
    /// but zeros is then encoded without importance, or, where the encoding demands it, as if all columns counted alike.
    pub fn quantize_with_importance(
        &self,
        tensor: &Tensor,
        importance: &[f32],
    ) -> Result<Quantized, QuantizeError> {
        self.encode(tensor, Some(importance), Measure::Doubtful).map(|(quantized, _)| quantized)
    }

    /// As [`Self::quantize`] or [`Self::quantize_with_importance`], with the error of all values, whatever importance they have.
    pub fn quantize_measured(
        &self,
        tensor: &Tensor,
        importance: Option<&[f32]>,
    ) -> Result<(Quantized, SquaredError), QuantizeError> {
        self.encode(tensor, importance, Measure::All)
    }

    /// Whether a tensor can be encoded, with importance if there is some: all that [`Self::quantize`] checks before it encodes.
    pub fn check(&self, tensor: &Tensor, importance: Option<&[f32]>) -> Result<(), QuantizeError> {
        let values = self.check_types(tensor, importance)?;
        let count = tensor.len();
        let bad = (0..count.div_ceil(CHUNK_VALUES)).into_par_iter().find_map_first(|chunk| {
            let begin = chunk * CHUNK_VALUES;
            let mut buffer = Vec::new();
            let (at, value) =
                first_not_finite(values.read(begin..count.min(begin + CHUNK_VALUES), &mut buffer))?;
            Some((begin + at, value))
        });
        bad.map_or(Ok(()), |(index, value)| Err(self.not_finite(tensor, index, value)))
    }

    /// [`Self::check`] but for the values themselves.
    fn check_types<'a>(
        &self,
        tensor: &'a Tensor,
        importance: Option<&[f32]>,
    ) -> Result<Values<'a>, QuantizeError> {
        let values = Values::of(tensor)?;
        encoded_bytes(self.spec(), tensor.shape())?;
        self.check_importance(tensor, importance)?;
        Ok(values)
    }

    fn encode(
        &self,
        tensor: &Tensor,
        importance: Option<&[f32]>,
        measure: Measure,
    ) -> Result<(Quantized, SquaredError), QuantizeError> {
        let spec = self.spec();
        let values = self.check_types(tensor, importance)?;
        let mut data = TensorElement::Encoded(Arc::new(spec.clone())).memory(tensor.shape())?;
        let importance = MatrixImportance::of(spec, tensor.shape(), importance);
        let mut loss = Loss::default();
        if !data.is_empty() {
            let row_len = row_len(tensor);
            let row_bytes = row_len / spec.block_len * spec.block_bytes;
            let rows_a_chunk = CHUNK_VALUES.div_ceil(row_len);
            let rows_a_matrix = tensor.len() / row_len / importance.len();
            // Rows of one chunk have one importance.
            let matrices = data.chunks_mut(rows_a_matrix * row_bytes).enumerate();
            let mut chunks: Vec<(usize, usize, &mut [u8])> = matrices
                .flat_map(|(matrix, data)| {
                    let chunks = data.chunks_mut(rows_a_chunk * row_bytes).enumerate();
                    chunks
                        .map(move |(chunk, dst)| (matrix, matrix * rows_a_matrix + chunk * rows_a_chunk, dst))
                })
                .collect();
            // The first chunk that cannot be encoded, as far as is known. Those after it need not be.
            let failed = AtomicUsize::new(usize::MAX);
            let interrupt = Interrupt::current();
            let encoder = Encoder { encoding: self, tensor, values, measure };
            let encode = |buffers: &mut Buffers, (matrix, first_row, dst): (usize, usize, &mut [u8])| {
                if first_row > failed.load(Ordering::Relaxed) {
                    return Ok(Loss::default());
                }
                if interrupt.is_requested() {
                    return Err(QuantizeError::Interrupted);
                }
                // Threads of the pool have the control of whoever used it first.
                let part = in_default_control("encoding", || {
                    encoder.rows(first_row, importance.of_matrix(matrix), dst, buffers)
                });
                if part.is_err() {
                    failed.fetch_min(first_row, Ordering::Relaxed);
                }
                part
            };
            // A single chunk is done before a thread of the pool would have begun. A thread keeps its buffers from chunk to chunk.
            let parts: Vec<_> = match (chunks.len(), chunks.pop()) {
                (1, Some(only)) => vec![encode(&mut Buffers::default(), only)],
                (_, last) => {
                    chunks.extend(last);
                    chunks.into_par_iter().map_init(Buffers::default, encode).collect()
                }
            };
            for part in parts {
                loss.append(part?);
            }
        }
        tensor.forget_pages();
        let warnings = self.warnings(tensor, loss.rows, importance.zero_blocks());
        let tensor = Tensor::from_encoded_memory(Arc::new(spec.clone()), tensor.shape().to_vec(), data)?;
        Ok((Quantized { tensor, warnings }, loss.squared))
    }

    fn warnings(
        &self,
        tensor: &Tensor,
        lost: LostRows,
        zero_blocks: Option<Indices>,
    ) -> Vec<QuantizeWarning> {
        let (encoding, block_len) = (&self.spec().name, self.spec().block_len);
        let silent = zero_blocks.map(|blocks| QuantizeWarning::ImportanceZero {
            encoding: encoding.clone(),
            blocks,
            block_len,
        });
        let lost = lost.rows.map(|rows| QuantizeWarning::RowsLost {
            encoding: encoding.clone(),
            rows,
            row_count: tensor.len() / row_len(tensor),
            worst: lost.worst,
        });
        silent.into_iter().chain(lost).collect()
    }

    fn not_finite(&self, tensor: &Tensor, index: usize, value: f32) -> QuantizeError {
        let (encoding, row_len) = (self.spec().name.clone(), row_len(tensor));
        QuantizeError::NotFinite { encoding, row: index / row_len, column: index % row_len, value }
    }

    fn check_importance(&self, tensor: &Tensor, importance: Option<&[f32]>) -> Result<(), QuantizeError> {
        let (encoding, wanted) = (self.spec().name.clone(), self.spec().importance);
        let columns = row_len(tensor);
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
        let is_fit = weights.len() == columns || vectors_of(tensor.shape(), weights.len()) > 1;
        let problem = match bad {
            _ if !is_fit => format!("has {} weights", weights.len()),
            Some(index) => format!("has {} at column {index}", weights[index]),
            None => return Ok(()),
        };
        Err(QuantizeError::Importance { encoding, columns, problem })
    }

    /// Decodes a tensor of this encoding into f32, on all cores.
    pub fn dequantize(&self, tensor: &Tensor) -> Result<Tensor, QuantizeError> {
        let mut data = TensorElement::Dense(DType::F32).memory(tensor.shape())?;
        self.dequantize_into(tensor, bytemuck::cast_slice_mut(&mut data))?;
        Ok(Tensor::from_memory(DType::F32, tensor.shape().to_vec(), data)?)
    }

    /// As [`Self::dequantize`], into memory of the caller's, which has room for exactly the tensor's values.
    pub fn dequantize_into(&self, tensor: &Tensor, values: &mut [f32]) -> Result<(), QuantizeError> {
        self.check_same(tensor)?;
        if values.len() != tensor.len() {
            let (element, shape) = (Element::Dense(DType::F32), tensor.shape().to_vec());
            let (expected, found) = (tensor.len() * size_of::<f32>(), size_of_val(values));
            return Err(TensorError::ByteCount { element, shape, expected, found }.into());
        }
        let spec = self.spec();
        let interrupt = Interrupt::current();
        let decode = |(dst, blocks): (&mut [f32], &[u8])| {
            if interrupt.is_requested() {
                return Err(QuantizeError::Interrupted);
            }
            self.handle.encoding().dequantize(blocks, dst).map_err(|source| self.failed(tensor, source))
        };
        let blocks_a_chunk = CHUNK_VALUES.div_ceil(spec.block_len);
        let values_a_chunk = blocks_a_chunk * spec.block_len;
        // A single chunk is done before a thread of the pool would have begun.
        if values.len() <= values_a_chunk {
            return decode((values, tensor.bytes()));
        }
        let chunks = values.par_chunks_mut(values_a_chunk);
        chunks.zip(tensor.bytes().par_chunks(blocks_a_chunk * spec.block_bytes)).try_for_each(decode)
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

/// Which rows are decoded again once they are encoded.
#[derive(Clone, Copy, PartialEq)]
enum Measure {
    /// Those that an encoding's error bound does not prove to be fine.
    Doubtful,
    /// All.
    All,
}

/// A tensor that is encoded, rows by rows.
struct Encoder<'a> {
    encoding: &'a RegisteredEncoding,
    tensor: &'a Tensor,
    values: Values<'a>,
    measure: Measure,
}

impl Encoder<'_> {
    /// Encodes rows from `first_row` on, as many as `dst` has blocks for, and looks at what they decode to.
    fn rows(
        &self,
        first_row: usize,
        importance: Option<&[f32]>,
        dst: &mut [u8],
        buffers: &mut Buffers,
    ) -> Result<Loss, QuantizeError> {
        let (spec, row_len) = (self.encoding.spec(), row_len(self.tensor));
        let count = dst.len() / spec.block_bytes * spec.block_len;
        let begin = first_row * row_len;
        let values = self.values.read(begin..begin + count, &mut buffers.widened);
        let rows_a_piece = (PIECE / row_len).max(1);
        let row_bytes = row_len / spec.block_len * spec.block_bytes;
        let pieces = values.chunks(rows_a_piece * row_len).zip(dst.chunks_mut(rows_a_piece * row_bytes));
        let mut loss = Loss::default();
        for (piece, (values, dst)) in pieces.enumerate() {
            let first_row = first_row + piece * rows_a_piece;
            let rows = Rows::new(values, row_len).map_err(|source| self.failed(source))?;
            loss.append(self.piece(first_row, rows, importance, dst, &mut buffers.look)?);
        }
        Ok(loss)
    }

    /// Encodes rows that are near the processor, and looks at what they decode to before they are far.
    fn piece(
        &self,
        first_row: usize,
        rows: Rows<'_>,
        importance: Option<&[f32]>,
        dst: &mut [u8],
        look: &mut Look,
    ) -> Result<Loss, QuantizeError> {
        let (spec, encoding) = (self.encoding.spec(), self.encoding.handle.encoding());
        let (row_len, values) = (rows.row_len(), rows.values());
        if !look.begin(rows)
            && let Some((at, value)) = first_not_finite(values)
        {
            return Err(self.encoding.not_finite(self.tensor, first_row * row_len + at, value));
        }
        encoding.quantize(rows, importance, dst).map_err(|source| self.failed(source))?;
        let is_plain = importance.is_none() || spec.importance == Importance::Ignored;
        if self.measure == Measure::Doubtful && is_plain && look.are_proven(spec, row_len) {
            return Ok(Loss::default());
        }
        let encoded = Encoded { encoding, row_len, first_row, values, blocks: dst };
        match encoded.inspect(look).map_err(|source| self.failed(source))? {
            Verdict::Finite(loss) => Ok(loss),
            Verdict::NotDecodable(NotDecodable { row, column, value, decoded }) => {
                let (encoding, block_len) = (spec.name.clone(), spec.block_len);
                Err(QuantizeError::NotDecodable { encoding, block_len, row, column, value, decoded })
            }
        }
    }

    fn failed(&self, source: bitquilt_plugin_api::Error) -> QuantizeError {
        self.encoding.failed(self.tensor, source)
    }
}

/// What a thread works in.
#[derive(Default)]
struct Buffers {
    widened: Vec<f32>,
    look: Look,
}

/// Values in a row.
fn row_len(tensor: &Tensor) -> usize {
    tensor.shape().last().copied().unwrap_or(1)
}

#[cfg(test)]
mod tests;
