//! Why a run failed.

use bitquilt_plugin_api::TensorType;

use crate::tensor::TensorError;
use crate::text::{Brief, List, Passage, Quoted};

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An input that the graph does not have.
    #[error("the graph has no input `{}`; it has {}", Brief(.input), Quoted(.known))]
    UnknownInput {
        /// The input.
        input: String,
        /// Those it has.
        known: Vec<String>,
    },
    /// A value for a symbol that the graph does not have.
    #[error("the graph has no symbol `{}`; it has {}", Brief(.symbol), if .known.is_empty() { "none".to_owned() } else { List(.known).to_string() })]
    UnknownSymbol {
        /// The symbol.
        symbol: String,
        /// Those it has.
        known: Vec<String>,
    },
    /// An input was not given, or twice.
    #[error("the input `{}` was given {times} times; give each input once", Brief(.input))]
    InputTimes {
        /// The input.
        input: String,
        /// How often it was given.
        times: usize,
    },
    /// An input is not of its type.
    #[error("the input `{}` is {}, {} was given", Brief(.input), Brief(&.expected.to_string()), Brief(.found))]
    InputType {
        /// The input.
        input: String,
        /// Its type.
        expected: TensorType,
        /// What was given.
        found: String,
    },
    /// A view's bytes are not those of its shape.
    #[error("the input `{}` has {found} bytes, its shape needs {expected}", Brief(.input))]
    InputBytes {
        /// The input.
        input: String,
        /// Bytes its shape needs.
        expected: usize,
        /// Bytes there were.
        found: usize,
    },
    /// Two inputs bind a symbol to different numbers.
    #[error("the input `{}` makes `{symbol}` {found}, another dimension has made it {bound}", Brief(.input))]
    SymbolConflict {
        /// The input.
        input: String,
        /// The symbol.
        symbol: String,
        /// What it was bound to before.
        bound: usize,
        /// What this input says.
        found: usize,
    },
    /// A shape makes no sense for these inputs.
    #[error("{}", Passage(.0.message()))]
    Shape(bitquilt_plugin_api::Error),
    /// A tensor is too large.
    #[error(transparent)]
    Tensor(TensorError),
    /// There is not so much memory.
    #[error("{what} needs {bytes} bytes of memory, which this machine does not have")]
    TooLarge {
        /// What needs it.
        what: String,
        /// The bytes; where they are more than can be addressed, without the sharing of memory.
        bytes: u128,
    },
    /// A kernel asks for more memory than there can be.
    #[error("node `{}` ({op}): its kernel asks for {per_worker} bytes of scratch memory for each worker", Brief(.node))]
    Scratch {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
        /// The bytes.
        per_worker: usize,
    },
    /// A kernel failed.
    #[error("node `{}` ({op}): {}", Brief(.node), Passage(.source.message()))]
    Node {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
        /// What it said.
        source: bitquilt_plugin_api::Error,
    },
    /// It was [asked to stop](crate::interrupt::Interrupt).
    #[error("the run was interrupted before it was done")]
    Interrupted,
    /// No such output.
    #[error("the graph has no output `{}`; it has {}", Brief(.output), Quoted(.known))]
    UnknownOutput {
        /// The output.
        output: String,
        /// Those it has.
        known: Vec<String>,
    },
}
