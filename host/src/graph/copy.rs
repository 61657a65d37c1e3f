//! The values of a graph, added to another graph.

use super::{Graph, Source, Value};
use crate::error::Error;
use crate::tensor::Tensor;

/// A graph that is made of another's values, in their order. Every node is added as if the program did it.
pub(super) struct Copy<'a> {
    from: &'a Graph,
    pub(super) graph: Graph,
    /// The copy of each value, if it was made.
    values: Vec<Option<Value>>,
}

impl<'a> Copy<'a> {
    /// A copy without values.
    pub(super) fn new(from: &'a Graph) -> Result<Self, Error> {
        Ok(Self { from, graph: Graph::new(from.registry(), [])?, values: vec![None; from.values.len()] })
    }

    /// Adds the input that a value is.
    pub(super) fn input(&mut self, value: usize) -> Result<(), Error> {
        if let Source::Input(input) = self.from.values[value].source {
            let name = self.from.inputs[input].name.clone();
            self.input_as(value, name)?;
        }
        Ok(())
    }

    /// Adds an input of this name in the place of a value.
    pub(super) fn input_as(&mut self, value: usize, name: String) -> Result<(), Error> {
        let added = self.graph.add_input(name, self.from.values[value].tensor.clone())?;
        self.values[value] = Some(added);
        Ok(())
    }

    /// Adds the state that a value is.
    pub(super) fn state(&mut self, value: usize) -> Result<(), Error> {
        let data = &self.from.values[value];
        if let Source::State(state) = data.source {
            let name = self.from.states[state].name.clone();
            self.values[value] = Some(self.graph.state(name, data.tensor.clone())?);
        }
        Ok(())
    }

    /// Adds a constant in the place of a value.
    pub(super) fn constant(&mut self, value: usize, tensor: &Tensor) -> Result<(), Error> {
        let added = self.graph.constant(tensor)?;
        if let Some(name) = self.from.constant_names.get(&value) {
            self.graph.constant_names.insert(added.index, name.clone());
        }
        self.values[value] = Some(added);
        Ok(())
    }

    /// Adds a node, whose inputs were added.
    pub(super) fn node(&mut self, node: usize) -> Result<(), Error> {
        let data = &self.from.nodes[node];
        let values = &self.values;
        let inputs = || self.from.inputs_of(data).filter_map(|(name, value)| Some((name, values[value]?)));
        let placed: Vec<Value> =
            inputs().filter(|(name, _)| name.is_none()).map(|(_, value)| value).collect();
        let builder = self.graph.node(&data.op, placed).named(data.name.clone()).attributes(&data.attributes);
        let named = inputs().filter_map(|(name, value)| Some((name?, value)));
        let outputs = named.fold(builder, |node, (name, value)| node.input(name, value)).values()?;
        for (value, added) in data.outputs.iter().zip(outputs) {
            self.values[*value] = Some(added);
        }
        Ok(())
    }

    /// Makes the copy of a value an output.
    pub(super) fn output(&mut self, name: &str, value: usize) -> Result<(), Error> {
        if let Some(value) = self.values[value] {
            self.graph.output_named(name, value)?;
        }
        Ok(())
    }

    /// The copy, with the outputs of the other graph.
    pub(super) fn outputs(mut self) -> Result<Graph, Error> {
        for output in &self.from.outputs {
            self.output(&output.name, output.value)?;
        }
        Ok(self.graph)
    }
}
