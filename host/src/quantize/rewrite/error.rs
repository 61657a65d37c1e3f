//! Why a checkpoint was not made of another.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::encoding::QuantizeError;
use crate::graph::GraphError;
use crate::text::Brief;

/// Why a checkpoint was not made of another.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RewriteError {
    /// A file was not read or written.
    #[error(transparent)]
    File(#[from] CheckpointError),
    /// A graph's ops take its tensors as they are, but for weights in some encoding.
    #[error("{} holds a graph, whose weights can be quantized, and which cannot be made something else", .path.display())]
    Graph {
        /// The file.
        path: PathBuf,
    },
    /// What a file says about a graph could not be read.
    #[error(transparent)]
    GraphRecord(#[from] GraphError),
    /// One file of several that are read would be replaced.
    #[error(
        "{} is one of the files that make the model; name a file of its own for what is written", .path.display()
    )]
    Shard {
        /// The file.
        path: PathBuf,
    },
    /// The file that is read would be replaced.
    #[error("{} is the file that is read; name another for what is written", .path.display())]
    Input {
        /// The file.
        path: PathBuf,
    },
    /// A weight could not be converted.
    #[error("{}, tensor `{}`: {source}", .path.display(), Brief(.weight))]
    Weight {
        /// The file.
        path: PathBuf,
        /// The weight.
        weight: String,
        /// Why.
        source: QuantizeError,
    },
}
