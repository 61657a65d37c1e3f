//! The values of a weight as f32, a part at a time.

use std::ops::Range;

use bitquilt_plugin_api::DType;
use rayon::prelude::*;

use super::error::QuantizeError;
use super::values::{CHUNK_VALUES, Values};
use crate::registry::{RegisteredEncoding, Registry};
use crate::tensor::{Tensor, TensorElement};

/// A weight, dense or encoded, that is decoded where it is read.
pub(crate) struct Decoder<'a> {
    tensor: &'a Tensor,
    source: Source<'a>,
}

enum Source<'a> {
    Dense(Values<'a>),
    Encoded(&'a RegisteredEncoding),
}

impl<'a> Decoder<'a> {
    /// That of an f32, f16, bf16 or encoded tensor.
    pub(crate) fn of(tensor: &'a Tensor, registry: &'a Registry) -> Result<Self, QuantizeError> {
        let source = match tensor.encoding() {
            Some(spec) => {
                let encoding = registry.require_encoding(&spec.name)?;
                encoding.check_same(tensor)?;
                Source::Encoded(encoding)
            }
            None => Source::Dense(
                Values::of(tensor).map_err(|_| QuantizeError::NotFloat { found: tensor.element() })?,
            ),
        };
        Ok(Self { tensor, source })
    }

    /// The number of values that are decoded together: [`Self::read`] begins and ends at multiples of it.
    pub(crate) fn block_len(&self) -> usize {
        match self.source {
            Source::Dense(_) => 1,
            Source::Encoded(encoding) => encoding.spec().block_len,
        }
    }

    /// The values in a range of the row-major order, decoded into `buffer` where they are not f32 already.
    pub(crate) fn read<'b>(
        &self,
        range: Range<usize>,
        buffer: &'b mut Vec<f32>,
    ) -> Result<&'b [f32], QuantizeError>
    where
        'a: 'b,
    {
        let encoding = match self.source {
            Source::Dense(values) => return Ok(values.read(range, buffer)),
            Source::Encoded(encoding) => encoding,
        };
        buffer.resize(range.len(), 0.0);
        self.decode(encoding, range, buffer)?;
        Ok(buffer)
    }

    /// The values in a range of whole rows, as a tensor `[rows, values of a row]`.
    pub(crate) fn rows(&self, range: Range<usize>, row_len: usize) -> Result<Tensor, QuantizeError> {
        let shape = vec![range.len() / row_len.max(1), row_len];
        let mut data = TensorElement::Dense(DType::F32).memory(&shape)?;
        let values: &mut [f32] = bytemuck::cast_slice_mut(&mut data);
        let step = CHUNK_VALUES.next_multiple_of(self.block_len());
        values.par_chunks_mut(step).enumerate().try_for_each(|(chunk, dst)| {
            let begin = range.start + chunk * step;
            let part = begin..begin + dst.len();
            match self.source {
                Source::Encoded(encoding) => self.decode(encoding, part, dst)?,
                Source::Dense(Values::F32(values)) => dst.copy_from_slice(&values[part]),
                Source::Dense(values) => dst.copy_from_slice(values.read(part, &mut Vec::new())),
            }
            Ok::<(), QuantizeError>(())
        })?;
        Ok(Tensor::from_memory(DType::F32, shape, data)?)
    }

    fn decode(
        &self,
        encoding: &RegisteredEncoding,
        range: Range<usize>,
        dst: &mut [f32],
    ) -> Result<(), QuantizeError> {
        let (block_len, block_bytes) = (encoding.spec().block_len, encoding.spec().block_bytes);
        let bytes = range.start / block_len * block_bytes..range.end / block_len * block_bytes;
        encoding
            .handle
            .encoding()
            .dequantize(&self.tensor.bytes()[bytes], dst)
            .map_err(|source| encoding.failed(self.tensor, source))
    }
}
