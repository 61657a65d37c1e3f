//! One error for programs that use several parts.

use crate::checkpoint::CheckpointError;
use crate::compile::LoadError;
use crate::encoding::QuantizeError;
use crate::file::FileError;
use crate::graph::GraphError;
use crate::plan::RunError;
use crate::registry::UnknownEncoding;
use crate::session::SessionError;
use crate::tensor::TensorError;

/// Any error of this crate.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// An encoding's name.
    #[error(transparent)]
    UnknownEncoding(#[from] UnknownEncoding),
    /// Quantizing or decoding.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
    /// Reading or writing a file.
    #[error(transparent)]
    File(#[from] FileError),
    /// Reading or writing a checkpoint.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// Building a graph.
    #[error(transparent)]
    Graph(#[from] GraphError),
    /// Making a session.
    #[error(transparent)]
    Session(#[from] SessionError),
    /// Loading a graph.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Running a model.
    #[error(transparent)]
    Run(#[from] RunError),
}
