//! The values of a dense tensor, as f32.

use std::ops::Range;

use bitquilt_plugin_api::{DType, Element, Scalar};
use half::slice::HalfFloatSliceExt;
use half::{bf16, f16};
use rayon::prelude::*;

use super::error::QuantizeError;
use crate::tensor::{Tensor, TensorElement};

/// Values a thread takes at a time, at least: less is not worth handing over.
pub(super) const CHUNK_VALUES: usize = 1 << 16;

/// A tensor of small floats as one of f32.
pub(super) fn widen<T: Wide>(tensor: &Tensor) -> Result<Tensor, QuantizeError> {
    let mut data = TensorElement::Dense(DType::F32).memory(tensor.shape())?;
    let values: &mut [f32] = bytemuck::cast_slice_mut(&mut data);
    values
        .par_chunks_mut(CHUNK_VALUES)
        .zip(tensor.values::<T>()?.par_chunks(CHUNK_VALUES))
        .for_each(|(dst, src)| T::widen(src, dst));
    Ok(Tensor::from_memory(DType::F32, tensor.shape().to_vec(), data)?)
}

/// A small float that is widened to f32 exactly.
pub(super) trait Wide: Scalar {
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
pub(super) enum Values<'a> {
    F32(&'a [f32]),
    F16(&'a [f16]),
    BF16(&'a [bf16]),
}

impl<'a> Values<'a> {
    pub(super) fn of(tensor: &'a Tensor) -> Result<Self, QuantizeError> {
        match tensor.element() {
            Element::Dense(DType::F32) => Ok(Self::F32(tensor.values()?)),
            Element::Dense(DType::F16) => Ok(Self::F16(tensor.values()?)),
            Element::Dense(DType::BF16) => Ok(Self::BF16(tensor.values()?)),
            found => Err(QuantizeError::NotDense { found }),
        }
    }

    /// The values in a range, widened into `buffer` where they are not f32 already.
    pub(super) fn read<'b>(self, range: Range<usize>, buffer: &'b mut Vec<f32>) -> &'b [f32]
    where
        'a: 'b,
    {
        buffer.resize(if matches!(self, Self::F32(_)) { 0 } else { range.len() }, 0.0);
        match self {
            Self::F32(values) => return &values[range],
            Self::F16(values) => f16::widen(&values[range], buffer),
            Self::BF16(values) => bf16::widen(&values[range], buffer),
        }
        buffer
    }
}

/// The first value that is NaN or infinite, and its index.
pub(super) fn first_not_finite(values: &[f32]) -> Option<(usize, f32)> {
    const EXPONENT: u32 = 0x7f80_0000;
    // Without an early end, so that it becomes vector code.
    let any = values.iter().fold(0, |bad, x| bad | u32::from(x.to_bits() & EXPONENT == EXPONENT)) != 0;
    any.then(|| values.iter().copied().enumerate().find(|(_, value)| !value.is_finite())).flatten()
}
