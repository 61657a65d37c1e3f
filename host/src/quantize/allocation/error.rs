//! Why no encodings are chosen.

use std::path::PathBuf;

use crate::encoding::QuantizeError;
use crate::error::Error;
use crate::file::FileError;
use crate::interrupt::Interrupt;
use crate::plan::RunError;
use crate::registry::UnknownEncoding;
use crate::text::Brief;

/// An error if the work is to stop.
pub(super) fn go_on() -> Result<(), AllocationError> {
    if Interrupt::is_current_requested() { Err(AllocationError::Interrupted) } else { Ok(()) }
}

/// Why encodings cannot be chosen for a model.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AllocationError {
    /// It was [asked to stop](crate::interrupt::Interrupt). What was measured is in the cache, from which the next search goes on.
    #[error("the search was interrupted before it was done")]
    Interrupted,
    /// There is nothing to choose for.
    #[error("there are no weights of rank 2 or more to choose encodings for")]
    NoWeights,
    /// There is nothing to measure on.
    #[error("there are no inputs to measure the loss on")]
    NoInputs,
    /// An encoding is not registered.
    #[error(transparent)]
    UnknownEncoding(#[from] UnknownEncoding),
    /// The target is below the least.
    #[error(
        "the target of {target} bytes is below what is possible: the {weights} weights take {least} bytes ({bits:.3} bits a value) at least, with {encodings}"
    )]
    TooSmall {
        /// The target, in bytes.
        target: u64,
        /// How many weights there are.
        weights: usize,
        /// The least, in bytes.
        least: u64,
        /// The same in bits a value.
        bits: f64,
        /// The encodings of the least, and how many weights have each.
        encodings: String,
    },
    /// The recipe fixes more than the target.
    #[error(
        "the recipe fixes the encodings of {weights} weights, which take {fixed} bytes; the target for all weights is {target} bytes"
    )]
    FixedTooLarge {
        /// How many weights it fixes.
        weights: usize,
        /// Their bytes.
        fixed: u64,
        /// The target, in bytes.
        target: u64,
    },
    /// A weight could not be encoded.
    #[error("tensor `{}`: {source}", Brief(.weight))]
    Weight {
        /// The weight.
        weight: String,
        /// Why.
        source: QuantizeError,
    },
    /// No output depends on a weight.
    #[error("no output of the graph depends on the weight `{}`: it has no loss that could be measured; exclude it", Brief(.weight))]
    Unused {
        /// The weight.
        weight: String,
    },
    /// The outputs of the model as it is are not finite.
    #[error("the output `{}` of the model as it is holds what is no finite number: no loss can be measured", Brief(.output))]
    ReferenceNotFinite {
        /// The output.
        output: String,
    },
    /// A probe has outputs that are not finite.
    #[error("with `{}` as {encoding} the outputs are no finite numbers; leave that encoding out of --encodings", Brief(.weight))]
    ProbeNotFinite {
        /// The weight, or the first of several.
        weight: String,
        /// The encoding.
        encoding: String,
    },
    /// No output holds floating-point values.
    #[error("no output of the graph holds floating-point values: there is no loss that could be measured")]
    NoFloatOutputs,
    /// A file that is no cache of this version.
    #[error("{} is no cache of this version ({problem}); delete it, or choose another directory for caches", .path.display())]
    Cache {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The cache was not read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A graph was not built or loaded.
    #[error(transparent)]
    Graph(#[from] Error),
    /// A run failed.
    #[error(transparent)]
    Run(#[from] RunError),
}
