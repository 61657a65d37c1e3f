//! Graphs on disk: one checkpoint with the constants as tensors and the nodes in its metadata.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;
use std::sync::Arc;

use bitquilt_plugin_api::{Arity, Attribute, Attributes, DType, Dim, Element, TensorType};
use serde::{Deserialize, Serialize};

use super::{Graph, GraphError, NodeData, Port, Source, Value};
use crate::checkpoint::{self, Checkpoint, TensorDict};
use crate::error::Error;
use crate::registry::{RegisteredOp, Registry};
use crate::tensor::Tensor;
use crate::text::{Brief, Cut};

/// The metadata entry that makes a checkpoint a graph.
const KEY: &str = "bitquilt.graph";
/// The most characters that are shown of what a parser says, which quotes the entry.
const PARSER_MESSAGE: usize = 300;
/// The version of that entry's format.
const FORMAT: u32 = 2;

/// The entry. Values are told by where they come from, and replayed in the order of the nodes.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct GraphRecord {
    pub(super) format: u32,
    pub(super) inputs: Vec<PortRecord>,
    pub(super) states: Vec<PortRecord>,
    /// Names of tensors of the checkpoint.
    pub(super) constants: Vec<String>,
    pub(super) nodes: Vec<NodeRecord>,
    pub(super) outputs: Vec<OutputRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PortRecord {
    pub(super) name: String,
    /// A dtype, or `encoded:` and an encoding.
    pub(super) element: String,
    pub(super) shape: Vec<String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct NodeRecord {
    pub(super) name: String,
    pub(super) op: String,
    pub(super) attributes: Vec<(String, AttributeRecord)>,
    /// Those that are given by their places.
    pub(super) inputs: Vec<ValueRecord>,
    /// Those that are given by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) named: Vec<(String, ValueRecord)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OutputRecord {
    pub(super) name: String,
    pub(super) value: ValueRecord,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ValueRecord {
    Input(usize),
    State(usize),
    Constant(usize),
    /// Node, and which of its outputs.
    Node(usize, usize),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum AttributeRecord {
    Int(i64),
    /// As text, which has infinities and is exact.
    Float(String),
    Bool(bool),
    Text(String),
    Ints(Vec<i64>),
    Shape(Vec<String>),
    Floats(Vec<String>),
    Texts(Vec<String>),
}

pub(super) const ENCODED: &str = "encoded:";

impl GraphRecord {
    /// The record of a checkpoint that has one.
    pub(super) fn of(file: &Checkpoint) -> Result<Self, GraphError> {
        let path = file.path();
        let text = file.metadata().text(KEY).ok_or_else(|| {
            malformed(
                path,
                format_args!("it is a checkpoint without the metadata `{KEY}`; `Graph::save` writes it"),
            )
        })?;
        let record: Self = serde_json::from_str(text)
            .map_err(|error| malformed(path, Cut(&error.to_string(), PARSER_MESSAGE)))?;
        match record.format {
            FORMAT => Ok(record),
            found => Err(malformed(
                path,
                format_args!("its graph is of format {found}, this version reads {FORMAT}"),
            )),
        }
    }
}

impl Graph {
    /// Writes the graph with its constants into a file, which is replaced if it is there. The file is a checkpoint, too.
    pub fn save(&self, path: impl AsRef<Path>) -> Result<(), Error> {
        let path = path.as_ref();
        let mut tensors = TensorDict::new();
        let mut constants = Vec::new();
        let mut named = self.constants().into_iter();
        let mut records = Vec::with_capacity(self.values.len());
        for value in &self.values {
            records.push(match &value.source {
                Source::Input(input) => ValueRecord::Input(*input),
                Source::State(state) => ValueRecord::State(*state),
                Source::Constant(tensor) => {
                    let name = named.next().map(|(_, name, _)| name).unwrap_or_default();
                    tensors.insert(name.clone(), tensor.clone());
                    constants.push(name);
                    ValueRecord::Constant(constants.len() - 1)
                }
                Source::Node { node, output, .. } => ValueRecord::Node(*node, *output),
            });
        }
        let port = |name: &str, value: usize| port_record(name, &self.values[value].tensor);
        let nodes = self.nodes.iter().map(|node| NodeRecord {
            name: node.name.clone(),
            op: node.op.clone(),
            attributes: node
                .attributes
                .iter()
                .map(|(name, value)| (name.to_owned(), record(value)))
                .collect(),
            inputs: self
                .inputs_of(node)
                .filter(|(name, _)| name.is_none())
                .map(|(_, it)| records[it])
                .collect(),
            named: self
                .inputs_of(node)
                .filter_map(|(name, it)| Some((name?.to_owned(), records[it])))
                .collect(),
        });
        let output = |port: &Port| OutputRecord { name: port.name.clone(), value: records[port.value] };
        let graph = GraphRecord {
            format: FORMAT,
            inputs: self.inputs.iter().map(|input| port(&input.name, input.value)).collect(),
            states: self.states.iter().map(|state| port(&state.name, state.value)).collect(),
            constants,
            nodes: nodes.collect(),
            outputs: self.outputs.iter().map(output).collect(),
        };
        let text = serde_json::to_string(&graph).map_err(|error| malformed(path, error))?;
        tensors.metadata_mut().insert(KEY, text);
        Ok(checkpoint::save(&tensors, path)?)
    }

    /// Reads a graph that [`Self::save`] wrote. Every node is added as if the program did it, so that ops and encodings that are not
    /// registered, and types that do not fit, are errors that name the node.
    pub fn load(path: impl AsRef<Path>, registry: &Arc<Registry>) -> Result<Self, Error> {
        let path = path.as_ref();
        let file = Checkpoint::open(path)?;
        let record = GraphRecord::of(&file)?;
        let mut graph = Graph::new(registry, [])?;
        let mut replay = Replay::default();
        for port in &record.inputs {
            replay.inputs.push(
                graph.add_input(&port.name, tensor_type(port).map_err(|error| malformed(path, error))?)?,
            );
        }
        for port in &record.states {
            replay
                .states
                .push(graph.state(&port.name, tensor_type(port).map_err(|error| malformed(path, error))?)?);
        }
        // GGUF has data of the encodings f32, f16 and bf16 as values of these dtypes.
        let weights = record.weights();
        let mut tensors: HashMap<&str, Tensor> = HashMap::new();
        for name in &record.constants {
            let tensor = match tensors.entry(name) {
                Entry::Occupied(read) => read.into_mut(),
                Entry::Vacant(new) => {
                    let tensor = file.tensor(name, registry)?;
                    let is_weight = weights.contains(name.as_str());
                    new.insert(if is_weight { registry.as_encoded(&tensor) } else { tensor })
                }
            };
            replay.constants.push(graph.constant_named(name, tensor)?);
        }
        for node in record.nodes {
            let unmade = || {
                let name = Brief(&node.name);
                malformed(path, format_args!("node `{name}` takes a value that is not made before it"))
            };
            let inputs = replay.values(&node.inputs).ok_or_else(unmade)?;
            let named = node.named.iter().map(|(name, value)| Some((name.clone(), replay.value(*value)?)));
            let named: Vec<(String, Value)> = named.collect::<Option<_>>().ok_or_else(unmade)?;
            let attributes = node.attributes.into_iter().map(|(name, value)| Ok((name, attribute(value)?)));
            let attributes =
                attributes.collect::<Result<Attributes, String>>().map_err(|error| malformed(path, error))?;
            let builder = graph.node(&node.op, inputs).named(node.name).attributes(&attributes);
            let builder = named.into_iter().fold(builder, |node, (name, value)| node.input(&name, value));
            replay.nodes.push(builder.values()?);
        }
        for output in record.outputs {
            let value = replay.value(output.value).ok_or_else(|| {
                malformed(path, format_args!("output `{}` is a value that is not made", Brief(&output.name)))
            })?;
            graph.output_named(output.name, value)?;
        }
        Ok(graph)
    }

    /// The values that a node is given, and the names of those that are given by name.
    pub(super) fn inputs_of<'a>(
        &'a self,
        node: &'a NodeData,
    ) -> impl Iterator<Item = (Option<&'a str>, usize)> {
        let signature = self.registry.op(&node.op).map(RegisteredOp::signature);
        node.places.iter().zip(&node.inputs).map(move |(place, value)| {
            let input = signature.and_then(|signature| signature.inputs.get(*place));
            let by_name = input.filter(|input| input.arity == Arity::Optional);
            (by_name.map(|input| input.name.as_str()), *value)
        })
    }

    /// The key of the metadata that makes a checkpoint a graph.
    pub const METADATA_KEY: &str = KEY;

    /// Whether a file's metadata has a graph.
    pub fn is_in(checkpoint: &Checkpoint) -> bool {
        checkpoint.metadata().text(KEY).is_some()
    }
}

/// The values that were made so far.
#[derive(Default)]
struct Replay {
    inputs: Vec<Value>,
    states: Vec<Value>,
    constants: Vec<Value>,
    nodes: Vec<Vec<Value>>,
}

impl Replay {
    fn value(&self, record: ValueRecord) -> Option<Value> {
        match record {
            ValueRecord::Input(index) => self.inputs.get(index).copied(),
            ValueRecord::State(index) => self.states.get(index).copied(),
            ValueRecord::Constant(index) => self.constants.get(index).copied(),
            ValueRecord::Node(node, output) => self.nodes.get(node)?.get(output).copied(),
        }
    }

    fn values(&self, records: &[ValueRecord]) -> Option<Vec<Value>> {
        records.iter().map(|record| self.value(*record)).collect()
    }
}

fn malformed(path: &Path, problem: impl std::fmt::Display) -> GraphError {
    GraphError::File { path: path.to_owned(), problem: problem.to_string() }
}

fn port_record(name: &str, tensor: &TensorType) -> PortRecord {
    let element = match &tensor.element {
        Element::Dense(dtype) => dtype.to_string(),
        Element::Encoded(encoding) => format!("{ENCODED}{encoding}"),
    };
    PortRecord {
        name: name.to_owned(),
        element,
        shape: tensor.shape.iter().map(ToString::to_string).collect(),
    }
}

fn tensor_type(port: &PortRecord) -> Result<TensorType, String> {
    let shape = dims(&port.shape)?;
    match port.element.strip_prefix(ENCODED) {
        Some(encoding) => Ok(TensorType::encoded(encoding, shape)),
        None => match DType::from_name(&port.element) {
            Some(dtype) => Ok(TensorType::dense(dtype, shape)),
            None => Err(format!("`{}` of `{}` is no dtype", Brief(&port.element), Brief(&port.name))),
        },
    }
}

fn dims(shape: &[String]) -> Result<Vec<Dim>, String> {
    shape
        .iter()
        .map(|dim| {
            dim.parse()
                .map_err(|error: bitquilt_plugin_api::Error| Cut(error.message(), PARSER_MESSAGE).to_string())
        })
        .collect()
}

fn record(value: &Attribute) -> AttributeRecord {
    match value {
        Attribute::Int(value) => AttributeRecord::Int(*value),
        Attribute::Float(value) => AttributeRecord::Float(format!("{value:?}")),
        Attribute::Bool(value) => AttributeRecord::Bool(*value),
        Attribute::Text(value) => AttributeRecord::Text(value.clone()),
        Attribute::Ints(values) => AttributeRecord::Ints(values.clone()),
        Attribute::Shape(dims) => AttributeRecord::Shape(dims.iter().map(ToString::to_string).collect()),
        Attribute::Floats(values) => {
            AttributeRecord::Floats(values.iter().map(|value| format!("{value:?}")).collect())
        }
        Attribute::Texts(values) => AttributeRecord::Texts(values.clone()),
        // The enum is open for later versions of plugin-api, which this crate is built with and would have to know here.
        other => AttributeRecord::Text(other.to_string()),
    }
}

fn attribute(record: AttributeRecord) -> Result<Attribute, String> {
    Ok(match record {
        AttributeRecord::Int(value) => Attribute::Int(value),
        AttributeRecord::Float(text) => Attribute::Float(float(&text)?),
        AttributeRecord::Bool(value) => Attribute::Bool(value),
        AttributeRecord::Text(text) => Attribute::Text(text),
        AttributeRecord::Ints(values) => Attribute::Ints(values),
        AttributeRecord::Shape(shape) => Attribute::Shape(dims(&shape)?),
        AttributeRecord::Floats(texts) => {
            Attribute::Floats(texts.iter().map(|text| float(text)).collect::<Result<_, _>>()?)
        }
        AttributeRecord::Texts(texts) => Attribute::Texts(texts),
    })
}

fn float(text: &str) -> Result<f64, String> {
    text.parse().map_err(|_| format!("the attribute value `{}` is no number", Brief(text)))
}
