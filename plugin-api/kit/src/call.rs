//! One call of an op: its types, a kernel, and a run.

use bitquilt_plugin_api::host::{EncodingHandle, KernelProviderHandle, NodeHost};
use bitquilt_plugin_api::{
    Attribute, Attributes, Element, Encoding, Error, Executor, KernelKey, OpSignature, OutputType, Result,
    Support, TensorType, TensorView,
};

use crate::memory::Memory;
use crate::run::Job;
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
            attributes: signature.complete(&self.attributes)?,
            types: tensors.iter().map(|tensor| tensor.tensor_type()).collect(),
            outputs: Vec::new(),
            inputs: &self.inputs,
            options: &self.options,
            executor,
        };
        signature.check_inputs(&node.types)?;
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
        let views_alone = !outputs.is_empty() && outputs.iter().all(|output| signature.is_view(output));
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

    /// The first provider that serves the node.
    fn provider(&self, signature: &OpSignature, node: &Node<'_>) -> Result<&'a KernelProviderHandle> {
        let providers = self.host.kernels.iter().enumerate().filter(|(index, (key, _))| {
            let is_chosen = match &self.kernel {
                None => true,
                Some(Choice::Named(name)) => *name == key.name,
                Some(Choice::At(chosen)) => chosen == index,
            };
            key.op == self.op && is_chosen
        });
        let encoding = signature.kernel_encoding(&node.types);
        let candidates = KernelKey::in_order(providers.map(|(_, kernel)| kernel), encoding, |(key, _)| key);
        let mut reasons = Vec::new();
        for (_, provider) in candidates {
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
        signature.check_inputs(inputs)?;
        handle.infer(&Node {
            host: self,
            op,
            attributes: signature.complete(attributes)?,
            types: inputs.to_vec(),
            outputs: Vec::new(),
            inputs: &[],
            options: &[],
            executor: Executor::serial(),
        })
    }
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
    fn encoding(&self, name: &str) -> Option<Encoding<'_>> {
        self.host.find_encoding(name).map(EncodingHandle::encoding)
    }
    fn option(&self, name: &str) -> Option<String> {
        self.options.iter().find(|(known, _)| known == name).map(|(_, value)| value.clone())
    }
    fn executor(&self) -> Executor<'_> {
        self.executor
    }
}
