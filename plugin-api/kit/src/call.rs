//! One call of an op: its types, a kernel, and a run.

use bitquilt_plugin_api::host::{EncodingHandle, KernelProviderHandle, NodeHost};
use bitquilt_plugin_api::{
    Arity, Attribute, Attributes, Element, Error, Executor, InputKind, OpSignature, OutputType, Result,
    Selector, Support, TensorType, TensorView,
};

use crate::memory::Memory;
use crate::run::{Job, is_view};
use crate::{TestHost, TestTensor, TestThreads};

/// A call of an op, in the making.
pub struct Call<'a> {
    host: &'a TestHost,
    op: String,
    inputs: Vec<Input<'a>>,
    attributes: Attributes,
    options: Vec<(String, String)>,
    threads: usize,
    kernel: Option<Choice>,
    memory: Memory,
}

/// Which of an op's kernel providers is taken.
enum Choice {
    Named(String),
    /// By its place among all of the host.
    At(usize),
}

/// What a run has done.
pub(super) struct Ran {
    /// Its outputs.
    pub(super) outputs: Vec<TestTensor>,
    /// What was written where nothing may be.
    pub(super) trespass: Option<String>,
}

struct Input<'a> {
    tensor: &'a TestTensor,
    constant: bool,
}

impl<'a> Call<'a> {
    fn new(host: &'a TestHost, op: &str) -> Self {
        let (inputs, attributes, options) = (Vec::new(), Attributes::new(), Vec::new());
        Self {
            host,
            op: op.to_owned(),
            inputs,
            attributes,
            options,
            threads: 1,
            kernel: None,
            memory: Memory::default(),
        }
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
        self.kernel = Some(Choice::Named(name.to_owned()));
        self
    }

    /// Takes the host's provider of this number, and no other.
    #[must_use]
    pub(super) fn provider_at(mut self, index: usize) -> Self {
        self.kernel = Some(Choice::At(index));
        self
    }

    /// Says what outputs and scratch are made of.
    #[must_use]
    pub(super) fn memory(mut self, memory: Memory) -> Self {
        self.memory = memory;
        self
    }

    /// Runs it once, and answers the outputs. What the kernel writes beside the memory it was given is an error.
    pub fn run(&self) -> Result<Vec<TestTensor>> {
        let Ran { outputs, trespass } = self.run_watched()?;
        match trespass {
            Some(what) => Err(Error::failed(format_args!("the kernel wrote outside {what}"))),
            None => Ok(outputs),
        }
    }

    /// As [`Self::run`], where writing beside one's memory is not an error.
    pub(super) fn run_watched(&self) -> Result<Ran> {
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
                Some(input) => {
                    let source = tensors.get(input).ok_or_else(|| {
                        Error::failed(format_args!("an output is said to alias input {input}, which is none"))
                    })?;
                    Ok((*source).clone().reshaped(shape_of(&output.tensor)?))
                }
                None => self.allocate(&output.tensor),
            })
            .collect::<Result<_>>()?;
        let views_alone = !outputs.is_empty() && outputs.iter().all(|output| is_view(signature, output));
        let mut trespass = None;
        if !views_alone {
            let prepared = self.provider(signature, &node)?.prepare(&node)?;
            let (host, memory) = (self.host, self.memory);
            let job =
                Job { host, prepared, signature, inputs: &tensors, outputs: &outputs, memory, executor };
            trespass = job.run(&mut written)?;
        }
        Ok(Ran { outputs: written, trespass })
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
            .enumerate()
            .filter(|(index, (key, _))| {
                let chosen = match &self.kernel {
                    None => true,
                    Some(Choice::Named(name)) => *name == key.name,
                    Some(Choice::At(chosen)) => chosen == index,
                };
                key.op == self.op && chosen
            })
            .filter_map(|(_, (key, provider))| Some((rank(&key.selector)?, key.priority, provider)))
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
        let product = |factors: &[usize]| {
            factors.iter().try_fold(1usize, |product, factor| product.checked_mul(*factor))
        };
        let bytes = match &tensor.element {
            Element::Dense(dtype) => {
                product(&shape).and_then(|count| count.checked_mul(dtype.size().unwrap_or_default()))
            }
            Element::Encoded(name) => product(&self.host.encoding(name)?.spec().byte_shape(&shape)?),
        };
        let bytes =
            bytes.ok_or_else(|| Error::failed(format_args!("no memory holds the output {tensor}")))?;
        TestTensor::blank(tensor.element.clone(), shape, bytes, self.memory)
    }
}

impl TestHost {
    /// A call of an op; give its inputs in order.
    pub fn call<'a>(&'a self, op: &str) -> Call<'a> {
        Call::new(self, op)
    }

    /// The output types of an op; none of its inputs is a constant.
    pub fn infer(&self, op: &str, inputs: &[TensorType], attributes: &Attributes) -> Result<Vec<OutputType>> {
        let (signature, handle) = self.op(op)?;
        check_inputs(signature, inputs)?;
        handle.infer(&Node {
            host: self,
            op,
            attributes: with_defaults(signature, attributes)?,
            types: inputs.to_vec(),
            outputs: Vec::new(),
            inputs: &[],
            options: &[],
            executor: Executor::serial(),
        })
    }
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
    let required = specs.iter().filter(|spec| spec.arity != Arity::Optional).count();
    let many = specs.last().is_some_and(|spec| spec.arity == Arity::Many);
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
            _ => input.dtype().is_some(),
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
