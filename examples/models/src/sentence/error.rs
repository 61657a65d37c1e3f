//! Errors of an encoder's files, and of sentences.

use std::path::{Path, PathBuf};

use bitquilt::RunError;
use bitquilt::checkpoint::CheckpointError;
use bitquilt::file::FileError;

/// Why there is no encoder, or a sentence has no embedding.
#[derive(Debug, thiserror::Error)]
pub enum EncoderError {
    /// The hyper-parameters cannot be read.
    #[error("{0}; the encoder's config.json was expected there")]
    Config(#[source] FileError),
    /// The tokenizer cannot be read.
    #[error(transparent)]
    Tokenizer(#[from] FileError),
    /// The weights cannot be read.
    #[error(transparent)]
    Weights(#[from] CheckpointError),
    /// The contents of a file are no encoder.
    #[error("{}: {problem}", .path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// The problem.
        problem: String,
    },
    /// A weight is not as large as the hyper-parameters say.
    #[error("{}, tensor `{name}`: it is {found}; the configuration wants {expected:?}", .path.display())]
    Shape {
        /// The file.
        path: PathBuf,
        /// The weight.
        name: String,
        /// Its type.
        found: String,
        /// The shape that the hyper-parameters say.
        expected: Vec<usize>,
    },
    /// A sentence is too long.
    #[error(
        "the sentence {beginning:?} has {found} tokens; the encoder takes at most {longest}: split it and embed its parts"
    )]
    Sentence {
        /// The beginning of the sentence.
        beginning: String,
        /// The number of its tokens.
        found: usize,
        /// The number of the encoder's positions.
        longest: usize,
    },
    /// The tokenizer fails.
    #[error("{0}")]
    Encode(String),
    /// There are too few tokens, or too many.
    #[error("a sentence has {found} tokens; 1 to {longest} were expected")]
    Tokens {
        /// The number of tokens.
        found: usize,
        /// The number of the encoder's positions.
        longest: usize,
    },
    /// The graph cannot be built or loaded.
    #[error(transparent)]
    Load(#[from] bitquilt::Error),
    /// The run failed.
    #[error(transparent)]
    Run(#[from] RunError),
}

impl EncoderError {
    /// The error for a sentence about the file at `path`.
    pub(super) fn contents(path: &Path, problem: impl ToString) -> Self {
        Self::Contents { path: path.to_owned(), problem: problem.to_string() }
    }
}
