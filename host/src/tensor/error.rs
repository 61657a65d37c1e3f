//! Errors of tensors.

use bitquilt_plugin_api::{DType, Element, ShapeDisplay};

use crate::text::Brief;

/// Why bytes and a shape are no tensor, or a tensor is not what was asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The shape has more values than memory can hold.
    #[error("a tensor of shape {} has more bytes than this machine can address", ShapeDisplay(.shape))]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
    },
    /// There is not so much memory.
    #[error("{} {} needs {bytes} bytes of memory, which cannot be had here", brief(.element), ShapeDisplay(.shape))]
    OutOfMemory {
        /// Dtype or encoding.
        element: Element,
        /// The logical shape.
        shape: Vec<usize>,
        /// The bytes.
        bytes: usize,
    },
    /// The number of bytes is not the shape's.
    #[error("{} {} needs {expected} bytes, {found} were given", brief(.element), ShapeDisplay(.shape))]
    ByteCount {
        /// Dtype or encoding.
        element: Element,
        /// The logical shape.
        shape: Vec<usize>,
        /// Bytes the shape needs.
        expected: usize,
        /// Bytes there were.
        found: usize,
    },
    /// The tensor holds something else.
    #[error("the tensor holds {} values, {expected} were asked for", brief(.found))]
    WrongDType {
        /// What was asked for.
        expected: DType,
        /// What the tensor holds.
        found: Element,
    },
    /// The rows of a tensor are no whole number of blocks.
    #[error("the rows of {} are {row_len} values long, no multiple of the {block_len} values in a block of `{}`", ShapeDisplay(.shape), Brief(.encoding))]
    RowLength {
        /// The encoding's name.
        encoding: String,
        /// The logical shape.
        shape: Vec<usize>,
        /// Values in a row; 1 for a scalar.
        row_len: usize,
        /// Values in a block.
        block_len: usize,
    },
    /// A dtype that this version does not know has no size.
    #[error("{dtype} is no dtype this version knows")]
    UnknownDType {
        /// The dtype.
        dtype: DType,
    },
    /// The type of the tensor is known by its name alone.
    #[error(
        "the tensor is of the type {}, whose values this version does not read; it can be saved again, and is of no other use",
        Brief(.name)
    )]
    Opaque {
        /// The type, as the file that the tensor is of names it.
        name: String,
    },
    /// A bool tensor has bytes other than 0 and 1.
    #[error("byte {index} of a bool tensor is {value}; only 0 and 1 are booleans")]
    NotBool {
        /// Position of the first such byte.
        index: usize,
        /// Its value.
        value: u8,
    },
}

/// A dtype, or the name of an encoding, which may be a file's.
pub(crate) fn brief(element: &Element) -> String {
    Brief(&element.to_string()).to_string()
}
