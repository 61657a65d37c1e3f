//! Why there is nothing to compare, or it cannot be done.

use std::path::PathBuf;

use bitquilt_plugin_api::ShapeDisplay;

use super::unlike::Unlike;
use crate::checkpoint::CheckpointError;
use crate::encoding::QuantizeError;
use crate::file::FileError;
use crate::plan::RunError;
use crate::quantize::WEIGHTS;
use crate::registry::UnknownEncoding;
use crate::text::{Brief, Quoted};

/// Why weights or outputs are not compared.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompareError {
    /// A file was not read.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A directory, or a file in it, was not read.
    #[error(transparent)]
    File(#[from] FileError),
    /// An encoding is not registered.
    #[error(transparent)]
    UnknownEncoding(#[from] UnknownEncoding),
    /// A weight could not be decoded or encoded.
    #[error("{}, tensor `{}`: {source}", .path.display(), Brief(.weight))]
    Weight {
        /// The file.
        path: PathBuf,
        /// The weight.
        weight: String,
        /// Why.
        source: QuantizeError,
    },
    /// A value of a weight is NaN or infinite.
    #[error(
        "{}, tensor `{}`: the value at row {row}, column {column} is {value}; only finite values are compared",
        .path.display(), Brief(.weight)
    )]
    NotFinite {
        /// The file.
        path: PathBuf,
        /// The weight.
        weight: String,
        /// Index of the row, over all outer dimensions.
        row: usize,
        /// Index in the row.
        column: usize,
        /// The value, decoded.
        value: f32,
    },
    /// There are no weights, or none that was meant.
    #[error("{} has no {}", .path.display(), no_weights(.only.as_deref(), *.encoded))]
    NoWeights {
        /// The file.
        path: PathBuf,
        /// The glob that names the weights that were meant.
        only: Option<String>,
        /// Whether they were to be encoded.
        encoded: bool,
    },
    /// No weight has rows of whole blocks of an encoding.
    #[error(
        "{}: none of the {weights} weights has rows of whole blocks of `{}`, which have {block_len} values; the rows of `{}` have {row_len}",
        .path.display(), Brief(.encoding), Brief(.weight)
    )]
    NoneFits {
        /// The file.
        path: PathBuf,
        /// How many weights there are.
        weights: usize,
        /// The encoding.
        encoding: String,
        /// Values in a block.
        block_len: usize,
        /// One of the weights.
        weight: String,
        /// Values in its rows.
        row_len: usize,
    },
    /// Two checkpoints do not have the same weights.
    #[error(transparent)]
    Unlike(#[from] Unlike),
    /// A directory has no inputs.
    #[error(
        "{} has no inputs: a set of them is a file .npz, or a directory of files NAME.npy", .path.display()
    )]
    NoInputs {
        /// The directory.
        path: PathBuf,
    },
    /// Two graphs do not have the same outputs.
    #[error("the outputs of {reference} are {} and those of {other} {}", Quoted(.expected), Quoted(.found))]
    Outputs {
        /// The graph of the reference.
        reference: String,
        /// The other graph.
        other: String,
        /// The reference's outputs.
        expected: Vec<String>,
        /// The others.
        found: Vec<String>,
    },
    /// A graph cannot be run on a set of inputs.
    #[error("{graph} on {}: {source}", .inputs.display())]
    Run {
        /// The graph.
        graph: String,
        /// The inputs.
        inputs: PathBuf,
        /// Why.
        source: RunError,
    },
    /// An output differs in its shape.
    #[error(
        "on {} the output `{}` is {} from {reference} and {} from {other}; the same shape was expected",
        .inputs.display(), Brief(.output), ShapeDisplay(.expected), ShapeDisplay(.found)
    )]
    OutputShape {
        /// The inputs.
        inputs: PathBuf,
        /// The output.
        output: String,
        /// The graph of the reference.
        reference: String,
        /// The other graph.
        other: String,
        /// The reference's shape.
        expected: Vec<usize>,
        /// The other.
        found: Vec<usize>,
    },
    /// An output holds what is no number, or no finite one.
    #[error("on {} the output `{}` of {graph} {problem}", .inputs.display(), Brief(.output))]
    Output {
        /// The inputs.
        inputs: PathBuf,
        /// The output.
        output: String,
        /// The graph.
        graph: String,
        /// What is wrong with it.
        problem: String,
    },
}

fn no_weights(only: Option<&str>, encoded: bool) -> String {
    let what = if encoded { WEIGHTS } else { "tensors that hold f32, f16 or bf16 values or are encoded" };
    match only {
        Some(glob) => format!("{what} whose names match `{}`", Brief(glob)),
        None => what.to_owned(),
    }
}
