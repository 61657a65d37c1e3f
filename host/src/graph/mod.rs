//! Graphs: what is to be computed, with every type known while it is built.
//!
//! A [`Graph`] is a list of nodes in an order in which they can run: a node's inputs exist before it does. Types are inferred as
//! nodes are added, so that a wrong shape, dtype or encoding is an error at the call that made it.

mod copy;
mod cut;
mod error;
mod file;
mod limits;
mod methods;
mod node;
mod options;
mod outline;
mod reencode;

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bitquilt_plugin_api::dim::{MAX_SYMBOL, is_symbol};
use bitquilt_plugin_api::{Attributes, Element, TensorType};

use self::limits::MAX_RANK;
use crate::encoding::{QuantizeError, QuantizeWarning};
use crate::registry::Registry;
use crate::tensor::{Tensor, dense_bytes};
use crate::text::Brief;
pub use cut::Cut;
pub use error::{GraphError, NodeProblem};
pub use node::NodeBuilder;
pub(crate) use node::{NodeContext, Preparing, check_outputs};
pub use options::{Attention, Rope, RopePairing};
pub use outline::{GraphOutline, OutlineNode, OutlineOutput, OutlinePort};

/// A static graph of ops over tensors.
///
/// ```
/// use bitquilt::{Graph, InferenceSession, Tensor, TensorType};
///
/// let session = InferenceSession::builder().build()?;
/// let mut graph = Graph::new(session.registry(), [TensorType::f32([32, 64])])?;
/// let weight = graph.quantize("q4_0", &Tensor::full([32, 64], 0.15f32))?;
/// let product = graph.qmatmul(graph.input(0), weight)?;
/// graph.output(product)?;
/// # Ok::<(), bitquilt::Error>(())
/// ```
///
/// Quantization happens while a graph is built: [`Graph::quantize`] takes a [`Tensor`], which a run-time input is not.
///
/// ```compile_fail
/// # use bitquilt::{Graph, InferenceSession, Tensor, TensorType};
/// # let session = InferenceSession::builder().build()?;
/// # let mut graph = Graph::new(session.registry(), [TensorType::f32([32, 64])])?;
/// let weight = graph.quantize("q4_0", graph.input(0))?;
/// # Ok::<(), bitquilt::Error>(())
/// ```
pub struct Graph {
    id: u64,
    registry: Arc<Registry>,
    pub(crate) values: Vec<ValueData>,
    pub(crate) nodes: Vec<NodeData>,
    pub(crate) inputs: Vec<Port>,
    pub(crate) states: Vec<StateData>,
    pub(crate) outputs: Vec<Port>,
    input_names: HashMap<String, usize>,
    state_names: HashSet<String>,
    output_names: HashSet<String>,
    node_names: HashSet<String>,
    /// The names that constants were given, by value.
    constant_names: HashMap<usize, String>,
    quantize_warnings: Vec<(Value, QuantizeWarning)>,
}

/// A tensor of a graph: an input, a constant, a state, or what a node yields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Value {
    graph: u64,
    index: usize,
}

/// A value's type, and where it comes from.
pub(crate) struct ValueData {
    pub(crate) tensor: TensorType,
    pub(crate) source: Source,
    /// The state whose memory this is, and which of its versions.
    state: Option<(usize, usize)>,
}

/// Where a value comes from.
pub(crate) enum Source {
    Input(usize),
    Constant(Tensor),
    State(usize),
    /// The node, which of its outputs, and the input whose memory it is.
    Node {
        node: usize,
        output: usize,
        alias: Option<usize>,
    },
}

/// A named input or output.
pub(crate) struct Port {
    pub(crate) name: String,
    pub(crate) value: usize,
}

/// A state, and its newest version.
pub(crate) struct StateData {
    pub(crate) name: String,
    pub(crate) value: usize,
    /// The node that wrote each version after the first.
    writers: Vec<usize>,
}

/// An op applied to values.
pub(crate) struct NodeData {
    pub(crate) name: String,
    pub(crate) op: String,
    pub(crate) attributes: Attributes,
    pub(crate) inputs: Vec<usize>,
    /// The index in the op's signature of each input.
    pub(crate) places: Vec<usize>,
    pub(crate) outputs: Vec<usize>,
}

impl Graph {
    /// A graph with these inputs, named `input0`, `input1` and so on.
    pub fn new(
        registry: &Arc<Registry>,
        inputs: impl IntoIterator<Item = TensorType>,
    ) -> Result<Self, GraphError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let mut graph = Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            registry: Arc::clone(registry),
            values: Vec::new(),
            nodes: Vec::new(),
            inputs: Vec::new(),
            states: Vec::new(),
            outputs: Vec::new(),
            input_names: HashMap::new(),
            state_names: HashSet::new(),
            output_names: HashSet::new(),
            node_names: HashSet::new(),
            constant_names: HashMap::new(),
            quantize_warnings: Vec::new(),
        };
        for (index, tensor) in inputs.into_iter().enumerate() {
            graph.add_input(format!("input{index}"), tensor)?;
        }
        Ok(graph)
    }

    /// The encodings and ops this graph is built with.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.registry
    }

    /// Adds an input of this name. Its dimensions may have symbols, which each run binds.
    pub fn add_input(&mut self, name: impl Into<String>, tensor: TensorType) -> Result<Value, GraphError> {
        let name = name.into();
        check_port_name("input", &name, self.input_names.contains_key(&name))?;
        self.check_type("input", &name, &tensor)?;
        self.input_names.insert(name.clone(), self.inputs.len());
        let value = self.push(tensor, Source::Input(self.inputs.len()), None);
        self.inputs.push(Port { name, value: value.index });
        Ok(value)
    }

    /// The input of this index.
    ///
    /// # Panics
    /// If there is none, as indexing does.
    pub fn input(&self, index: usize) -> Value {
        let count = self.inputs.len();
        match self.inputs.get(index) {
            Some(port) => self.value(port.value),
            None => panic!("the graph has {count} inputs, there is no input {index}"),
        }
    }

    /// The input of this name.
    pub fn input_named(&self, name: &str) -> Option<Value> {
        self.input_names.get(name).map(|input| self.value(self.inputs[*input].value))
    }

    /// The inputs, in order: name and value.
    pub fn inputs(&self) -> impl ExactSizeIterator<Item = (&str, Value)> {
        self.inputs.iter().map(|port| (port.name.as_str(), self.value(port.value)))
    }

    /// The outputs, in order: name and value.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, Value)> {
        self.outputs.iter().map(|port| (port.name.as_str(), self.value(port.value)))
    }

    /// Adds a tensor that is the same for every run. An encoded one must be of a registered encoding, version and layout.
    pub fn constant(&mut self, tensor: &Tensor) -> Result<Value, GraphError> {
        tensor.check_usable().map_err(QuantizeError::from)?;
        if let Some(spec) = tensor.encoding() {
            self.registry.require_encoding(&spec.name)?.check_same(tensor)?;
        }
        check_rank("the constant", tensor.shape().len())?;
        Ok(self.push(tensor.tensor_type(), Source::Constant(tensor.clone()), None))
    }

    /// As [`Self::constant`], with the name that the tensor has elsewhere, in a checkpoint for instance: what is recorded of a weight is
    /// found by it, and a saved graph has the tensor by it. Constants that are one weight have one name.
    pub fn constant_named(&mut self, name: impl Into<String>, tensor: &Tensor) -> Result<Value, GraphError> {
        let value = self.constant(tensor)?;
        self.constant_names.insert(value.index, name.into());
        Ok(value)
    }

    /// Encodes a tensor and adds it as a constant: `encoding.quantize(tensor)` and [`Self::constant`] in one. Rows that are lost are
    /// among [`Self::quantize_warnings`].
    pub fn quantize(&mut self, encoding: &str, tensor: &Tensor) -> Result<Value, GraphError> {
        let encoded = self.registry.require_encoding(encoding)?.quantize(tensor)?;
        let value = self.constant(&encoded.tensor)?;
        self.quantize_warnings.extend(encoded.warnings.into_iter().map(|warning| (value, warning)));
        Ok(value)
    }

    /// What [`Self::quantize`] warned of, and the constants that it made.
    pub fn quantize_warnings(&self) -> &[(Value, QuantizeWarning)] {
        &self.quantize_warnings
    }

    /// Adds a state: memory that a [`State`](crate::State) keeps from one run to the next, zero at first. Its dimensions are numbers.
    ///
    /// An op that writes it, such as `append`, yields its next version; read that one from then on.
    pub fn state(&mut self, name: impl Into<String>, tensor: TensorType) -> Result<Value, GraphError> {
        let name = name.into();
        check_port_name("state", &name, self.state_names.contains(&name))?;
        self.check_type("state", &name, &tensor)?;
        let (Some(dtype), Some(shape)) = (tensor.dtype(), tensor.fixed_shape()) else {
            return Err(GraphError::StateType { state: name, found: tensor });
        };
        dense_bytes(dtype, &shape).map_err(|error| GraphError::PortType {
            what: "state",
            name: name.clone(),
            problem: format!("cannot be: {error}"),
        })?;
        self.state_names.insert(name.clone());
        let state = self.states.len();
        let value = self.push(tensor, Source::State(state), Some((state, 0)));
        self.states.push(StateData { name, value: value.index, writers: Vec::new() });
        Ok(value)
    }

    /// Makes a value an output, named `output0`, `output1` and so on.
    pub fn output(&mut self, value: Value) -> Result<(), GraphError> {
        self.output_named(format!("output{}", self.outputs.len()), value)
    }

    /// Makes a value an output of this name.
    pub fn output_named(&mut self, name: impl Into<String>, value: Value) -> Result<(), GraphError> {
        let name = name.into();
        check_port_name("output", &name, self.output_names.contains(&name))?;
        if value.graph != self.id {
            return Err(GraphError::ForeignOutput { output: name });
        }
        if let Some(writer) = self.overwritten_by(value) {
            return Err(GraphError::OverwrittenOutput { output: name, writer: writer.to_owned() });
        }
        self.output_names.insert(name.clone());
        self.outputs.push(Port { name, value: value.index });
        Ok(())
    }

    /// A value's type.
    ///
    /// # Panics
    /// If the value is of another graph.
    pub fn tensor_type(&self, value: Value) -> &TensorType {
        assert_eq!(value.graph, self.id, "the value is of another graph");
        &self.values[value.index].tensor
    }

    /// A value's type; none for one of another graph.
    pub fn type_of(&self, value: Value) -> Option<&TensorType> {
        (value.graph == self.id).then(|| &self.values[value.index].tensor)
    }

    /// A constant's tensor; none for other values and those of other graphs.
    pub fn constant_tensor(&self, value: Value) -> Option<&Tensor> {
        match &self.values.get(value.index)?.source {
            Source::Constant(tensor) if value.graph == self.id => Some(tensor),
            _ => None,
        }
    }

    /// Begins a node that applies an op to values.
    pub fn node(&mut self, op: &str, inputs: impl IntoIterator<Item = Value>) -> NodeBuilder<'_> {
        NodeBuilder::new(self, op, inputs.into_iter().collect())
    }

    /// Applies an op of one output to values. [`Self::node`] also takes a name and attributes.
    pub fn op(&mut self, op: &str, inputs: impl IntoIterator<Item = Value>) -> Result<Value, GraphError> {
        self.node(op, inputs).value()
    }

    fn value(&self, index: usize) -> Value {
        Value { graph: self.id, index }
    }

    fn push(&mut self, tensor: TensorType, source: Source, state: Option<(usize, usize)>) -> Value {
        self.values.push(ValueData { tensor, source, state });
        self.value(self.values.len() - 1)
    }

    /// The name of the node that wrote a state after `value`, which is a version of it, was made.
    fn overwritten_by(&self, value: Value) -> Option<&str> {
        let (state, version) = self.values[value.index].state?;
        self.states[state].writers.get(version).map(|node| self.nodes[*node].name.as_str())
    }

    fn check_type(&self, what: &'static str, name: &str, tensor: &TensorType) -> Result<(), GraphError> {
        let wrong = |problem: String| GraphError::PortType { what, name: name.to_owned(), problem };
        check_rank(&format!("the {what} `{}`", Brief(name)), tensor.rank())?;
        if let Some(symbol) =
            tensor.shape.iter().flat_map(|dim| dim.symbols()).find(|symbol| !is_symbol(symbol))
        {
            return Err(wrong(format!(
                "has a dimension `{}`, which is no symbol; a symbol is a letter or `_`, then letters, digits and `_`, at most {MAX_SYMBOL} in all",
                Brief(symbol)
            )));
        }
        match &tensor.element {
            Element::Dense(dtype) if dtype.size().is_none() => {
                Err(wrong(format!("is of {dtype}, which is no dtype this version knows")))
            }
            Element::Dense(_) => Ok(()),
            Element::Encoded(encoding) => {
                let spec = self.registry.require_encoding(encoding)?.spec();
                match tensor.shape.last().map(|dim| dim.fixed()) {
                    Some(Some(row)) if row.is_multiple_of(spec.block_len) => Ok(()),
                    _ => Err(wrong(format!(
                        "is {}; its last dimension must be a number and a multiple of the {} values in a block",
                        Brief(&tensor.to_string()),
                        spec.block_len
                    ))),
                }
            }
        }
    }
}

fn check_port_name(what: &'static str, name: &str, taken: bool) -> Result<(), GraphError> {
    if name.is_empty() || taken {
        return Err(GraphError::PortName { what, name: name.to_owned() });
    }
    Ok(())
}

fn check_rank(what: &str, rank: usize) -> Result<(), GraphError> {
    if rank > MAX_RANK {
        return Err(GraphError::Rank { what: what.to_owned(), found: rank });
    }
    Ok(())
}
