//! What a saved graph consists of, without its ops and encodings.

use serde::Serialize;

use super::GraphError;
use super::file::{AttributeRecord, ENCODED, GraphRecord, PortRecord, ValueRecord};
use crate::checkpoint::Checkpoint;

/// What a saved graph consists of, as texts. The ops and encodings that it names need not be registered.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct GraphOutline {
    /// The inputs.
    pub inputs: Vec<OutlinePort>,
    /// The states.
    pub states: Vec<OutlinePort>,
    /// The names of the constants, which are tensors of the file.
    pub constants: Vec<String>,
    /// The nodes, in the order in which they were added.
    pub nodes: Vec<OutlineNode>,
    /// The outputs.
    pub outputs: Vec<OutlineOutput>,
}

/// An input or a state.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutlinePort {
    /// Its name.
    pub name: String,
    /// Its dtype or encoding.
    pub element: String,
    /// Its dimensions: numbers, symbols and expressions over symbols.
    pub shape: Vec<String>,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutlineNode {
    /// Its name.
    pub name: String,
    /// The op's name.
    pub op: String,
    /// The values that it takes: names of inputs, states, constants and nodes, with `:1` and so on for later outputs of a node. Those
    /// that are given by name follow as `name = value`.
    pub inputs: Vec<String>,
    /// The attributes that were set, as `name = value`.
    pub attributes: Vec<String>,
}

/// An output.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct OutlineOutput {
    /// Its name.
    pub name: String,
    /// The value, as those that nodes take.
    pub value: String,
}

impl GraphOutline {
    /// The outline of a checkpoint that [`Graph::save`](super::Graph::save) wrote, as [`Graph::is_in`](super::Graph::is_in) says.
    ///
    /// Values that the record names and does not have are `?`: loading the graph refuses them.
    pub fn of(checkpoint: &Checkpoint) -> Result<Self, GraphError> {
        let record = GraphRecord::of(checkpoint)?;
        let nodes = record.nodes.iter().map(|node| OutlineNode {
            name: node.name.clone(),
            op: node.op.clone(),
            inputs: node
                .inputs
                .iter()
                .map(|value| record.name_of(*value))
                .chain(node.named.iter().map(|(name, value)| format!("{name} = {}", record.name_of(*value))))
                .collect(),
            attributes: node
                .attributes
                .iter()
                .map(|(name, value)| format!("{name} = {}", attribute_text(value)))
                .collect(),
        });
        let output = |(name, value): (&String, ValueRecord)| OutlineOutput {
            name: name.clone(),
            value: record.name_of(value),
        };
        Ok(Self {
            inputs: record.inputs.iter().map(port).collect(),
            states: record.states.iter().map(port).collect(),
            nodes: nodes.collect(),
            outputs: record.outputs.iter().map(|it| output((&it.name, it.value))).collect(),
            constants: record.constants.clone(),
        })
    }
}

impl GraphRecord {
    /// What a value is called.
    fn name_of(&self, value: ValueRecord) -> String {
        let name = match value {
            ValueRecord::Input(index) => self.inputs.get(index).map(|input| input.name.clone()),
            ValueRecord::State(index) => self.states.get(index).map(|state| state.name.clone()),
            ValueRecord::Constant(index) => self.constants.get(index).cloned(),
            ValueRecord::Node(node, 0) => self.nodes.get(node).map(|node| node.name.clone()),
            ValueRecord::Node(node, output) => {
                self.nodes.get(node).map(|node| format!("{}:{output}", node.name))
            }
        };
        name.unwrap_or_else(|| "?".to_owned())
    }
}

fn port(port: &PortRecord) -> OutlinePort {
    let element = port.element.strip_prefix(ENCODED).unwrap_or(&port.element).to_owned();
    OutlinePort { name: port.name.clone(), element, shape: port.shape.clone() }
}

fn attribute_text(value: &AttributeRecord) -> String {
    let list = |texts: Vec<String>| format!("[{}]", texts.join(", "));
    match value {
        AttributeRecord::Int(value) => value.to_string(),
        AttributeRecord::Bool(value) => value.to_string(),
        AttributeRecord::Float(text) => text.clone(),
        AttributeRecord::Text(text) => format!("{text:?}"),
        AttributeRecord::Ints(values) => list(values.iter().map(ToString::to_string).collect()),
        AttributeRecord::Shape(texts) | AttributeRecord::Floats(texts) => list(texts.clone()),
        AttributeRecord::Texts(texts) => list(texts.iter().map(|text| format!("{text:?}")).collect()),
    }
}
