//! Adding a node: signature, attributes and inference, checked.

use std::collections::HashSet;
use std::sync::atomic::{AtomicUsize, Ordering};

use bitquilt_plugin_api::dim::MAX_TEXT;
use bitquilt_plugin_api::host::NodeHost;
use bitquilt_plugin_api::{
    Attribute, Attributes, Dim, Encoding, Error, Executor, InputKind, InputSpec, OpSignature, OutputType,
    PreparedMemory, SignatureError, TensorType, TensorView,
};

use super::error::{GraphError, NodeProblem};
use super::limits::{MAX_RANK, MAX_TYPES_TEXT};
use super::{Graph, NodeData, Source, Value};
use crate::lent::LentBytes;
use crate::registry::{RegisteredOp, Registry};
use crate::tensor::Tensor;

/// The most outputs a node has.
const MAX_OUTPUTS: usize = 64;

/// A node being added to a graph.
#[must_use = "a node is added by `value` or `values`"]
pub struct NodeBuilder<'g> {
    graph: &'g mut Graph,
    op: String,
    name: Option<String>,
    attributes: Attributes,
    inputs: Vec<Value>,
    named: Vec<(String, Value)>,
}

impl<'g> NodeBuilder<'g> {
    pub(super) fn new(graph: &'g mut Graph, op: &str, inputs: Vec<Value>) -> Self {
        let (attributes, named) = (Attributes::new(), Vec::new());
        Self { graph, op: op.to_owned(), name: None, attributes, inputs, named }
    }

    /// Names the node, for messages and `explain`. Without a name it is called by its op and number.
    pub fn named(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Gives an input that may be left out, by its name.
    pub fn input(mut self, name: &str, value: Value) -> Self {
        self.named.push((name.to_owned(), value));
        self
    }

    /// Gives an input that may be left out, or leaves it out.
    pub fn maybe_input(self, name: &str, value: Option<Value>) -> Self {
        match value {
            Some(value) => self.input(name, value),
            None => self,
        }
    }

    /// Gives an attribute.
    pub fn attribute(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.attributes.insert(name, value);
        self
    }

    /// Gives an attribute, or leaves it out.
    pub fn maybe_attribute(self, name: &str, value: Option<impl Into<Attribute>>) -> Self {
        match value {
            Some(value) => self.attribute(name, value),
            None => self,
        }
    }

    /// Gives attributes.
    pub fn attributes(mut self, attributes: &Attributes) -> Self {
        for (name, value) in attributes.iter() {
            self.attributes.insert(name, value.clone());
        }
        self
    }

    /// Adds the node; its one output.
    pub fn value(self) -> Result<Value, GraphError> {
        let (graph, node) = self.add(Some(1))?;
        Ok(graph.value(graph.nodes[node].outputs[0]))
    }

    /// Adds the node; all its outputs.
    pub fn values(self) -> Result<Vec<Value>, GraphError> {
        let (graph, node) = self.add(None)?;
        Ok(graph.nodes[node].outputs.iter().map(|index| graph.value(*index)).collect())
    }

    fn add(self, wanted: Option<usize>) -> Result<(&'g mut Graph, usize), GraphError> {
        let Self { graph, op, name, attributes, inputs, named } = self;
        let name = name.unwrap_or_else(|| format!("{op}.{}", graph.nodes.len()));
        match graph.infer(&op, &name, attributes, Given { by_place: inputs, by_name: named }, wanted) {
            Ok(parts) => {
                let node = graph.insert(parts);
                Ok((graph, node))
            }
            Err(problem) => Err(GraphError::Node { node: name, op, problem }),
        }
    }
}

/// The inputs that a node is given.
struct Given {
    by_place: Vec<Value>,
    by_name: Vec<(String, Value)>,
}

impl Given {
    /// Each input in the order of the signature, and its index there.
    fn arrange(self, signature: &OpSignature) -> Result<(Vec<usize>, Vec<Value>), NodeProblem> {
        let (names, by_name): (Vec<String>, Vec<Value>) = self.by_name.into_iter().unzip();
        let arranged = signature.arrange(self.by_place.len(), &names)?;
        let given = [self.by_place, by_name].concat();
        Ok(arranged.into_iter().map(|(place, index)| (place, given[index])).unzip())
    }
}

/// A node whose every part was checked.
struct NodeParts {
    name: String,
    op: String,
    attributes: Attributes,
    inputs: Vec<Value>,
    places: Vec<usize>,
    outputs: Vec<OutputType>,
}

impl Graph {
    /// The parts of a node: the attributes with their defaults, the inputs in order, and the outputs' types.
    fn infer(
        &self,
        op: &str,
        name: &str,
        attributes: Attributes,
        given: Given,
        wanted: Option<usize>,
    ) -> Result<NodeParts, NodeProblem> {
        let registered = self.registry.op(op).ok_or_else(|| NodeProblem::UnknownOp {
            known: self.registry.ops().map(|op| op.signature().name.clone()).collect(),
        })?;
        if name.is_empty() || self.node_names.contains(name) {
            return Err(NodeProblem::DuplicateName);
        }
        let signature = registered.signature();
        let (places, inputs) = given.arrange(signature)?;
        for (place, value) in places.iter().zip(&inputs) {
            self.check_input(&signature.inputs[*place], *value, signature)?;
        }
        let attributes = signature.complete(&attributes)?;
        check_ranks(&attributes)?;
        let data: Vec<_> = inputs.iter().map(|value| &self.values[value.index]).collect();
        let types: Vec<TensorType> = data.iter().map(|value| value.tensor.clone()).collect();
        check_text(&types)?;
        let constants = data.iter().map(|value| match &value.source {
            Source::Constant(tensor) => Some(tensor),
            _ => None,
        });
        let context = NodeContext {
            signature,
            places: &places,
            attributes: &attributes,
            inputs: &types,
            outputs: &[],
            constants: constants.collect(),
            registry: &self.registry,
            options: &[],
            executor: Executor::serial(),
            preparing: None,
        };
        let outputs = registered.handle.infer(&context).map_err(NodeProblem::Refused)?;
        check_outputs(registered, &places, &types, &outputs, &self.registry)?;
        match wanted {
            Some(wanted) if outputs.len() != wanted => {
                Err(NodeProblem::SeveralOutputs { found: outputs.len() })
            }
            _ => Ok(NodeParts {
                name: name.to_owned(),
                op: op.to_owned(),
                attributes,
                inputs,
                places,
                outputs,
            }),
        }
    }

    fn check_input(
        &self,
        spec: &InputSpec,
        value: Value,
        signature: &OpSignature,
    ) -> Result<(), NodeProblem> {
        let input = spec.name.clone();
        if value.graph != self.id {
            return Err(NodeProblem::ForeignValue { input });
        }
        if let Some(writer) = self.overwritten_by(value) {
            return Err(NodeProblem::Overwritten { input, writer: writer.to_owned() });
        }
        let data = &self.values[value.index];
        if spec.kind == InputKind::State && data.state.is_none() {
            return Err(NodeProblem::NotAState { input });
        }
        spec.check(&data.tensor).map_err(|problem| match problem {
            SignatureError::EncodedInput { input, encoding } => {
                let takers =
                    self.registry.ops_taking(&encoding).into_iter().filter(|op| *op != signature.name);
                let takers = takers.map(str::to_owned).collect();
                NodeProblem::EncodedInput { input, encoding, takers }
            }
            problem => problem.into(),
        })
    }

    fn insert(&mut self, parts: NodeParts) -> usize {
        let NodeParts { name, op, attributes, inputs, places, outputs } = parts;
        let node = self.nodes.len();
        // A node writes the states that it takes as such; what it yields is their next version.
        let signature = self.registry.op(&op).map(RegisteredOp::signature);
        let is_state = |place: &usize| signature.is_some_and(|signature| signature.is_state(*place));
        let writes: Vec<bool> = places.iter().map(is_state).collect();
        let mut indices = Vec::with_capacity(outputs.len());
        for (index, output) in outputs.into_iter().enumerate() {
            let state = output.alias.and_then(|input| {
                let (state, version) = self.values[inputs[input].index].state?;
                Some((state, version + usize::from(writes[input])))
            });
            let source = Source::Node { node, output: index, alias: output.alias };
            indices.push(self.push(output.tensor, source, state).index);
        }
        for (_, value) in inputs.iter().enumerate().filter(|(input, _)| writes[*input]) {
            if let Some((state, _)) = self.values[value.index].state {
                self.states[state].writers.push(node);
            }
        }
        self.node_names.insert(name.clone());
        let inputs = inputs.iter().map(|value| value.index).collect();
        self.nodes.push(NodeData { name, op, attributes, inputs, places, outputs: indices });
        node
    }
}

/// Whether types can be written out, however long their dimensions are.
fn check_text(types: &[TensorType]) -> Result<(), NodeProblem> {
    let dims = || types.iter().flat_map(|tensor| &tensor.shape).filter(|dim| dim.fixed().is_none());
    // Only many can be too long.
    if dims().count() <= MAX_TYPES_TEXT / MAX_TEXT {
        return Ok(());
    }
    let mut left = MAX_TYPES_TEXT;
    dims().try_for_each(|dim| {
        left = left.checked_sub(dim.to_string().len()).ok_or(NodeProblem::TypesTooLong)?;
        Ok(())
    })
}

/// Whether attributes that are shapes are no longer than a value's can be.
fn check_ranks(attributes: &Attributes) -> Result<(), NodeProblem> {
    attributes.iter().try_for_each(|(attribute, value)| match value {
        Attribute::Shape(dims) if dims.len() > MAX_RANK => {
            Err(NodeProblem::AttributeRank { attribute: attribute.to_owned(), found: dims.len() })
        }
        _ => Ok(()),
    })
}

/// Whether what an op inferred can be: a type each, known encodings, and memory that is there.
pub(crate) fn check_outputs(
    op: &RegisteredOp,
    places: &[usize],
    inputs: &[TensorType],
    outputs: &[OutputType],
    registry: &Registry,
) -> Result<(), NodeProblem> {
    let wrong = |problem: String| Err(NodeProblem::BadInference(problem));
    if outputs.is_empty() || outputs.len() > MAX_OUTPUTS {
        return wrong(format!("yields {} outputs; a node has 1 to {MAX_OUTPUTS}", outputs.len()));
    }
    let symbols = outputs.iter().flat_map(|output| &output.tensor.shape).any(|dim| dim.fixed().is_none());
    let known: HashSet<&str> = match symbols {
        true => inputs.iter().flat_map(|input| &input.shape).flat_map(|dim| dim.symbols()).collect(),
        false => HashSet::new(),
    };
    for (index, output) in outputs.iter().enumerate() {
        let tensor = &output.tensor;
        if tensor.rank() > MAX_RANK {
            return wrong(format!(
                "says that output {index} has {} dimensions; a value of a graph has at most {MAX_RANK}",
                tensor.rank()
            ));
        }
        match (tensor.dtype(), tensor.encoding()) {
            (Some(dtype), _) if dtype.size().is_none() => {
                return wrong(format!(
                    "says that output {index} is of {dtype}, which is no dtype this version knows"
                ));
            }
            (_, Some(encoding)) => {
                let rows = tensor.shape.last().map(|dim| dim.fixed());
                match (registry.encoding(encoding), rows) {
                    (Some(encoding), Some(Some(row))) if row.is_multiple_of(encoding.spec().block_len) => {}
                    _ => {
                        return wrong(format!(
                            "says that output {index} is {tensor}, which no registered encoding can hold"
                        ));
                    }
                }
            }
            _ => {}
        }
        let attribute_symbol =
            tensor.shape.iter().flat_map(|dim| dim.symbols()).find(|symbol| !known.contains(*symbol));
        if let Some(symbol) = attribute_symbol {
            return wrong(format!(
                "says that output {index} is {tensor}; no input has the symbol `{symbol}`"
            ));
        }
        let Some(alias) = output.alias else { continue };
        let Some(input) = inputs.get(alias) else {
            return wrong(format!(
                "says that output {index} is the memory of input {alias}, which there is not"
            ));
        };
        let same_count = Dim::same_count(&input.shape, &tensor.shape).map_err(NodeProblem::Refused)?;
        if input.element != tensor.element || !same_count {
            return wrong(format!(
                "says that output {index}, {tensor}, is the memory of input {alias}, {input}"
            ));
        }
    }
    let signature = op.signature();
    for (index, place) in places.iter().enumerate() {
        let versions = outputs.iter().filter(|output| output.alias == Some(index)).count();
        if signature.is_state(*place) && versions != 1 {
            return wrong(format!(
                "yields {versions} next versions of the state that is input {index}; there must be one"
            ));
        }
    }
    Ok(())
}

/// A node as a plugin sees it, while it is built or loaded.
pub(crate) struct NodeContext<'a> {
    pub(crate) signature: &'a OpSignature,
    /// The index in the signature of each input.
    pub(crate) places: &'a [usize],
    pub(crate) attributes: &'a Attributes,
    pub(crate) inputs: &'a [TensorType],
    pub(crate) outputs: &'a [TensorType],
    pub(crate) constants: Vec<Option<&'a Tensor>>,
    pub(crate) registry: &'a Registry,
    pub(crate) options: &'a [(String, String)],
    pub(crate) executor: Executor<'a>,
    /// None while nothing is prepared.
    pub(crate) preparing: Option<&'a Preparing>,
}

/// What a provider has while it prepares a kernel.
#[derive(Default)]
pub(crate) struct Preparing {
    /// The name of the provider whose kernel it displaces.
    pub(crate) next: Option<String>,
    /// The bytes that it was lent.
    pub(crate) lent: AtomicUsize,
}

impl NodeHost for NodeContext<'_> {
    fn op(&self) -> &str {
        &self.signature.name
    }
    fn attributes(&self) -> &Attributes {
        self.attributes
    }
    fn position(&self, input: &str) -> Option<usize> {
        let is_it = |place: &usize| self.signature.inputs.get(*place).is_some_and(|spec| spec.name == input);
        self.places.iter().position(is_it)
    }
    fn inputs(&self) -> &[TensorType] {
        self.inputs
    }
    fn outputs(&self) -> &[TensorType] {
        self.outputs
    }
    fn is_constant(&self, index: usize) -> bool {
        self.constants.get(index).is_some_and(Option::is_some)
    }
    fn constant(&self, index: usize) -> Option<TensorView<'_>> {
        self.constants.get(index).copied().flatten().map(Tensor::view)
    }
    fn encoding(&self, name: &str) -> Option<Encoding<'_>> {
        self.registry.encoding(name).map(|encoding| encoding.handle.encoding())
    }
    fn option(&self, name: &str) -> Option<String> {
        self.options.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone())
    }
    fn executor(&self) -> Executor<'_> {
        self.executor
    }
    fn next(&self) -> Option<String> {
        self.preparing?.next.clone()
    }
    fn memory(&self, bytes: usize) -> Result<PreparedMemory, Error> {
        let Some(preparing) = self.preparing else {
            return Err(Error::failed(
                "memory is lent to a provider that prepares a kernel, and to nobody else",
            ));
        };
        let memory = LentBytes::zeroed(bytes).ok_or_else(|| {
            Error::failed(format_args!("there are no {bytes} bytes of memory for what is prepared"))
        })?;
        preparing.lent.fetch_add(bytes, Ordering::Relaxed);
        Ok(PreparedMemory::of(memory))
    }
}
