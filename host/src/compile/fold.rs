//! Constant folding: what does not depend on a run is computed once, at load.

use std::collections::{HashMap, HashSet};

use super::context::{LoadContext, Part, is_pure};
use super::error::LoadError;
use super::prepare::{PreparedKernels, program};
use crate::graph::{Graph, NodeData, Source};
use crate::ops::first_overflow;
use crate::run::run_once;
use crate::tensor::{Tensor, dense_bytes};

/// What was computed at load.
#[derive(Default)]
pub(super) struct Folded {
    /// The nodes that need not run.
    pub(super) nodes: HashSet<usize>,
    /// Those of their values that other nodes or outputs take.
    pub(super) tensors: HashMap<usize, Tensor>,
}

/// The bytes that folded nodes may yield, all together, in a graph with few constants.
const FOLDED_BYTES: usize = 256 << 20;
/// How many times the bytes of the graph's constants they may yield where that is more.
const FOLDED_TIMES: usize = 4;

/// Computes the nodes whose inputs are all constants.
///
/// Nodes that take encoded data stay: an encoded constant is never turned into a dense one. So do those that yield more than all
/// folded nodes may: 256 MiB, or four times the bytes of the graph's constants. A small file is not made a large model by it.
pub(super) fn fold(graph: &Graph, live: &[usize], cx: &LoadContext<'_>) -> Result<Folded, LoadError> {
    let mut nodes = HashSet::new();
    let mut left = FOLDED_BYTES.max(FOLDED_TIMES.saturating_mul(constant_bytes(graph)));
    for node in live {
        let data = &graph.nodes[*node];
        let constant = |value: &usize| match &graph.values[*value].source {
            Source::Constant(tensor) => tensor.encoding().is_none(),
            Source::Node { node, .. } => nodes.contains(node),
            Source::Input(_) | Source::State(_) => false,
        };
        let encoded = data.outputs.iter().any(|value| graph.values[*value].tensor.encoding().is_some());
        if !data.inputs.is_empty()
            && data.inputs.iter().all(constant)
            && !encoded
            && is_pure(data, cx.registry)
            && let Some(rest) = yielded_bytes(graph, data).and_then(|bytes| left.checked_sub(bytes))
        {
            left = rest;
            nodes.insert(*node);
        }
    }
    if nodes.is_empty() {
        return Ok(Folded::default());
    }
    let taken_outside =
        live.iter().filter(|node| !nodes.contains(node)).flat_map(|node| &graph.nodes[*node].inputs);
    let asked_for = graph.outputs.iter().map(|port| &port.value);
    let casts = || live.iter().map(|node| &graph.nodes[*node]).filter(|data| data.op == "cast");
    let looked_at = casts().flat_map(|data| &data.inputs);
    let mut frontier: Vec<usize> = taken_outside
        .chain(asked_for)
        .chain(looked_at)
        .copied()
        .filter(
            |value| matches!(graph.values[*value].source, Source::Node { node, .. } if nodes.contains(&node)),
        )
        .collect();
    frontier.sort_unstable();
    frontier.dedup();
    let part = Part {
        nodes: live.iter().copied().filter(|node| nodes.contains(node)).collect(),
        outputs: frontier.iter().map(|value| (value.to_string(), *value)).collect(),
        constants: HashMap::new(),
    };
    let mut constants = program(graph, part, cx, &mut PreparedKernels::default(), &mut |_, _| {})?;
    // A folded node depends on no input, and so on no symbol.
    (constants.inputs, constants.symbols, constants.states) = (Vec::new(), Vec::new(), Vec::new());
    let tensors =
        run_once(&constants, cx.registry, cx.executor).map_err(|error| LoadError::Fold(Box::new(error)))?;
    let tensors: HashMap<usize, Tensor> = frontier.into_iter().zip(tensors).collect();
    casts().try_for_each(|data| check_cast(graph, data, &tensors))?;
    Ok(Folded { nodes, tensors })
}

/// Whether a cast of a constant keeps its numbers finite.
fn check_cast(graph: &Graph, node: &NodeData, folded: &HashMap<usize, Tensor>) -> Result<(), LoadError> {
    let constant = |value: &usize| match &graph.values[*value].source {
        Source::Constant(tensor) => Some(tensor),
        _ => folded.get(value),
    };
    let input = node.inputs.first().and_then(constant);
    let dtype = node.outputs.first().and_then(|value| graph.values[*value].tensor.dtype());
    let (Some(input), Some(dtype)) = (input, dtype) else { return Ok(()) };
    match first_overflow(input, dtype) {
        None => Ok(()),
        Some((index, value)) => Err(LoadError::CastOverflow { node: node.name.clone(), dtype, index, value }),
    }
}

/// The bytes of a graph's constants, those of clones once.
fn constant_bytes(graph: &Graph) -> usize {
    let constants = graph.values.iter().filter_map(|value| match &value.source {
        Source::Constant(tensor) => Some((tensor.bytes().as_ptr().addr(), tensor.bytes().len())),
        _ => None,
    });
    let distinct: HashMap<usize, usize> = constants.collect();
    distinct.into_values().fold(0, usize::saturating_add)
}

/// The bytes of memory that a node's outputs take; none if they are not known.
fn yielded_bytes(graph: &Graph, node: &NodeData) -> Option<usize> {
    node.outputs.iter().try_fold(0usize, |sum, value| {
        let data = &graph.values[*value];
        match data.source {
            Source::Node { alias: Some(_), .. } => Some(sum),
            _ => sum.checked_add(dense_bytes(data.tensor.dtype()?, &data.tensor.fixed_shape()?).ok()?),
        }
    })
}
