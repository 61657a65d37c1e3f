//! Which constants are weights, and what is multiplied with their columns.

use std::collections::HashMap;
use std::ops::Range;

use bitquilt_plugin_api::{Attributes, ContractedAxis};

use crate::graph::{Graph, NodeData, Source};
use crate::ops::axis_index;
use crate::plan::{Activation, NamedWeight, Place, Program};
use crate::registry::Registry;

/// The weights and activations of a program that is being made.
pub(super) struct Weights {
    /// What each constant is called.
    names: HashMap<usize, String>,
    /// Indices in the program, by value and columns, and by name and columns.
    activations: HashMap<(usize, usize), usize>,
    weights: HashMap<(String, usize), usize>,
}

impl Weights {
    pub(super) fn of(graph: &Graph) -> Self {
        let (activations, weights) = Default::default();
        Self { names: graph.constant_names(), activations, weights }
    }

    /// Adds what a node's op says of weights; `inputs` are the program's values that the node takes. The activations that are new.
    pub(super) fn add(
        &mut self,
        graph: &Graph,
        registry: &Registry,
        node: &NodeData,
        inputs: &[usize],
        program: &mut Program,
    ) -> Range<usize> {
        let first = program.activations.len();
        let contractions = registry.op(&node.op).map(|op| &op.signature().contractions);
        for contraction in contractions.into_iter().flatten() {
            let place = |input: usize| node.places.iter().position(|place| *place == input);
            let (Some(activation), Some(weight)) = (place(contraction.activation), place(contraction.weight))
            else {
                continue;
            };
            let Some((constant, columns)) = rows_of(graph, node.inputs[weight], contraction.axis) else {
                continue;
            };
            let Some(name) = self.names.get(&constant) else { continue };
            let value = inputs[activation];
            if matches!(program.values[program.root(value)].place, Place::Constant(_)) {
                continue;
            }
            let activations = &mut program.activations;
            let activation = *self.activations.entry((value, columns)).or_insert_with(|| {
                activations.push(Activation { value, columns });
                activations.len() - 1
            });
            let weights = &mut program.weights;
            let weight = *self.weights.entry((name.clone(), columns)).or_insert_with(|| {
                weights.push(NamedWeight { name: name.clone(), activations: Vec::new() });
                weights.len() - 1
            });
            weights[weight].activations.push(activation);
        }
        first..program.activations.len()
    }
}

/// The constant whose rows the columns of a value are, and their length: the value itself, or what it was decoded, cast and transposed from.
fn rows_of(graph: &Graph, mut value: usize, mut axis: ContractedAxis) -> Option<(usize, usize)> {
    loop {
        let node = match &graph.values[value].source {
            Source::Constant(tensor) => {
                let columns = tensor.shape().last().filter(|columns| **columns > 0)?;
                return (axis == ContractedAxis::Last && tensor.shape().len() > 1)
                    .then_some((value, *columns));
            }
            Source::Node { node, .. } => &graph.nodes[*node],
            Source::Input(_) | Source::State(_) => return None,
        };
        match node.op.as_str() {
            "dequantize" | "cast" => {}
            "transpose" => axis = transposed(&node.attributes, graph.values[value].tensor.rank(), axis)?,
            _ => return None,
        }
        value = *node.inputs.first()?;
    }
}

/// Where an axis of what `transpose` yields was before, if the others kept their places or were swapped with it.
fn transposed(attributes: &Attributes, rank: usize, axis: ContractedAxis) -> Option<ContractedAxis> {
    let before = |axis: usize| match attributes.ints("axes").ok()? {
        [] => Some(rank - 1 - axis),
        axes => axis_index(*axes.get(axis)?, rank),
    };
    let behind = if axis == ContractedAxis::Last { 1 } else { 2 };
    match rank.checked_sub(1 + before(rank.checked_sub(behind)?)?)? {
        0 => Some(ContractedAxis::Last),
        1 => Some(ContractedAxis::LastButOne),
        _ => None,
    }
}
