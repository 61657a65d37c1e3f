//! One call of an op: its types, a kernel, and a run.

use std::cell::{Cell, RefCell};

use super::tensor::AlignedBytes;
use super::{TestHost, TestTensor, TestThreads};
use crate::host::{EncodingHandle, KernelProviderHandle, NodeHost, PreparedHandle, RunHost, WorkerMemory};
use crate::{
    Attribute, Attributes, Element, Error, Executor, InputKind, OpSignature, OutputType, Result, Selector,
    Shapes, Support, TensorType, TensorView, TensorViewMut,
};

/// A call of an op, in the making.
pub struct Call<'a> {
    host: &'a TestHost,
    op: String,
    inputs: Vec<Input<'a>>,
    attributes: Attributes,
    options: Vec<(String, String)>,
    threads: usize,
    kernel: Option<String>,
}

struct Input<'a> {
    tensor: &'a TestTensor,
    constant: bool,
}

impl<'a> Call<'a> {
    pub(super) fn new(host: &'a TestHost, op: &str) -> Self {
        let (inputs, attributes, options) = (Vec::new(), Attributes::new(), Vec::new());
        Self { host, op: op.to_owned(), inputs, attributes, options, threads: 1, kernel: None }
    }

    /// Adds an input: a constant if it is encoded, else known at run time alone. A state is copied; its next version is
    /// the output that aliases it.
    #[must_use]
    pub fn input(mut self, tensor: &'a TestTensor) -> Self {
        self.inputs.push(Input { tensor, constant: tensor.tensor_type().encoding().is_some() });
        self
    }

    /// Adds an input, and says whether it is a constant.
    #[must_use]
    pub fn input_as(mut self, tensor: &'a TestTensor, constant: bool) -> Self {
        self.inputs.push(Input { tensor, constant });
        self
    }

    /// Sets an attribute.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: impl Into<Attribute>) -> Self {
        self.attributes.insert(name, value);
        self
    }

    /// Sets a session's option.
    #[must_use]
    pub fn option(mut self, name: &str, value: &str) -> Self {
        self.options.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Sets the number of threads, which is 1 otherwise.
    #[must_use]
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = threads;
        self
    }

    /// Takes the provider of this name, not the first that supports the node.
    #[must_use]
    pub fn kernel(mut self, name: &str) -> Self {
        self.kernel = Some(name.to_owned());
        self
    }

    /// Runs it once, and answers the outputs.
    pub fn run(&self) -> Result<Vec<TestTensor>> {
        let threads = TestThreads::new(self.threads);
        let executor = Executor::of(&threads);
        let (signature, op) = self.host.op(&self.op)?;
        let tensors: Vec<&TestTensor> = self.inputs.iter().map(|input| input.tensor).collect();
        let mut node = Node {
            host: self.host,
            op: &self.op,
            attributes: with_defaults(signature, &self.attributes)?,
            types: tensors.iter().map(|tensor| tensor.tensor_type()).collect(),
            outputs: Vec::new(),
            inputs: &self.inputs,
            options: &self.options,
            executor,
        };
        check_inputs(signature, &node.types)?;
        let outputs = op.infer(&node)?;
        node.outputs = outputs.iter().map(|output| output.tensor.clone()).collect();
        let mut written: Vec<TestTensor> = outputs
            .iter()
            .map(|output| match output.alias {
                Some(input) => Ok(tensors[input].clone().reshaped(shape_of(&output.tensor)?)),
                None => self.allocate(&output.tensor),
            })
            .collect::<Result<_>>()?;
        let views_alone = !outputs.is_empty() && outputs.iter().all(|output| is_view(signature, output));
        if !views_alone {
            let prepared = self.provider(signature, &node)?.prepare(&node)?;
            run(self.host, &prepared, signature, &tensors, &outputs, &mut written, executor)?;
        }
        Ok(written)
    }

    /// The provider that serves the node: that of its own encoding first, then the higher priority.
    fn provider(&self, signature: &OpSignature, node: &Node<'_>) -> Result<&'a KernelProviderHandle> {
        let encoding = signature.kernel_input.and_then(|input| node.types[input].encoding());
        let rank = |selector: &Selector| match (selector, encoding) {
            (Selector::Encoding(name), Some(encoding)) if name == encoding => Some(2),
            (Selector::AnyEncoding, Some(_)) | (Selector::Dense, None) => Some(1),
            _ => None,
        };
        let mut candidates: Vec<_> = self
            .host
            .kernels
            .iter()
            .filter(|(key, _)| key.op == self.op && self.kernel.as_ref().is_none_or(|name| *name == key.name))
            .filter_map(|(key, provider)| Some((rank(&key.selector)?, key.priority, provider)))
            .collect();
        candidates.sort_by_key(|(rank, priority, _)| std::cmp::Reverse((*rank, *priority)));
        let mut reasons = Vec::new();
        for (.., provider) in candidates {
            match provider.supports(node) {
                Support::Yes => return Ok(provider),
                Support::No(reason) => reasons.push(reason),
            }
        }
        Err(Error::unsupported(format_args!("no kernel of `{}` serves the node: {reasons:?}", self.op)))
    }

    fn allocate(&self, tensor: &TensorType) -> Result<TestTensor> {
        let shape = shape_of(tensor)?;
        let bytes = match &tensor.element {
            Element::Dense(dtype) => dtype.size().unwrap_or_default() * shape.iter().product::<usize>(),
            Element::Encoded(name) => self.host.encoding(name)?.spec().byte_shape(&shape)?.iter().product(),
        };
        Ok(TestTensor::garbage(tensor.element.clone(), shape, bytes))
    }
}

pub(super) fn infer(
    host: &TestHost,
    op: &str,
    inputs: &[TensorType],
    attributes: &Attributes,
) -> Result<Vec<OutputType>> {
    let (signature, handle) = host.op(op)?;
    check_inputs(signature, inputs)?;
    handle.infer(&Node {
        host,
        op,
        attributes: with_defaults(signature, attributes)?,
        types: inputs.to_vec(),
        outputs: Vec::new(),
        inputs: &[],
        options: &[],
        executor: Executor::serial(),
    })
}

/// The attributes that a node has: each is known and of its kind, and what is not given has its default.
fn with_defaults(signature: &OpSignature, given: &Attributes) -> Result<Attributes> {
    if let Some((name, _)) =
        given.iter().find(|(name, _)| signature.attributes.iter().all(|spec| spec.name != *name))
    {
        return Err(Error::invalid(format_args!("`{}` has no attribute `{name}`", signature.name)));
    }
    let mut attributes = Attributes::new();
    for spec in &signature.attributes {
        let value = given.get(&spec.name).or(spec.default.as_ref()).cloned();
        let value = value.and_then(|value| value.into_kind(spec.kind)).ok_or_else(|| {
            Error::invalid(format_args!(
                "the attribute `{}` of `{}` wants {}",
                spec.name, signature.name, spec.kind
            ))
        })?;
        attributes.insert(spec.name.as_str(), value);
    }
    Ok(attributes)
}

/// What a host checks before it calls `infer`: number and kinds of the inputs.
fn check_inputs(signature: &OpSignature, inputs: &[TensorType]) -> Result<()> {
    let specs = &signature.inputs;
    let required = specs.iter().filter(|spec| spec.arity != crate::Arity::Optional).count();
    let many = specs.last().is_some_and(|spec| spec.arity == crate::Arity::Many);
    if inputs.len() < required || (inputs.len() > specs.len() && !many) {
        return Err(Error::invalid(format_args!(
            "`{}` does not take {} inputs",
            signature.name,
            inputs.len()
        )));
    }
    for (input, spec) in inputs.iter().zip(specs.iter().chain(specs.last().into_iter().cycle())) {
        let taken = match spec.kind {
            InputKind::Encoded => input.encoding().is_some_and(|name| {
                spec.encodings.is_empty() || spec.encodings.iter().any(|taken| taken == name)
            }),
            InputKind::Dense | InputKind::State => input.dtype().is_some(),
        };
        if !taken {
            return Err(Error::invalid(format_args!(
                "`{}` of `{}` does not take {input}",
                spec.name, signature.name
            )));
        }
    }
    Ok(())
}

fn shape_of(tensor: &TensorType) -> Result<Vec<usize>> {
    tensor.fixed_shape().ok_or_else(|| Error::invalid(format_args!("the output {tensor} is not fixed")))
}

/// A node while it is built and loaded.
struct Node<'a> {
    host: &'a TestHost,
    op: &'a str,
    attributes: Attributes,
    types: Vec<TensorType>,
    outputs: Vec<TensorType>,
    inputs: &'a [Input<'a>],
    options: &'a [(String, String)],
    executor: Executor<'a>,
}

impl NodeHost for Node<'_> {
    fn op(&self) -> &str {
        self.op
    }
    fn attributes(&self) -> &Attributes {
        &self.attributes
    }
    fn inputs(&self) -> &[TensorType] {
        &self.types
    }
    fn outputs(&self) -> &[TensorType] {
        &self.outputs
    }
    fn is_constant(&self, index: usize) -> bool {
        self.inputs.get(index).is_some_and(|input| input.constant)
    }
    fn constant(&self, index: usize) -> Option<TensorView<'_>> {
        self.inputs.get(index).filter(|input| input.constant).map(|input| input.tensor.view())
    }
    fn encoding(&self, name: &str) -> Option<&EncodingHandle> {
        self.host.find_encoding(name)
    }
    fn option(&self, name: &str) -> Option<String> {
        self.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
    fn executor(&self) -> Executor<'_> {
        self.executor
    }
}

/// Runs the transforms and the kernel. `written` are the outputs, those that alias an input with its bytes in them.
fn run(
    host: &TestHost,
    prepared: &PreparedHandle,
    signature: &OpSignature,
    tensors: &[&TestTensor],
    outputs: &[OutputType],
    written: &mut [TestTensor],
    executor: Executor<'_>,
) -> Result<()> {
    let mut transformed = Vec::new();
    for (input, _, transform) in &prepared.transforms {
        let mut result = AlignedBytes::garbage(transform.bytes(tensors[*input].shape())?);
        transform.run(&tensors[*input].view(), result.as_mut(), executor)?;
        transformed.push(result);
    }
    let input_shapes: Vec<&[usize]> = tensors.iter().map(|tensor| tensor.shape()).collect();
    let output_shapes: Vec<Vec<usize>> = written.iter().map(|tensor| tensor.shape().to_vec()).collect();
    let output_shapes: Vec<&[usize]> = output_shapes.iter().map(Vec::as_slice).collect();
    let shapes = Shapes { inputs: &input_shapes, outputs: &output_shapes, workers: executor.workers() };
    let scratch = prepared.kernel.scratch(&shapes)?;
    let stride = scratch.per_worker.next_multiple_of(64);
    let mut shared = AlignedBytes::garbage(scratch.shared);
    let mut workers = AlignedBytes::garbage(stride * executor.workers());

    let (mut own, mut states) = (Vec::new(), Vec::new());
    states.resize_with(tensors.len(), || None);
    for (output, tensor) in outputs.iter().zip(written) {
        match output.alias {
            Some(input) if is_state(signature, input) => {
                states[input] = Some(tensor.view_mut());
                own.push(None);
            }
            Some(_) => own.push(None),
            None => own.push(Some(tensor.view_mut())),
        }
    }
    let run = Run {
        host,
        inputs: tensors
            .iter()
            .enumerate()
            .map(|(index, tensor)| {
                let readable = states[index].is_none() && !prepared.released.contains(&index);
                readable.then_some(*tensor)
            })
            .collect(),
        outputs: RefCell::new(own),
        states: RefCell::new(states),
        transformed: &transformed,
        shared: Cell::new(shared.as_mut()),
        workers: Cell::new(workers.as_mut()),
        stride,
        per_worker: scratch.per_worker,
        executor,
    };
    // SAFETY: `Run` keeps to the contract of `RunHost`, as is said there.
    unsafe { prepared.kernel.run(&run) }
}

fn is_state(signature: &OpSignature, input: usize) -> bool {
    signature.inputs.get(input).is_some_and(|spec| spec.kind == InputKind::State)
}

/// Whether an output is an input's bytes in another shape, so that there is nothing to compute.
fn is_view(signature: &OpSignature, output: &OutputType) -> bool {
    output.alias.is_some_and(|input| !is_state(signature, input))
}

/// One run of a node. What is written is handed out once.
struct Run<'a> {
    host: &'a TestHost,
    inputs: Vec<Option<&'a TestTensor>>,
    outputs: RefCell<Vec<Option<TensorViewMut<'a>>>>,
    states: RefCell<Vec<Option<TensorViewMut<'a>>>>,
    transformed: &'a [AlignedBytes],
    shared: Cell<&'a mut [u8]>,
    workers: Cell<&'a mut [u8]>,
    stride: usize,
    per_worker: usize,
    executor: Executor<'a>,
}

// SAFETY: all memory is borrowed for `'a`, which outlives the run. What is written are exclusive borrows of separate tensors and
// buffers, each given away once; inputs and transform results are shared borrows.
unsafe impl RunHost for Run<'_> {
    fn input_count(&self) -> usize {
        self.inputs.len()
    }
    fn input(&self, index: usize) -> Option<TensorView<'_>> {
        self.inputs.get(index).copied().flatten().map(TestTensor::view)
    }
    fn output(&self, index: usize) -> Option<TensorViewMut<'_>> {
        self.outputs.borrow_mut().get_mut(index)?.take()
    }
    fn state(&self, index: usize) -> Option<TensorViewMut<'_>> {
        self.states.borrow_mut().get_mut(index)?.take()
    }
    fn transformed(&self, index: usize) -> Option<&[u8]> {
        self.transformed.get(index).map(AlignedBytes::as_ref)
    }
    fn shared_scratch(&self) -> &mut [u8] {
        self.shared.take()
    }
    fn worker_scratch(&self) -> WorkerMemory<'_> {
        let workers = self.executor.workers();
        WorkerMemory { memory: self.workers.take(), stride: self.stride, bytes: self.per_worker, workers }
    }
    fn decoder(&self, index: usize) -> Option<&EncodingHandle> {
        let tensor = self.inputs.get(index).copied().flatten()?;
        self.host.find_encoding(tensor.tensor_type().encoding()?)
    }
    fn executor(&self) -> Executor<'_> {
        self.executor
    }
}
