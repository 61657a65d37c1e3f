//! What an author's functions see of a host: contexts over the traits of [`crate::services`].

use std::ops::Deref;

use crate::attributes::Attributes;
use crate::encoding::{Encoding, EncodingSpec};
use crate::executor::Executor;
use crate::prepared::{Next, PreparedMemory};
use crate::services::{NodeHost, RunHost, WorkerMemory};
use crate::tensor::{TensorType, TensorView, TensorViewMut, WorkerScratch};
use crate::{Error, Result};

/// A node as an author sees it: the op, its attributes, and types.
#[derive(Clone, Copy)]
pub struct NodeView<'a>(&'a dyn NodeHost);

impl<'a> NodeView<'a> {
    pub(crate) fn new(node: &'a dyn NodeHost) -> Self {
        Self(node)
    }

    /// The op's name.
    pub fn op(&self) -> &str {
        self.0.op()
    }

    /// Its attributes, defaults included.
    pub fn attributes(&self) -> &Attributes {
        self.0.attributes()
    }

    /// The index in [`Self::inputs`] of the input of this name; none if it was left out. Of an [`Arity::Many`](crate::Arity) input, the
    /// first.
    pub fn position(&self, input: &str) -> Option<usize> {
        self.0.position(input)
    }

    /// The inputs' types. Those of an [`Arity::Many`](crate::Arity) input stand one after the other.
    pub fn inputs(&self) -> &[TensorType] {
        self.0.inputs()
    }

    /// The outputs' types.
    pub fn outputs(&self) -> &[TensorType] {
        self.0.outputs()
    }

    /// Whether input `index` is the same for every run.
    pub fn is_constant(&self, index: usize) -> bool {
        self.0.is_constant(index)
    }

    /// The spec of a registered encoding.
    pub fn encoding(&self, name: &str) -> Result<EncodingSpec> {
        self.0
            .encoding(name)
            .map(|encoding| encoding.spec().into_owned())
            .ok_or_else(|| unknown_encoding(name))
    }

    /// A setting of the session, such as `isa`; none where it was not set.
    pub fn option(&self, name: &str) -> Option<String> {
        self.0.option(name)
    }
}

/// What [`KernelProvider::prepare`](crate::KernelProvider::prepare) sees: a node, the bytes of its constants, and the host's threads.
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
        self.0.0.constant(index)
    }

    /// The encoding of this name, to decode constants with.
    pub fn decoder(&self, name: &str) -> Result<Encoding<'_>> {
        self.0.0.encoding(name).ok_or_else(|| unknown_encoding(name))
    }

    /// The host's threads.
    pub fn executor(&self) -> Executor<'_> {
        self.0.0.executor()
    }

    /// Zeroed memory of the host's, aligned to 64 bytes, for what the kernel keeps; an error if there is not so much.
    pub fn memory(&self, bytes: usize) -> Result<PreparedMemory> {
        self.0.0.memory(bytes)
    }

    /// The kernel that would run the node if this provider did not: the next that supports it. [`Prepared::or_next`] leaves shapes to
    /// it.
    ///
    /// [`Prepared::or_next`]: crate::Prepared::or_next
    pub fn next(&self) -> Option<Next> {
        self.0.0.next().map(|name| Next { name })
    }
}

fn unknown_encoding(name: &str) -> Error {
    Error::invalid(format_args!("no encoding `{name}` is registered"))
}

/// What [`Op::infer`](crate::Op::infer) sees: a [`NodeView`] that has no outputs yet.
pub struct InferContext<'a>(pub(crate) NodeView<'a>);

impl<'a> Deref for InferContext<'a> {
    type Target = NodeView<'a>;
    fn deref(&self) -> &NodeView<'a> {
        &self.0
    }
}

/// One run of a node: its tensors, memory and threads.
///
/// What is written (outputs, states, scratch) can be taken once, and then lives as long as the run.
pub struct RunContext<'a> {
    host: &'a dyn RunHost,
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
    pub(crate) fn new(host: &'a dyn RunHost) -> Self {
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
        self.host.output(index).ok_or_else(|| {
            Error::invalid(format_args!("the node has no output {index} with memory of its own"))
        })
    }

    /// The state that is input `index`, to read and write. An error if it is none, or if it was taken before.
    pub fn state(&mut self, index: usize) -> Result<TensorViewMut<'a>> {
        take_bit(&mut self.taken.states, index, "state")?;
        self.host.state(index).ok_or_else(|| Error::invalid(format_args!("input {index} is no state")))
    }

    /// The result of the `index`-th transform that `prepare` asked for.
    pub fn transformed(&self, index: usize) -> Result<&'a [u8]> {
        self.host
            .transformed(index)
            .ok_or_else(|| Error::invalid(format_args!("`prepare` asked for no transform {index}")))
    }

    /// The memory of the run: [`Scratch::shared`](crate::Scratch::shared) bytes, aligned to 64. Empty if it was taken before.
    pub fn shared_scratch(&mut self) -> &'a mut [u8] {
        if std::mem::replace(&mut self.taken.shared, true) {
            return &mut [];
        }
        self.host.shared_scratch()
    }

    /// The memory of each worker: [`Scratch::per_worker`](crate::Scratch::per_worker) bytes apiece, aligned to 64. Of no bytes if it was taken before.
    pub fn worker_scratch(&mut self) -> WorkerScratch<'a> {
        if std::mem::replace(&mut self.taken.workers, true) {
            return WorkerScratch::none();
        }
        let WorkerMemory { memory, stride, bytes, workers } = self.host.worker_scratch();
        WorkerScratch::new(memory, stride, bytes, workers).unwrap_or_else(|_| WorkerScratch::none())
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
