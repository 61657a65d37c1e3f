//! Loading a graph: from nodes to a program that runs.
//!
//! live nodes ([`live_nodes`]) -> validation ([`validate`]) -> constant folding ([`fold`]) -> kernels and what they prepare
//! ([`prepare`]) -> a [`Program`].

mod context;
mod error;
mod explain;
mod fold;
mod prepare;
mod validate;
mod weights;

use self::context::{Part, acts};
use crate::graph::{Graph, Source};
use crate::plan::Program;
use crate::registry::Registry;
pub(crate) use context::LoadContext;
pub use error::LoadError;
pub(crate) use explain::explain;
pub use explain::{ExplainedNode, ExplainedOutput, Explanation};
pub(crate) use prepare::PreparedKernels;

/// Makes a program of a graph, with the kernels of `prepared` where nodes are equal; those that are prepared for it are added. `progress`
/// is told how many bytes of constants are prepared for kernels, and how many there are.
pub(crate) fn compile(
    graph: &Graph,
    cx: &LoadContext<'_>,
    prepared: &mut PreparedKernels,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Program, LoadError> {
    if graph.outputs.is_empty() {
        return Err(LoadError::NoOutputs);
    }
    validate::check_symbols(graph)?;
    let live = live_nodes(graph, cx.registry);
    for node in &live {
        validate::check_node(graph, &graph.nodes[*node], cx)?;
    }
    let constants = fold::fold(graph, &live, cx)?;
    let part = Part {
        nodes: live.into_iter().filter(|node| !constants.nodes.contains(node)).collect(),
        outputs: graph.outputs.iter().map(|port| (port.name.clone(), port.value)).collect(),
        constants: constants.tensors,
    };
    prepare::program(graph, part, cx, prepared, progress)
}

/// The nodes that an output needs, that write a state or that have an effect, in the order in which they were added.
pub(crate) fn live_nodes(graph: &Graph, registry: &Registry) -> Vec<usize> {
    let mut live = vec![false; graph.nodes.len()];
    let mut pending: Vec<usize> =
        graph.outputs.iter().filter_map(|port| producer(graph, port.value)).collect();
    pending.extend((0..graph.nodes.len()).filter(|node| acts(&graph.nodes[*node], registry)));
    while let Some(node) = pending.pop() {
        if !std::mem::replace(&mut live[node], true) {
            pending.extend(graph.nodes[node].inputs.iter().filter_map(|value| producer(graph, *value)));
        }
    }
    (0..live.len()).filter(|node| live[*node]).collect()
}

fn producer(graph: &Graph, value: usize) -> Option<usize> {
    match graph.values[value].source {
        Source::Node { node, .. } => Some(node),
        _ => None,
    }
}
