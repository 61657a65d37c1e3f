//! Why a checkpoint was not imported.

use std::path::PathBuf;

use bitquilt::CheckpointError;
use bitquilt::declared::DeclarationError;
use bitquilt::file::FileError;
use bitquilt::text::{Brief, Quoted};

use crate::problem::{ConfigProblem, Problem};

/// Why a checkpoint was not imported. What was to be written is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportError {
    /// A file was not read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A checkpoint was not read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A directory without a checkpoint.
    #[error("{} has no file that ends in .safetensors; name the directory of a model, or a file", .path.display())]
    NoCheckpoint {
        /// The directory.
        path: PathBuf,
    },
    /// A directory with files that no index holds together.
    #[error(
        "{} has several checkpoints, {}, and no index of them; name one of the files", .path.display(), Quoted(.names)
    )]
    SeveralCheckpoints {
        /// The directory.
        path: PathBuf,
        /// The files.
        names: Vec<String>,
    },
    /// A saved graph.
    #[error("{} holds a graph, whose weights have their encodings already; there is nothing to import", .path.display())]
    Graph {
        /// The file.
        path: PathBuf,
    },
    /// A file of the model would be replaced.
    #[error(
        "{} is one of the files that make the model; name a file of its own for what is written", .path.display()
    )]
    Shard {
        /// The file.
        path: PathBuf,
    },
    /// The configuration is wrong.
    #[error("{}: {problem}", .path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: ConfigProblem,
    },
    /// Nothing that could be imported.
    #[error("{} has no quantized layers of {known}; there is nothing to import", .path.display())]
    NothingQuantized {
        /// The file or directory.
        path: PathBuf,
        /// The methods that are looked for.
        known: String,
    },
    /// Layers of two methods, or of another than the configuration says.
    #[error(
        "{}: the tensor `{}` is of a layer of {found}, and {expected}; split the model, or correct its configuration",
        .path.display(), Brief(.tensor)
    )]
    OtherMethod {
        /// The file or directory.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// The method that it is of.
        found: &'static str,
        /// What it should be, and by what.
        expected: String,
    },
    /// A layer cannot be imported.
    #[error("{}, tensor `{}`: {problem}", .path.display(), Brief(.tensor))]
    Layer {
        /// The file.
        path: PathBuf,
        /// The tensor.
        tensor: String,
        /// What is wrong with it.
        problem: Box<Problem>,
    },
    /// An encoding cannot be declared.
    #[error("the encoding of the weight `{}`: {error}", Brief(.weight))]
    Declaration {
        /// The weight.
        weight: String,
        /// What is wrong with it.
        error: DeclarationError,
    },
}
