//! What tensors are made of, and how many bytes that needs.

use std::sync::Arc;

use bitquilt_plugin_api::{DType, Dim, Element, EncodingSpec, TensorType};

use super::TensorError;
use crate::memory::AlignedBytes;

/// What a tensor is made of, with what is needed to count its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TensorElement {
    /// Values.
    Dense(DType),
    /// Blocks.
    Encoded(Arc<EncodingSpec>),
    /// Bytes of a type that is known by its name alone.
    Opaque(Arc<Opaque>),
}

/// A type of a file that nobody here can read, of a tensor of so many bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opaque {
    pub(crate) name: String,
    pub(crate) bytes: usize,
    /// Whether the name is a dtype of safetensors.
    pub(crate) is_dtype: bool,
}

impl TensorElement {
    /// The dtype, or the name of the encoding or type.
    pub(crate) fn name(&self) -> Element {
        match self {
            Self::Dense(dtype) => Element::Dense(*dtype),
            Self::Encoded(spec) => Element::Encoded(spec.name.clone()),
            Self::Opaque(opaque) => Element::Encoded(opaque.name.clone()),
        }
    }

    /// The dtype of values.
    pub(crate) fn dtype(&self) -> Option<DType> {
        match self {
            Self::Dense(dtype) => Some(*dtype),
            Self::Encoded(_) | Self::Opaque(_) => None,
        }
    }

    /// The encoding of blocks.
    pub(crate) fn spec(&self) -> Option<&EncodingSpec> {
        match self {
            Self::Encoded(spec) => Some(spec),
            Self::Dense(_) | Self::Opaque(_) => None,
        }
    }

    /// The alignment that reading the bytes as values needs.
    pub(crate) fn alignment(&self) -> usize {
        match self {
            Self::Dense(dtype) => dtype.size().unwrap_or(1),
            Self::Encoded(_) | Self::Opaque(_) => 1,
        }
    }

    /// Whether a file has tensors of both in the same way: a bool tensor that has other bytes than 0 and 1 is a bool tensor there.
    pub(crate) fn is_stored_as(&self, other: &Self) -> bool {
        let is_bool = |element: &Self| match element {
            Self::Dense(dtype) => *dtype == DType::BOOL,
            Self::Encoded(_) => false,
            Self::Opaque(opaque) => opaque.is_dtype && opaque.name == "BOOL",
        };
        self == other || is_bool(self) && is_bool(other)
    }

    /// The type of a tensor of this shape.
    pub(crate) fn tensor_type(&self, shape: &[usize]) -> TensorType {
        TensorType { element: self.name(), shape: shape.iter().copied().map(Dim::Fixed).collect() }
    }

    /// The shape of the bytes of a tensor of this shape, whose rows were found to be whole blocks.
    pub(crate) fn byte_shape(&self, shape: &[usize]) -> Vec<usize> {
        match self {
            Self::Dense(_) => shape.to_vec(),
            Self::Encoded(spec) => spec.byte_shape(shape).unwrap_or_default(),
            Self::Opaque(opaque) if opaque.is_dtype => shape.to_vec(),
            Self::Opaque(opaque) => vec![opaque.bytes],
        }
    }

    /// The bytes of a tensor of this shape.
    pub(crate) fn bytes(&self, shape: &[usize]) -> Result<usize, TensorError> {
        match self {
            Self::Dense(dtype) => dense_bytes(*dtype, shape),
            Self::Encoded(spec) => encoded_bytes(spec, shape),
            Self::Opaque(opaque) => value_count(shape).map(|_| opaque.bytes),
        }
    }

    /// Zeroed memory for a tensor of this shape.
    pub(crate) fn memory(&self, shape: &[usize]) -> Result<AlignedBytes, TensorError> {
        let bytes = self.bytes(shape)?;
        AlignedBytes::zeroed(bytes).ok_or_else(|| self.out_of_memory(shape, bytes))
    }

    pub(super) fn copy_of(&self, shape: &[usize], bytes: &[u8]) -> Result<AlignedBytes, TensorError> {
        AlignedBytes::copy_of(bytes).ok_or_else(|| self.out_of_memory(shape, bytes.len()))
    }

    pub(super) fn out_of_memory(&self, shape: &[usize], bytes: usize) -> TensorError {
        TensorError::OutOfMemory { element: self.name(), shape: shape.to_vec(), bytes }
    }

    /// Whether a tensor of this shape has `found` bytes.
    pub(crate) fn check_byte_count(&self, shape: &[usize], found: usize) -> Result<(), TensorError> {
        let expected = self.bytes(shape)?;
        if found != expected {
            let (element, shape) = (self.name(), shape.to_vec());
            return Err(TensorError::ByteCount { element, shape, expected, found });
        }
        Ok(())
    }
}

/// The values in a shape, if memory can count them.
pub(crate) fn value_count(shape: &[usize]) -> Result<usize, TensorError> {
    // Zero-length dimensions must not hide that the others overflow when they are multiplied in another order.
    let product =
        shape.iter().filter(|dim| **dim != 0).try_fold(1usize, |product, dim| product.checked_mul(*dim));
    match product {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(count) => Ok(count),
        None => Err(TensorError::TooLarge { shape: shape.to_vec() }),
    }
}

/// The bytes of a dense tensor.
pub(crate) fn dense_bytes(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    let size = dtype.size().ok_or(TensorError::UnknownDType { dtype })?;
    value_count(shape)?
        .checked_mul(size)
        .filter(|bytes| isize::try_from(*bytes).is_ok())
        .ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec() })
}

/// The bytes of an encoded tensor.
pub(crate) fn encoded_bytes(spec: &EncodingSpec, shape: &[usize]) -> Result<usize, TensorError> {
    let row_len = shape.last().copied().unwrap_or(1);
    if shape.is_empty() || spec.block_len == 0 || !row_len.is_multiple_of(spec.block_len) {
        let (encoding, block_len) = (spec.name.clone(), spec.block_len);
        return Err(TensorError::RowLength { encoding, shape: shape.to_vec(), row_len, block_len });
    }
    (value_count(shape)? / spec.block_len)
        .checked_mul(spec.block_bytes)
        .filter(|bytes| isize::try_from(*bytes).is_ok())
        .ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec() })
}

/// Whether bytes are those of a tensor of this shape.
pub(super) fn check_bytes(element: &TensorElement, shape: &[usize], bytes: &[u8]) -> Result<(), TensorError> {
    element.check_byte_count(shape, bytes.len())?;
    if *element == TensorElement::Dense(DType::BOOL)
        && let Some(index) = bytes.iter().position(|byte| *byte > 1)
    {
        return Err(TensorError::NotBool { index, value: bytes[index] });
    }
    Ok(())
}
