//! What can be wrong with a graph.

use std::path::PathBuf;

use bitquilt_plugin_api::{SignatureError, TensorType};

use super::limits::{MAX_RANK, MAX_TYPES_TEXT};
use crate::encoding::QuantizeError;
use crate::registry::UnknownEncoding;
use crate::text::{Brief, List, Passage, Quoted};

/// Why a graph could not be built as asked.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum GraphError {
    /// A node is wrong.
    #[error("node `{}` ({}): {problem}", Brief(.node), Brief(.op))]
    Node {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
        /// What is wrong with it.
        problem: NodeProblem,
    },
    /// The name of an input, output or state is empty or taken.
    #[error("\"{}\" cannot be the name of another {what}: it is empty, or taken already", Brief(.name))]
    PortName {
        /// `input`, `output` or `state`.
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A value has too many dimensions.
    #[error("{what} has {found} dimensions; a value of a graph has at most {MAX_RANK}")]
    Rank {
        /// The value.
        what: String,
        /// Its number of dimensions.
        found: usize,
    },
    /// The type of an input or state makes no sense.
    #[error("the {what} `{}` {problem}", Brief(.name))]
    PortType {
        /// `input` or `state`.
        what: &'static str,
        /// Its name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// A state's type is not one of numbers alone.
    #[error("the state `{}` is {}; a state has a dtype and dimensions that are numbers", Brief(.state), brief(.found))]
    StateType {
        /// Its name.
        state: String,
        /// Its type.
        found: TensorType,
    },
    /// An output is another graph's value.
    #[error("the output `{}` is a value of another graph", Brief(.output))]
    ForeignOutput {
        /// Its name.
        output: String,
    },
    /// An output is a state's former version.
    #[error(
        "the output `{}` is a state that node `{}` has written since; take what that node yields",
        Brief(.output), Brief(.writer)
    )]
    OverwrittenOutput {
        /// Its name.
        output: String,
        /// The node that wrote the state.
        writer: String,
    },
    /// A graph has no node of a name.
    #[error("the graph has no node `{}`", Brief(.node))]
    NoSuchNode {
        /// The name.
        node: String,
    },
    /// A graph cannot be cut in two before a node.
    #[error("the graph cannot be cut before node `{}`: the state `{}` is used on both sides", Brief(.node), Brief(.state))]
    CutState {
        /// The node.
        node: String,
        /// The state.
        state: String,
    },
    /// A file has no graph, or a malformed one.
    #[error("{} has no graph that can be read: {}", .path.display(), Passage(.problem))]
    File {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// No such encoding.
    #[error(transparent)]
    UnknownEncoding(#[from] UnknownEncoding),
    /// A constant could not be encoded.
    #[error(transparent)]
    Quantize(#[from] QuantizeError),
}

/// What is wrong with a node.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum NodeProblem {
    /// No such op.
    #[error("no op of this name is registered; there are {}", List(.known))]
    UnknownOp {
        /// All that are.
        known: Vec<String>,
    },
    /// Another node has the name.
    #[error("another node has this name")]
    DuplicateName,
    /// The inputs or attributes are not what the op's signature says.
    #[error(transparent)]
    Signature(#[from] SignatureError),
    /// An input is another graph's value.
    #[error("input `{input}` is a value of another graph")]
    ForeignValue {
        /// The input.
        input: String,
    },
    /// Encoded data for an op that wants values.
    #[error("input `{input}` is encoded as {encoding}, and this op takes decoded values only; {encoding} data is taken by {}", Quoted(.takers))]
    EncodedInput {
        /// The input.
        input: String,
        /// The encoding.
        encoding: String,
        /// The ops that take data of this encoding.
        takers: Vec<String>,
    },
    /// Something else for an op that wants a state.
    #[error("input `{input}` is no state; make one with `Graph::state`")]
    NotAState {
        /// The input.
        input: String,
    },
    /// A state's former version.
    #[error("input `{input}` is a state that node `{}` has written since; take what that node yields", Brief(.writer))]
    Overwritten {
        /// The input.
        input: String,
        /// The node that wrote the state.
        writer: String,
    },
    /// An attribute is a shape of too many dimensions.
    #[error("the attribute `{attribute}` has {found} dimensions; a value of a graph has at most {MAX_RANK}")]
    AttributeRank {
        /// The attribute.
        attribute: String,
        /// Its number of dimensions.
        found: usize,
    },
    /// The types of the inputs are too long.
    #[error("the types of its inputs are longer than {MAX_TYPES_TEXT} bytes when they are written out")]
    TypesTooLong,
    /// The op refused its inputs.
    #[error("{}", Passage(.0.message()))]
    Refused(bitquilt_plugin_api::Error),
    /// The op's own answer makes no sense.
    #[error("its `infer` {}; that is a fault of the op", Passage(.0))]
    BadInference(String),
    /// An op of several outputs where one was asked for.
    #[error("it yields {found} values, one was asked for; use `NodeBuilder::values`")]
    SeveralOutputs {
        /// How many it yields.
        found: usize,
    },
}

/// A type, whose dimensions may be long sums.
fn brief(tensor: &TensorType) -> String {
    Brief(&tensor.to_string()).to_string()
}
