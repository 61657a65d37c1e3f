//! The host's services as vtables for a library to call, and in that library as the traits again.

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::sabi_types::RRef;
use abi_stable::std_types::{ROption, RSlice, RString, RVec};

use super::lent::*;
use super::traits::*;
use super::types::*;
use crate::attributes::Attributes;
use crate::encoding::Encoding;
use crate::executor::Executor;
use crate::prepared::PreparedMemory;
use crate::services::{NodeHost, RunHost, WorkerMemory};
use crate::tensor::{TensorType, TensorView, TensorViewMut};
use crate::{Error, Result};

/// The memory space that is the host's own.
const OWN_SPACE: u32 = 0;

/// A node of the host, as an author's library has it.
pub(crate) struct LentNode<'a> {
    lent: AbiNodeLent<'a>,
    op: String,
    attributes: Attributes,
    inputs: Vec<TensorType>,
    outputs: Vec<TensorType>,
    executor: AbiExecutor,
}

impl<'a> LentNode<'a> {
    pub(crate) fn new(lent: AbiNodeLent<'a>) -> Result<Self> {
        let types =
            |types: RVec<AbiTensorType>| types.iter().map(AbiTensorType::to_type).collect::<Result<_>>();
        Ok(Self {
            op: lent.op().into_string(),
            attributes: attributes_from_abi(&lent.attributes())?,
            inputs: types(lent.inputs())?,
            outputs: types(lent.outputs())?,
            executor: lent.executor(),
            lent,
        })
    }
}

impl NodeHost for LentNode<'_> {
    fn op(&self) -> &str {
        &self.op
    }
    fn attributes(&self) -> &Attributes {
        &self.attributes
    }
    fn position(&self, input: &str) -> Option<usize> {
        self.lent.position(RSlice::from_slice(input.as_bytes())).into_option()
    }
    fn inputs(&self) -> &[TensorType] {
        &self.inputs
    }
    fn outputs(&self) -> &[TensorType] {
        &self.outputs
    }
    fn is_constant(&self, index: usize) -> bool {
        self.lent.is_constant(index)
    }
    fn constant(&self, index: usize) -> Option<TensorView<'_>> {
        // SAFETY: the host keeps constants unwritten while it lends the node.
        self.lent.constant(index).into_option().map(|view| unsafe { view.as_view() })
    }
    fn encoding(&self, name: &str) -> Option<Encoding<'_>> {
        self.lent.encoding(RSlice::from_slice(name.as_bytes())).into_option().map(AbiEncodingLent::encoding)
    }
    fn option(&self, name: &str) -> Option<String> {
        self.lent.option(RSlice::from_slice(name.as_bytes())).into_option().map(RString::into_string)
    }
    fn executor(&self) -> Executor<'_> {
        Executor::of(&self.executor)
    }
    fn next(&self) -> Option<String> {
        self.lent.next().into_option().map(RString::into_string)
    }
    fn memory(&self, bytes: usize) -> Result<PreparedMemory> {
        from_abi(self.lent.memory(OWN_SPACE, bytes))
    }
}

/// A run of the host, as an author's library has it.
pub(crate) struct LentRun<'a> {
    lent: AbiRunLent<'a>,
    executor: AbiExecutor,
}

impl<'a> LentRun<'a> {
    pub(crate) fn new(lent: AbiRunLent<'a>) -> Self {
        Self { executor: lent.executor(), lent }
    }
}

// SAFETY: the host that lends the run keeps to the same contract, and each of its answers is handed on once.
unsafe impl RunHost for LentRun<'_> {
    fn input_count(&self) -> usize {
        self.lent.input_count()
    }
    fn input(&self, index: usize) -> Option<TensorView<'_>> {
        // SAFETY: inputs are alive and unwritten for the run.
        self.lent.input(index).into_option().map(|view| unsafe { view.as_view() })
    }
    fn output(&self, index: usize) -> Option<TensorViewMut<'_>> {
        // SAFETY: each output has memory of its own for the run, and is asked for once.
        self.lent.output(index).into_option().map(|view| unsafe { view.as_view_mut() })
    }
    fn state(&self, index: usize) -> Option<TensorViewMut<'_>> {
        // SAFETY: a state has one writer at a time, which the host has checked, and is asked for once.
        self.lent.state(index).into_option().map(|view| unsafe { view.as_view_mut() })
    }
    fn transformed(&self, index: usize) -> Option<&[u8]> {
        // SAFETY: the result is unwritten for the run.
        self.lent.transformed(index).into_option().map(|bytes| unsafe { bytes.as_slice() })
    }
    fn shared_scratch(&self) -> &mut [u8] {
        // SAFETY: scratch belongs to the run, and is asked for once.
        unsafe { self.lent.shared_scratch().as_mut_slice() }
    }
    fn worker_scratch(&self) -> WorkerMemory<'_> {
        let AbiWorkerBytes { memory, stride, bytes, workers } = self.lent.worker_scratch();
        // SAFETY: as above.
        WorkerMemory { memory: unsafe { memory.as_mut_slice() }, stride, bytes, workers }
    }
    fn decoder(&self, index: usize) -> Option<Encoding<'_>> {
        self.lent.decoder(index).into_option().map(AbiEncodingLent::encoding)
    }
    fn executor(&self) -> Executor<'_> {
        Executor::of(&self.executor)
    }
}

impl<'a> AbiEncodingLent<'a> {
    fn encoding(self) -> Encoding<'a> {
        let block = self.0.block();
        Encoding::new(self.0, block.len, block.bytes)
    }

    /// None for an encoding that is no library's.
    fn of(encoding: Encoding<'a>) -> Option<Self> {
        encoding.erased().downcast_ref().map(Self)
    }
}

/// The host's side of [`AbiNode`].
pub(crate) struct NodeAdapter<'a> {
    node: &'a dyn NodeHost,
    executor: Executor<'a>,
}

impl<'a> NodeAdapter<'a> {
    pub(crate) fn new(node: &'a dyn NodeHost) -> Self {
        Self { node, executor: node.executor() }
    }

    pub(crate) fn lend(&self) -> AbiNodeLent<'_> {
        AbiNodeLent::from_ptr(RRef::new(self), TD_Opaque)
    }
}

impl AbiNode for NodeAdapter<'_> {
    fn op(&self) -> RString {
        self.node.op().into()
    }
    fn attributes(&self) -> RVec<AbiAttribute> {
        attributes_to_abi(self.node.attributes())
    }
    fn position(&self, input: RSlice<'_, u8>) -> ROption<usize> {
        let input = std::str::from_utf8(input.as_slice()).ok();
        input.and_then(|input| self.node.position(input)).into()
    }
    fn inputs(&self) -> RVec<AbiTensorType> {
        self.node.inputs().iter().map(AbiTensorType::from).collect()
    }
    fn outputs(&self) -> RVec<AbiTensorType> {
        self.node.outputs().iter().map(AbiTensorType::from).collect()
    }
    fn is_constant(&self, index: usize) -> bool {
        self.node.is_constant(index)
    }
    fn constant(&self, index: usize) -> ROption<AbiView> {
        self.node.constant(index).map(|view| AbiView::new(&view)).into()
    }
    fn encoding(&self, name: RSlice<'_, u8>) -> ROption<AbiEncodingLent<'_>> {
        let name = std::str::from_utf8(name.as_slice()).ok();
        name.and_then(|name| self.node.encoding(name)).and_then(AbiEncodingLent::of).into()
    }
    fn option(&self, name: RSlice<'_, u8>) -> ROption<RString> {
        let name = std::str::from_utf8(name.as_slice()).ok();
        name.and_then(|name| self.node.option(name)).map(RString::from).into()
    }
    fn executor(&self) -> AbiExecutor {
        AbiExecutor::new(&self.executor)
    }
    fn next(&self) -> ROption<RString> {
        self.node.next().map(RString::from).into()
    }
    fn memory(&self, space: u32, bytes: usize) -> AbiResult<AbiMemory> {
        to_abi(match space {
            OWN_SPACE => self.node.memory(bytes),
            _ => Err(Error::unsupported(format_args!(
                "this host has no memory space {space}; it has 0, its own memory"
            ))),
        })
    }
}

/// The host's side of [`AbiRun`].
pub(crate) struct RunAdapter<'a> {
    run: &'a dyn RunHost,
    executor: Executor<'a>,
}

impl<'a> RunAdapter<'a> {
    pub(crate) fn new(run: &'a dyn RunHost) -> Self {
        Self { run, executor: run.executor() }
    }

    pub(crate) fn lend(&self) -> AbiRunLent<'_> {
        AbiRunLent::from_ptr(RRef::new(self), TD_Opaque)
    }
}

impl AbiRun for RunAdapter<'_> {
    fn input_count(&self) -> usize {
        self.run.input_count()
    }
    fn input(&self, index: usize) -> ROption<AbiView> {
        self.run.input(index).map(|view| AbiView::new(&view)).into()
    }
    fn output(&self, index: usize) -> ROption<AbiView> {
        self.run.output(index).map(AbiView::new_mut).into()
    }
    fn state(&self, index: usize) -> ROption<AbiView> {
        self.run.state(index).map(AbiView::new_mut).into()
    }
    fn transformed(&self, index: usize) -> ROption<AbiBytes> {
        self.run.transformed(index).map(AbiBytes::new).into()
    }
    fn shared_scratch(&self) -> AbiBytes {
        AbiBytes::new_mut(self.run.shared_scratch())
    }
    fn worker_scratch(&self) -> AbiWorkerBytes {
        let scratch = self.run.worker_scratch();
        AbiWorkerBytes {
            memory: AbiBytes::new_mut(scratch.memory),
            stride: scratch.stride,
            bytes: scratch.bytes,
            workers: scratch.workers,
        }
    }
    fn decoder(&self, index: usize) -> ROption<AbiEncodingLent<'_>> {
        self.run.decoder(index).and_then(AbiEncodingLent::of).into()
    }
    fn executor(&self) -> AbiExecutor {
        AbiExecutor::new(&self.executor)
    }
}
