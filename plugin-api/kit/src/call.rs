//! One call of an op: its types, a kernel, and a run.

use bitquilt_plugin_api::host::{EncodingHandle, KernelProviderHandle, NodeHost, PreparedHandle};
use bitquilt_plugin_api::{
    Attribute, Attributes, Element, Encoding, Error, Executor, KernelKey, OpSignature, OutputType,
    PreparedMemory, Result, Shapes, Support, TensorType, TensorView,
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
    /// Whether transforms are cut and joined, too.
    joins: bool,
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
    /// How many kernels left the shapes to the one that ran.
    pub(super) displaced: usize,
}

struct Input<'a> {
    tensor: &'a TestTensor,
    constant: bool,
    /// Its name, if it is not given by its place.
    name: Option<String>,
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
            joins: false,
        }
    }

    /// Adds an input: a constant if it is encoded, else known at run time alone. A state is copied; its next version is
    /// the output that aliases it.
    #[must_use]
    pub fn input(self, tensor: &'a TestTensor) -> Self {
        self.input_as(tensor, tensor.tensor_type().encoding().is_some())
    }

    /// Adds an input that may be left out, by its name; after those that are given by their places.
    #[must_use]
    pub fn input_named(mut self, name: &str, tensor: &'a TestTensor) -> Self {
        let constant = tensor.tensor_type().encoding().is_some();
        self.inputs.push(Input { tensor, constant, name: Some(name.to_owned()) });
        self
    }

    /// Adds an input, and says whether it is a constant.
    #[must_use]
    pub fn input_as(mut self, tensor: &'a TestTensor, constant: bool) -> Self {
        self.inputs.push(Input { tensor, constant, name: None });
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

    /// Also checks that transforms of parts of rows join to those of whole rows.
    #[must_use]
    pub(super) fn joins(mut self) -> Self {
        self.joins = true;
        self
    }

    /// Runs it once, and answers the outputs. What the kernel writes beside the memory it was given is an error.
    pub fn run(&self) -> Result<Vec<TestTensor>> {
        let Ran { outputs, trespass, .. } = self.run_watched()?;
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
        let names: Vec<&str> = self.inputs.iter().filter_map(|input| input.name.as_deref()).collect();
        let arranged = signature.arrange(self.inputs.len() - names.len(), &names)?;
        let inputs: Vec<&Input<'_>> = arranged.iter().map(|(_, given)| &self.inputs[*given]).collect();
        let tensors: Vec<&TestTensor> = inputs.iter().map(|input| input.tensor).collect();
        let mut node = Node {
            host: self.host,
            signature,
            places: arranged.iter().map(|(place, _)| *place).collect(),
            attributes: signature.complete(&self.attributes)?,
            types: tensors.iter().map(|tensor| tensor.tensor_type()).collect(),
            outputs: Vec::new(),
            inputs: &inputs,
            options: &self.options,
            executor,
            next: None,
        };
        node.check_types()?;
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
        let (mut trespass, mut displaced) = (None, 0);
        if !signature.is_view(&node.places, outputs.iter().map(|output| output.alias)) {
            let (host, memory, workers) = (self.host, self.memory, executor.workers());
            let of_inputs: Vec<&[usize]> = tensors.iter().map(|tensor| tensor.shape()).collect();
            let of_outputs: Vec<&[usize]> = written.iter().map(TestTensor::shape).collect();
            let shapes = Shapes { inputs: &of_inputs, outputs: &of_outputs, workers };
            let (prepared, index) = self.prepare(&mut node, &shapes)?;
            displaced = index;
            let (inputs, outputs, places) = (&tensors[..], &outputs[..], &node.places[..]);
            let job = Job { host, prepared, signature, places, inputs, outputs, memory, executor };
            if self.joins {
                job.check_joints()?;
            }
            trespass = job.run(&mut written)?;
        }
        Ok(Ran { outputs: written, trespass, displaced })
    }

    /// The kernel for these shapes: of the first provider that supports the node, or of one that it leaves them to; and its index among
    /// them.
    fn prepare(&self, node: &mut Node<'_>, shapes: &Shapes<'_>) -> Result<(PreparedHandle, usize)> {
        let providers = self.providers(node)?;
        for (index, (_, provider)) in providers.iter().enumerate() {
            node.next = providers.get(index + 1).map(|(key, _)| key.name.clone());
            let prepared = provider.prepare(node)?;
            if !prepared.or_next || prepared.kernel.serves(shapes)? {
                return Ok((prepared, index));
            }
        }
        Err(Error::failed("the kernel leaves the shapes to the next, and there is none"))
    }

    /// The providers that support the node, from the chosen one on.
    fn providers(&self, node: &Node<'_>) -> Result<Vec<&'a (KernelKey, KernelProviderHandle)>> {
        let of_op = self.host.kernels.iter().enumerate().filter(|(_, (key, _))| key.op == self.op);
        let encoding = node.signature.kernel_encoding(&node.types);
        let candidates = KernelKey::in_order(of_op, encoding, |(_, (key, _))| key);
        let is_chosen = |(index, (key, _)): &(usize, &(KernelKey, _))| match &self.kernel {
            None => true,
            Some(Choice::Named(name)) => *name == key.name,
            Some(Choice::At(chosen)) => chosen == index,
        };
        let mut reasons = Vec::new();
        let mut supporting = Vec::new();
        for (at, (_, kernel)) in candidates.into_iter().skip_while(|it| !is_chosen(it)).enumerate() {
            match kernel.1.supports(node) {
                Support::Yes => supporting.push(kernel),
                Support::No(reason) => {
                    reasons.push(reason);
                    if at == 0 && self.kernel.is_some() {
                        break;
                    }
                }
            }
        }
        if supporting.is_empty() {
            let op = &self.op;
            return Err(Error::unsupported(format_args!("no kernel of `{op}` serves the node: {reasons:?}")));
        }
        Ok(supporting)
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
        self.infer_named(op, inputs, &[], attributes)
    }

    /// As [`Self::infer`], where the last inputs are those of these names, which may be left out.
    pub fn infer_named(
        &self,
        op: &str,
        inputs: &[TensorType],
        names: &[String],
        attributes: &Attributes,
    ) -> Result<Vec<OutputType>> {
        let (signature, handle) = self.op(op)?;
        let by_place = inputs.len().saturating_sub(names.len());
        let arranged = signature.arrange(by_place, names)?;
        let node = Node {
            host: self,
            signature,
            places: arranged.iter().map(|(place, _)| *place).collect(),
            attributes: signature.complete(attributes)?,
            types: arranged.iter().map(|(_, given)| inputs[*given].clone()).collect(),
            outputs: Vec::new(),
            inputs: &[],
            options: &[],
            executor: Executor::serial(),
            next: None,
        };
        node.check_types()?;
        handle.infer(&node)
    }
}

fn shape_of(tensor: &TensorType) -> Result<Vec<usize>> {
    tensor.fixed_shape().ok_or_else(|| Error::invalid(format_args!("the output {tensor} is not fixed")))
}

/// A node while it is built and loaded.
struct Node<'a> {
    host: &'a TestHost,
    signature: &'a OpSignature,
    /// The index in the signature of each input.
    places: Vec<usize>,
    attributes: Attributes,
    types: Vec<TensorType>,
    outputs: Vec<TensorType>,
    inputs: &'a [&'a Input<'a>],
    options: &'a [(String, String)],
    executor: Executor<'a>,
    /// The name of the provider after the one that prepares.
    next: Option<String>,
}

impl Node<'_> {
    fn check_types(&self) -> Result<()> {
        let check = |(place, tensor): (&usize, &TensorType)| self.signature.inputs[*place].check(tensor);
        Ok(self.places.iter().zip(&self.types).try_for_each(check)?)
    }
}

impl NodeHost for Node<'_> {
    fn op(&self) -> &str {
        &self.signature.name
    }
    fn attributes(&self) -> &Attributes {
        &self.attributes
    }
    fn position(&self, input: &str) -> Option<usize> {
        self.places.iter().position(|place| self.signature.inputs[*place].name == input)
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
    fn next(&self) -> Option<String> {
        self.next.clone()
    }
    fn memory(&self, bytes: usize) -> Result<PreparedMemory> {
        PreparedMemory::on_heap(bytes)
    }
}
