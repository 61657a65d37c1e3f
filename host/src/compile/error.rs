//! Why a graph could not be loaded.

use crate::encoding::QuantizeError;
use crate::graph::NodeProblem;
use crate::plan::RunError;
use crate::registry::UnknownEncoding;
use crate::text::{Brief, Passage};

/// Why a graph could not be loaded.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum LoadError {
    /// It was [asked to stop](crate::interrupt::Interrupt).
    #[error("loading was interrupted before it was done")]
    Interrupted,
    /// Nothing is asked for.
    #[error("the graph has no outputs; name what it is to compute with `Graph::output`")]
    NoOutputs,
    /// A symbol that no run could bind.
    #[error(
        "the symbol `{symbol}` of input `{}` cannot be bound: no input has it as a dimension of its own", Brief(.input)
    )]
    UnboundSymbol {
        /// The symbol.
        symbol: String,
        /// An input that has it.
        input: String,
    },
    /// The states are larger than memory can be.
    #[error("the graph's states need {bytes} bytes of memory, more than this machine can address")]
    States {
        /// The bytes of all states.
        bytes: u128,
    },
    /// The session lacks an op.
    #[error("node `{}`: this session has no op `{op}`; load the plugin that it is in", Brief(.node))]
    UnknownOp {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
    },
    /// The session lacks an encoding, or has another version of it.
    #[error("node `{}`: {source}", Brief(.node))]
    Constant {
        /// The node that takes the constant.
        node: String,
        /// What is wrong.
        source: Box<LoadError>,
    },
    /// The session's op refuses what the graph's took.
    #[error("node `{}` ({op}): {problem}", Brief(.node))]
    Node {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
        /// What is wrong.
        problem: NodeProblem,
    },
    /// The session's op of this name takes other inputs than the graph's.
    #[error(
        "node `{}` ({op}): this session's op takes other inputs than the one that the graph was built with; load the same plugin",
        Brief(.node)
    )]
    SignatureChanged {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
    },
    /// An op's inference is not what it was when the graph was built.
    #[error(
        "node `{}` ({op}): `infer` answers other types than when the graph was built; an op must answer the same each time",
        Brief(.node)
    )]
    InferenceChanged {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
    },
    /// Nothing can run a node.
    #[error("node `{}` ({op}): no kernel can run it here: {}", Brief(.node), Passage(&.reasons.join("; ")))]
    NoKernel {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
        /// Why each kernel cannot, or that there is none.
        reasons: Vec<String>,
    },
    /// A kernel could not be prepared.
    #[error("node `{}` ({op}): the kernel `{kernel}` could not be prepared: {}", Brief(.node), Passage(.source.message()))]
    Prepare {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
        /// The kernel's name.
        kernel: String,
        /// What it said.
        source: bitquilt_plugin_api::Error,
    },
    /// A kernel releases or transforms an input that it cannot.
    #[error("node `{}` ({op}): the kernel `{kernel}` {problem}; that is a fault of the kernel", Brief(.node))]
    BadKernel {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
        /// The kernel's name.
        kernel: String,
        /// What is wrong.
        problem: String,
    },
    /// A constant has a number that is too large for the dtype that it is cast to.
    #[error(
        "node `{}` (cast): its constant input has {value:?} at index {index}, which would be infinite as {dtype}; cast it to a wider \
         dtype, scale the constant, or write an infinity where one is meant",
        Brief(.node)
    )]
    CastOverflow {
        /// The node's name.
        node: String,
        /// The dtype.
        dtype: bitquilt_plugin_api::DType,
        /// Index of the first such number, in row-major order.
        index: usize,
        /// The number.
        value: f64,
    },
    /// A part of the graph that does not depend on inputs could not be computed.
    #[error("the graph's constant part: {0}")]
    Fold(Box<RunError>),
    /// No such encoding.
    #[error(transparent)]
    UnknownEncoding(#[from] UnknownEncoding),
    /// A constant is of another encoding or version.
    #[error(transparent)]
    Encoding(#[from] QuantizeError),
}
