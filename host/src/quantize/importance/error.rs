//! Why there is no importance, or none for a model.

use std::path::PathBuf;

use crate::checkpoint::CheckpointError;
use crate::text::Brief;

/// Why importance is not read, written, merged or used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImportanceError {
    /// A file was not read or written.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    /// A file holds something else.
    #[error("{}: {problem}", .path.display())]
    Contents {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// What a file holds for a weight is no importance.
    #[error("{}, tensor `{}`: {problem}", .path.display(), Brief(.tensor))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor, or the weight where those of a file have no names of their own.
        tensor: String,
        /// What is wrong with it.
        problem: String,
    },
    /// What is given for a weight is no importance.
    #[error("the importance of `{}` {problem}", Brief(.weight))]
    Means {
        /// The weight.
        weight: String,
        /// What is wrong with it.
        problem: String,
    },
    /// Means of unknown numbers of rows cannot be weighed against others.
    #[error(
        "{}: it does not say how many rows its means are of, and cannot be merged with others; merge what `bitquilt importance` or \
         llama.cpp wrote", Brief(.importance)
    )]
    Uncounted {
        /// The files.
        importance: String,
    },
    /// A weight has other columns in one file than in another.
    #[error(
        "`{}` has {columns} columns in {} and {other_columns} in {}; importance of one model can be merged", Brief(.weight), Brief(.one),
        Brief(.other)
    )]
    OtherColumns {
        /// The weight.
        weight: String,
        /// The files that were read before.
        one: String,
        /// The columns there.
        columns: usize,
        /// The other file.
        other: String,
        /// The columns there.
        other_columns: usize,
    },
    /// There was nothing to record it on.
    #[error("there are no inputs to record importance on")]
    NoInputs,
    /// A graph has nothing to record it of.
    #[error("the graph has no weight: no constant that an op multiplies row by row")]
    NoWeights,
    /// The importance is that of another model.
    #[error(
        "{} has importance for weights such as `{}`, and none for a weight of the model, such as `{}`; record it from this model, or from \
         a file with the same names", Brief(.importance), Brief(.found), Brief(.expected)
    )]
    OtherModel {
        /// The files.
        importance: String,
        /// A weight there.
        found: String,
        /// A weight of the model.
        expected: String,
    },
    /// The columns are not those of the weight.
    #[error("{}: `{}` has {found} columns there, and {} in the model", Brief(.importance), Brief(.weight), expected(*.columns, *.matrices))]
    Columns {
        /// The files.
        importance: String,
        /// The weight.
        weight: String,
        /// The columns there.
        found: usize,
        /// Those of one of the weight's matrices.
        columns: usize,
        /// The number of its matrices.
        matrices: usize,
    },
}

fn expected(columns: usize, matrices: usize) -> String {
    match matrices {
        1 => columns.to_string(),
        matrices => format!("{columns}, or {matrices} times as many for each matrix,"),
    }
}
