//! What the stages of loading a graph share.

use std::collections::HashMap;

use bitquilt_plugin_api::Executor;

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
    let is_state = |place: &usize| signature.is_some_and(|signature| signature.is_state(*place));
    node.places.iter().map(is_state).collect()
}

/// The group of a node's effect.
pub(super) fn effect<'a>(node: &NodeData, registry: &'a Registry) -> Option<&'a str> {
    registry.op(&node.op)?.signature().effect.as_deref()
}

/// Whether a node does something that a later run or the world sees: it writes a state, or has an effect.
pub(super) fn acts(node: &NodeData, registry: &Registry) -> bool {
    state_inputs(node, registry).contains(&true) || effect(node, registry).is_some()
}

/// Whether a node gives the same each time, and does nothing else.
pub(super) fn is_pure(node: &NodeData, registry: &Registry) -> bool {
    registry.op(&node.op).is_some_and(|op| op.signature().pure) && !acts(node, registry)
}
