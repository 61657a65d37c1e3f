//! Kernels: ways to run an op.

use std::ops::Deref;

use crate::abi::{AbiNodeRef, AbiRunRef};
use crate::attributes::Attributes;
use crate::encoding::EncodingSpec;
use crate::executor::Executor;
use crate::handle::Encoding;
use crate::tensor::{TensorType, TensorView, TensorViewMut, WorkerScratch};
use crate::{Error, Result};

/// One way to run an op, for dense inputs, one encoding, or every encoding.
///
/// Of the providers of an op that support a node, the one for the node's own encoding goes before the one for any
/// encoding, and then the higher priority goes first.
pub trait KernelProvider: Send + Sync + 'static {
    /// What it serves. Read once, when the provider is registered. `[load-thread]`
    fn key(&self) -> KernelKey;

    /// Whether it can run this node on this machine, or why not; `explain` shows the reason. `[load-thread]`
    fn supports(&self, node: &NodeView<'_>) -> Support {
        let _ = node;
        Support::Yes
    }

    /// Makes a kernel for a node. Called when a graph is loaded, once for nodes that agree in everything it is shown. `[load-thread]`
    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared>;
}

/// Runs one node. Holds what was prepared for it, repacked weights for instance.
pub trait Kernel: Send + Sync + 'static {
    /// The memory a run needs besides its outputs, for these shapes. `[any-thread]`
    fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
        let _ = shapes;
        Scratch::default()
    }

    /// Computes the outputs, each wholly written. Called from several threads at once, for different runs. `[any-thread]`
    ///
    /// A kernel takes its memory from the context and allocates none, so that steady state has no allocation.
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()>;
}

/// Something computed from a run-time input before the kernels that ask for it, once for all that name the same key: the
/// quantized form of an activation that several weights multiply, say.
pub trait InputTransform: Send + Sync + 'static {
    /// Bytes of the result for an input of this shape. `[any-thread]`
    fn bytes(&self, shape: &[usize]) -> usize;

    /// Computes the result; `dst` is aligned to 64 and is wholly written. `[any-thread]`
    fn run(&self, input: TensorView<'_>, dst: &mut [u8], executor: Executor<'_>) -> Result<()>;
}

/// What a provider serves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelKey {
    /// The op's name. The op may be another plugin's.
    pub op: String,
    /// Which inputs it is for.
    pub selector: Selector,
    /// Among providers of one op and selector, the highest that supports a node serves it; 0 is the plain one.
    pub priority: i32,
    /// The provider's name in `explain`: `avx512-vnni`, `generic`.
    pub name: String,
}

/// Which inputs a provider is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Selector {
    /// Ops without a kernel input.
    Dense,
    /// The kernel input has this encoding, which may be another plugin's.
    Encoding(String),
    /// The kernel input has any encoding.
    AnyEncoding,
}

impl KernelKey {
    /// A key of priority 0.
    pub fn new(op: impl Into<String>, selector: Selector, name: impl Into<String>) -> Self {
        Self { op: op.into(), selector, priority: 0, name: name.into() }
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }
}

/// Whether a provider can run a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// It can.
    Yes,
    /// It cannot, for this reason.
    No(String),
}

impl Support {
    /// It cannot, for this reason.
    pub fn no(reason: impl Into<String>) -> Self {
        Self::No(reason.into())
    }
}

/// A node as an author sees it: the op, its attributes, and types.
pub struct NodeView<'a> {
    pub(crate) op: String,
    pub(crate) attributes: Attributes,
    pub(crate) inputs: Vec<TensorType>,
    pub(crate) outputs: Vec<TensorType>,
    pub(crate) host: AbiNodeRef<'a>,
}

impl NodeView<'_> {
    /// The op's name.
    pub fn op(&self) -> &str {
        &self.op
    }

    /// Its attributes, defaults included.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The inputs' types. Those of an [`Arity::Many`](crate::Arity) input stand one after the other.
    pub fn inputs(&self) -> &[TensorType] {
        &self.inputs
    }

    /// The outputs' types.
    pub fn outputs(&self) -> &[TensorType] {
        &self.outputs
    }

    /// Whether input `index` is the same for every run.
    pub fn is_constant(&self, index: usize) -> bool {
        self.host.is_constant(index)
    }

    /// The spec of a registered encoding.
    pub fn encoding(&self, name: &str) -> Result<EncodingSpec> {
        self.host.encoding(name).map(|encoding| encoding.spec()).ok_or_else(|| unknown_encoding(name))
    }

    /// A setting of the session, such as `isa`; none where it was not set.
    pub fn option(&self, name: &str) -> Option<String> {
        self.host.option(name)
    }
}

/// What [`KernelProvider::prepare`] sees: a node, the bytes of its constants, and the host's threads.
pub struct PrepareContext<'a>(pub(crate) NodeView<'a>);

impl<'a> Deref for PrepareContext<'a> {
    type Target = NodeView<'a>;
    fn deref(&self) -> &NodeView<'a> {
        &self.0
    }
}

impl PrepareContext<'_> {
    /// The tensor of input `index`, if it is a constant.
    pub fn constant(&self, index: usize) -> Option<TensorView<'_>> {
        self.0.host.constant(index)
    }

    /// The encoding of this name, to decode constants with.
    pub fn decoder(&self, name: &str) -> Result<Encoding<'_>> {
        self.0.host.encoding(name).ok_or_else(|| unknown_encoding(name))
    }

    /// The host's threads.
    pub fn executor(&self) -> Executor<'_> {
        self.0.host.executor()
    }
}

fn unknown_encoding(name: &str) -> Error {
    Error::invalid(format_args!("no encoding `{name}` is registered"))
}

/// A kernel for a node, and what comes with it.
#[non_exhaustive]
pub struct Prepared {
    /// The kernel.
    pub kernel: Box<dyn Kernel>,
    /// Constant inputs whose bytes the kernel does not read when it runs; once no node reads a constant's, they are dropped.
    pub released: Vec<usize>,
    /// What is to be computed from inputs before the kernel runs.
    pub transforms: Vec<PreparedTransform>,
    /// Bytes that the kernel holds of its own, for `explain`.
    pub held_bytes: usize,
    /// What was chosen and why, for `explain`.
    pub note: String,
}

/// A transform that a kernel asks for.
#[non_exhaustive]
pub struct PreparedTransform {
    /// The input it is computed from.
    pub input: usize,
    /// Says what is computed: equal keys over one input of one run are computed once, by either's transform.
    pub key: String,
    /// Computes it.
    pub transform: Box<dyn InputTransform>,
}

impl Prepared {
    /// A kernel that reads all its inputs when it runs.
    pub fn new(kernel: impl Kernel) -> Self {
        let (released, transforms, note) = (Vec::new(), Vec::new(), String::new());
        Self { kernel: Box::new(kernel), released, transforms, held_bytes: 0, note }
    }

    /// Says that the kernel does not read the bytes of constant input `input` any more.
    #[must_use]
    pub fn releases(mut self, input: usize) -> Self {
        self.released.push(input);
        self
    }

    /// Asks for a transform of `input`; [`RunContext::transformed`] gives the results in the order they were asked for.
    #[must_use]
    pub fn transform(mut self, input: usize, key: impl Into<String>, transform: impl InputTransform) -> Self {
        self.transforms.push(PreparedTransform { input, key: key.into(), transform: Box::new(transform) });
        self
    }

    /// Sets the bytes that the kernel holds.
    #[must_use]
    pub fn held_bytes(mut self, bytes: usize) -> Self {
        self.held_bytes = bytes;
        self
    }

    /// Sets the line for `explain`.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// The shapes of a node in numbers, for one binding of the symbols.
pub struct Shapes<'a> {
    /// The inputs' shapes.
    pub inputs: &'a [&'a [usize]],
    /// The outputs' shapes.
    pub outputs: &'a [&'a [usize]],
    /// The number of workers that may run tasks.
    pub workers: usize,
}

/// Bytes of memory that a run needs besides its outputs. What it holds at the start of a run is unspecified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scratch {
    /// Bytes for the run.
    pub shared: usize,
    /// Bytes for each worker.
    pub per_worker: usize,
}

/// One run of a node: its tensors, memory and threads.
///
/// What is written (outputs, states, scratch) can be taken once, and then lives as long as the run.
pub struct RunContext<'a> {
    host: AbiRunRef<'a>,
    taken: Taken,
}

#[derive(Default)]
struct Taken {
    outputs: u64,
    states: u64,
    shared: bool,
    workers: bool,
}

impl<'a> RunContext<'a> {
    pub(crate) fn new(host: AbiRunRef<'a>) -> Self {
        Self { host, taken: Taken::default() }
    }

    /// Input `index`. An error if there is none, if it is a state, or if it was released in `prepare`.
    pub fn input(&self, index: usize) -> Result<TensorView<'a>> {
        self.host.input(index).ok_or_else(|| {
            Error::invalid(format_args!("the node has no input {index} to read (a state is taken with `state`, a released one is gone)"))
        })
    }

    /// The number of inputs.
    pub fn input_count(&self) -> usize {
        self.host.input_count()
    }

    /// Output `index`, to write. An error if there is none, or if it was taken before.
    pub fn output(&mut self, index: usize) -> Result<TensorViewMut<'a>> {
        take_bit(&mut self.taken.outputs, index, "output")?;
        // SAFETY: the bit says that this is the first time.
        unsafe { self.host.output(index) }.ok_or_else(|| {
            Error::invalid(format_args!("the node has no output {index} with memory of its own"))
        })
    }

    /// The state that is input `index`, to read and write. An error if it is none, or if it was taken before.
    pub fn state(&mut self, index: usize) -> Result<TensorViewMut<'a>> {
        take_bit(&mut self.taken.states, index, "state")?;
        // SAFETY: the bit says that this is the first time.
        unsafe { self.host.state(index) }
            .ok_or_else(|| Error::invalid(format_args!("input {index} is no state")))
    }

    /// The result of the `index`-th transform that `prepare` asked for.
    pub fn transformed(&self, index: usize) -> Result<&'a [u8]> {
        self.host
            .transformed(index)
            .ok_or_else(|| Error::invalid(format_args!("`prepare` asked for no transform {index}")))
    }

    /// The memory of the run: [`Scratch::shared`] bytes, aligned to 64. Empty if it was taken before.
    pub fn shared_scratch(&mut self) -> &'a mut [u8] {
        if std::mem::replace(&mut self.taken.shared, true) {
            return &mut [];
        }
        // SAFETY: this is the first time.
        unsafe { self.host.shared_scratch() }
    }

    /// The memory of each worker: [`Scratch::per_worker`] bytes apiece, aligned to 64. Of no bytes if it was taken before.
    pub fn worker_scratch(&mut self) -> WorkerScratch<'a> {
        if std::mem::replace(&mut self.taken.workers, true) {
            return WorkerScratch::none();
        }
        // SAFETY: this is the first time.
        unsafe { self.host.worker_scratch() }
    }

    /// The encoding of input `index`, to decode its blocks with.
    pub fn decoder(&self, index: usize) -> Result<Encoding<'a>> {
        self.host.decoder(index).ok_or_else(|| Error::invalid(format_args!("input {index} is not encoded")))
    }

    /// The host's threads.
    pub fn executor(&self) -> Executor<'a> {
        self.host.executor()
    }
}

fn take_bit(bits: &mut u64, index: usize, what: &str) -> Result<()> {
    let bit = u32::try_from(index)
        .ok()
        .and_then(|shift| 1u64.checked_shl(shift))
        .ok_or_else(|| Error::invalid(format_args!("the node has no {what} {index}")))?;
    if *bits & bit != 0 {
        return Err(Error::invalid(format_args!("{what} {index} was taken before in this run")));
    }
    *bits |= bit;
    Ok(())
}
