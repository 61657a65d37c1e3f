//! Loading a graph: from nodes to a program that runs.
//!
//! validation ([`validate`]) -> live nodes ([`live_nodes`]) -> constant folding ([`fold`]) -> kernels and what they prepare
//! ([`prepare`]) -> a [`Program`]. A [`Layout`] is made of it for each binding of the symbols.

mod error;
mod explain;
mod fold;
mod layout;
mod planner;
mod prepare;
mod program;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bitquilt_plugin_api::{Executor, InputKind, TensorType};

use crate::graph::{Graph, NodeContext, NodeData, Source, check_outputs, input_spec};
use crate::plugin::Registry;
use crate::tensor::Tensor;
pub use error::LoadError;
pub(crate) use explain::explain;
pub use explain::{ExplainedNode, ExplainedOutput, Explanation};
pub(crate) use layout::{Layout, Origin, PlacedValue};
pub(crate) use program::{OutputPort, Place, Program, Step};

/// What a session has for loading graphs.
pub(crate) struct Loader<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) options: &'a [(String, String)],
    pub(crate) executor: Executor<'a>,
}

/// Makes a program of a graph. `progress` is told how many bytes of constants are prepared for kernels, and how many there are.
pub(crate) fn compile(
    graph: &Graph,
    loader: &Loader<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Program, LoadError> {
    if graph.outputs.is_empty() {
        return Err(LoadError::NoOutputs);
    }
    check_symbols(graph)?;
    let live = live_nodes(graph, loader.registry);
    for node in &live {
        validate(graph, &graph.nodes[*node], loader)?;
    }
    let constants = fold::fold(graph, &live, loader)?;
    let part = Part {
        nodes: live.into_iter().filter(|node| !constants.nodes.contains(node)).collect(),
        outputs: graph.outputs.iter().map(|port| (port.name.clone(), port.value)).collect(),
        constants: constants.tensors,
    };
    prepare::program(graph, part, loader, progress)
}

/// A part of a graph that is made a program of.
pub(crate) struct Part {
    /// Its nodes, in an order in which they can run.
    nodes: Vec<usize>,
    /// The values that it yields.
    outputs: Vec<(String, usize)>,
    /// Values of other nodes that are known already.
    constants: HashMap<usize, Tensor>,
}

impl Part {
    /// The tensor of a value that is the same for every run.
    fn constant<'a>(&'a self, graph: &'a Graph, value: usize) -> Option<&'a Tensor> {
        self.constants.get(&value).or(match &graph.values[value].source {
            Source::Constant(tensor) => Some(tensor),
            _ => None,
        })
    }
}

/// Every symbol is a dimension of its own of some input, so that a run can bind it.
fn check_symbols(graph: &Graph) -> Result<(), LoadError> {
    let dims = || graph.inputs.iter().flat_map(|port| &graph.values[port.value].tensor.shape);
    let bound: BTreeSet<&str> = dims().filter_map(|dim| dim.as_symbol()).collect();
    for port in &graph.inputs {
        let symbols = graph.values[port.value].tensor.shape.iter().flat_map(|dim| dim.symbols());
        if let Some(symbol) = symbols.into_iter().find(|symbol| !bound.contains(symbol)) {
            return Err(LoadError::UnboundSymbol { symbol: symbol.to_owned(), input: port.name.clone() });
        }
    }
    Ok(())
}

/// The nodes that an output needs or that write a state, in order.
fn live_nodes(graph: &Graph, registry: &Registry) -> Vec<usize> {
    let mut live = vec![false; graph.nodes.len()];
    let mut pending: Vec<usize> =
        graph.outputs.iter().filter_map(|port| producer(graph, port.value)).collect();
    pending.extend((0..graph.nodes.len()).filter(|node| writes_state(&graph.nodes[*node], registry)));
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

fn writes_state(node: &NodeData, registry: &Registry) -> bool {
    registry
        .op(&node.op)
        .is_some_and(|op| op.signature().inputs.iter().any(|input| input.kind == InputKind::State))
}

/// Whether a node is, for the session that loads it, what it was when the graph was built.
fn validate(graph: &Graph, node: &NodeData, loader: &Loader<'_>) -> Result<(), LoadError> {
    let op = loader
        .registry
        .op(&node.op)
        .ok_or_else(|| LoadError::UnknownOp { node: node.name.clone(), op: node.op.clone() })?;
    let inputs: Vec<TensorType> =
        node.inputs.iter().map(|value| graph.values[*value].tensor.clone()).collect();
    let mut constants = Vec::with_capacity(inputs.len());
    for value in &node.inputs {
        let Source::Constant(tensor) = &graph.values[*value].source else {
            constants.push(None);
            continue;
        };
        if let Some(spec) = tensor.encoding() {
            let same = loader.registry.require_encoding(&spec.name).map_err(LoadError::from);
            same.and_then(|encoding| encoding.check_same(tensor).map_err(LoadError::from))
                .map_err(|error| LoadError::Constant { node: node.name.clone(), source: Box::new(error) })?;
        }
        constants.push(Some(tensor));
    }
    let context = NodeContext {
        op: &node.op,
        attributes: &node.attributes,
        inputs: &inputs,
        outputs: &[],
        constants,
        registry: loader.registry,
        options: loader.options,
        executor: loader.executor,
    };
    let refused = |problem| LoadError::Node { node: node.name.clone(), op: node.op.clone(), problem };
    let outputs =
        op.handle.infer(&context).map_err(|error| refused(crate::graph::NodeProblem::Refused(error)))?;
    check_outputs(op, &inputs, &outputs, loader.registry).map_err(refused)?;
    let as_built = node.outputs.iter().map(|value| {
        let data = &graph.values[*value];
        let alias = match data.source {
            Source::Node { alias, .. } => alias,
            _ => None,
        };
        (&data.tensor, alias)
    });
    if !outputs.iter().map(|output| (&output.tensor, output.alias)).eq(as_built) {
        return Err(LoadError::InferenceChanged { node: node.name.clone(), op: node.op.clone() });
    }
    Ok(())
}

/// Which inputs of a node it writes.
fn state_inputs(node: &NodeData, registry: &Registry) -> Vec<bool> {
    let signature = registry.op(&node.op).map(|op| op.signature());
    let is_state = |index| {
        signature
            .and_then(|signature| input_spec(signature, index))
            .is_some_and(|spec| spec.kind == InputKind::State)
    };
    (0..node.inputs.len()).map(is_state).collect()
}

/// The symbols of a graph's inputs, sorted.
fn symbols(graph: &Graph) -> Vec<String> {
    let dims = graph.inputs.iter().flat_map(|port| &graph.values[port.value].tensor.shape);
    let symbols: BTreeSet<String> = dims.flat_map(|dim| dim.symbols()).map(str::to_owned).collect();
    symbols.into_iter().collect()
}

/// Values of a symbol table, by symbol.
pub(crate) fn bindings_of(symbols: &[String], values: &[usize]) -> BTreeMap<String, usize> {
    symbols.iter().cloned().zip(values.iter().copied()).collect()
}
