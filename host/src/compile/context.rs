//! What the stages of loading a graph share.

use std::collections::HashMap;

use bitquilt_plugin_api::{Executor, InputKind};

use crate::graph::{Graph, NodeData, Source};
use crate::registry::Registry;
use crate::tensor::Tensor;

/// What a session has to load graphs with.
pub(crate) struct LoadContext<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) options: &'a [(String, String)],
    pub(crate) executor: Executor<'a>,
}

/// A part of a graph that is made a program of.
pub(super) struct Part {
    /// Its nodes, in an order in which they can run.
    pub(super) nodes: Vec<usize>,
    /// The values that it yields.
    pub(super) outputs: Vec<(String, usize)>,
    /// Values of other nodes that are known already.
    pub(super) constants: HashMap<usize, Tensor>,
}

impl Part {
    /// The tensor of a value that is the same for every run.
    pub(super) fn constant<'a>(&'a self, graph: &'a Graph, value: usize) -> Option<&'a Tensor> {
        self.constants.get(&value).or(match &graph.values[value].source {
            Source::Constant(tensor) => Some(tensor),
            _ => None,
        })
    }
}

/// Which inputs of a node it writes.
pub(super) fn state_inputs(node: &NodeData, registry: &Registry) -> Vec<bool> {
    let signature = registry.op(&node.op).map(|op| op.signature());
    let is_state = |index| signature.is_some_and(|signature| signature.is_state(index));
    (0..node.inputs.len()).map(is_state).collect()
}

/// Whether a node writes a state.
pub(super) fn writes_state(node: &NodeData, registry: &Registry) -> bool {
    registry
        .op(&node.op)
        .is_some_and(|op| op.signature().inputs.iter().any(|input| input.kind == InputKind::State))
}
