//! Whether a graph is, for the session that loads it, what it was when it was built.

use std::collections::BTreeSet;

use bitquilt_plugin_api::TensorType;

use super::context::LoadContext;
use super::error::LoadError;
use crate::graph::{Graph, NodeContext, NodeData, NodeProblem, Source, check_outputs};

/// Every symbol is a dimension of its own of some input, so that a run can bind it.
pub(super) fn check_symbols(graph: &Graph) -> Result<(), LoadError> {
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

/// Whether a node is, for the session that loads it, what it was when the graph was built.
pub(super) fn check_node(graph: &Graph, node: &NodeData, cx: &LoadContext<'_>) -> Result<(), LoadError> {
    let op = cx
        .registry
        .op(&node.op)
        .ok_or_else(|| LoadError::UnknownOp { node: node.name.clone(), op: node.op.clone() })?;
    let as_built = graph.registry().op(&node.op).map(|op| &op.signature().inputs);
    if as_built != Some(&op.signature().inputs) {
        return Err(LoadError::SignatureChanged { node: node.name.clone(), op: node.op.clone() });
    }
    let inputs: Vec<TensorType> =
        node.inputs.iter().map(|value| graph.values[*value].tensor.clone()).collect();
    let mut constants = Vec::with_capacity(inputs.len());
    for value in &node.inputs {
        let Source::Constant(tensor) = &graph.values[*value].source else {
            constants.push(None);
            continue;
        };
        if let Some(spec) = tensor.encoding() {
            let same = cx.registry.require_encoding(&spec.name).map_err(LoadError::from);
            same.and_then(|encoding| encoding.check_same(tensor).map_err(LoadError::from))
                .map_err(|error| LoadError::Constant { node: node.name.clone(), source: Box::new(error) })?;
        }
        constants.push(Some(tensor));
    }
    let context = NodeContext {
        signature: op.signature(),
        places: &node.places,
        attributes: &node.attributes,
        inputs: &inputs,
        outputs: &[],
        constants,
        registry: cx.registry,
        options: cx.options,
        executor: cx.executor,
        preparing: None,
    };
    let refused = |problem| LoadError::Node { node: node.name.clone(), op: node.op.clone(), problem };
    let outputs = op.handle.infer(&context).map_err(|error| refused(NodeProblem::Refused(error)))?;
    check_outputs(op, &node.places, &inputs, &outputs, cx.registry).map_err(refused)?;
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
