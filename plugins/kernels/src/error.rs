//! Errors.

use bitquilt_simd::IsaError;

/// Why a weight cannot be prepared, or a product not be computed.
#[derive(Debug, thiserror::Error)]
pub enum KernelError {
    /// The generic path is for such an encoding.
    #[error("there is no kernel for encoding {encoding:?}, only for {known}")]
    Encoding {
        /// Its name.
        encoding: String,
        /// The names of those that have kernels.
        known: String,
    },
    /// The machine does not have the instruction set that was asked for.
    #[error(transparent)]
    Isa(#[from] IsaError),
    /// Rows are not whole blocks.
    #[error("rows of a weight have {n} values, which is no positive multiple of {step}")]
    RowLength {
        /// Values of a row.
        n: usize,
        /// What they should be a multiple of.
        step: usize,
    },
    /// The weight's bytes are not what its shape says.
    #[error("a weight of {p} rows of {n} values has {expected} bytes, got {got}")]
    WeightBytes {
        /// Values of a row.
        n: usize,
        /// Rows.
        p: usize,
        /// Bytes of such a weight.
        expected: usize,
        /// Bytes that were passed.
        got: usize,
    },
    /// The activations are not rows of the weight's length.
    #[error("{values} activations are not rows of {n} values, a positive multiple of {step}")]
    Activations {
        /// Values of a row.
        n: usize,
        /// What they should be a multiple of.
        step: usize,
        /// Values that were passed.
        values: usize,
    },
    /// The stored activations are not those of the product.
    #[error("stored activations have {got} bytes, expected {expected}")]
    ActivationBytes {
        /// Bytes that the format says.
        expected: usize,
        /// Bytes that were passed.
        got: usize,
    },
    /// The output is not that of the product.
    #[error("the output has {got} values, expected {expected}")]
    Output {
        /// Values of the product.
        expected: usize,
        /// Values that were passed.
        got: usize,
    },
    /// Rows of the weight cannot be made.
    #[error(transparent)]
    Rows(bitquilt_plugin_api::Error),
    /// A worker's memory for unpacked rows is too small.
    #[error("a worker has {got} bytes for unpacked rows, expected {expected}")]
    Scratch {
        /// Bytes that rows of the weight unpack to.
        expected: usize,
        /// Bytes that a worker has.
        got: usize,
    },
    /// The system has no memory for the prepared weight.
    #[error(transparent)]
    Memory(bitquilt_plugin_api::Error),
}
