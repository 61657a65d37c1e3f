//! Why a tensor is not quantized or decoded.

use bitquilt_plugin_api::{Element, ShapeDisplay};

use crate::registry::UnknownEncoding;
use crate::tensor::{TensorError, brief};
use crate::text::Passage;

/// Why a tensor was not quantized or decoded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum QuantizeError {
    /// The values are no floats of these kinds.
    #[error("only f32, f16 and bf16 tensors are quantized, this one is {}", brief(.found))]
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
    /// Finite values would decode to NaN or infinity.
    #[error(
        "the value at row {row}, column {column} is {value:?}: {} would decode to {decoded}; scale the tensor, or choose an encoding \
         with a wider range, such as bf16",
        within(encoding, *block_len)
    )]
    NotDecodable {
        /// The encoding's name.
        encoding: String,
        /// Values in a block.
        block_len: usize,
        /// Index of the row, over all outer dimensions.
        row: usize,
        /// Index in the row of the value with the largest magnitude in the block.
        column: usize,
        /// That value.
        value: f32,
        /// The first value of the decoded block that is not finite.
        decoded: f32,
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
    #[error("the tensor holds {}, not blocks of `{encoding}`", brief(.found))]
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
    #[error("the tensor holds {} values; f32, f16, bf16 and encoded tensors can be taken as f32", brief(.found))]
    NotFloat {
        /// What the tensor holds.
        found: Element,
    },
    /// It was [asked to stop](crate::interrupt::Interrupt).
    #[error("it was interrupted before it was done")]
    Interrupted,
    /// No such encoding.
    #[error(transparent)]
    UnknownEncoding(#[from] UnknownEncoding),
    /// The shape cannot be encoded.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The encoding itself failed.
    #[error("`{encoding}` failed on a tensor of shape {}: {}", ShapeDisplay(.shape), Passage(.source.message()))]
    Encoding {
        /// The encoding's name.
        encoding: String,
        /// The logical shape.
        shape: Vec<usize>,
        /// What it said.
        source: bitquilt_plugin_api::Error,
    },
}

/// What would decode to something else: the value, or the block that it is in.
fn within(encoding: &str, block_len: usize) -> String {
    match block_len {
        1 => format!("as `{encoding}` it"),
        _ => format!("its block of {block_len} values of `{encoding}`"),
    }
}
