//! The host's services: as vtables for a library to call, and as what author-side contexts call.

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::sabi_types::RRef;
use abi_stable::std_types::{ROption, RSlice, RString, RVec};

use super::lent::*;
use super::traits::*;
use super::types::*;
use crate::executor::Executor;
use crate::handle::Encoding;
use crate::host::{NodeHost, RegistrarHost, RunHost};
use crate::kernel::NodeView;
use crate::tensor::{TensorView, TensorViewMut, WorkerScratch};
use crate::text::Passage;
use crate::{EncodingHandle, KernelProviderHandle, OpHandle, Result};

/// A node of the host, as author-side contexts use it.
pub(crate) struct AbiNodeRef<'a>(AbiNodeLent<'a>);

impl<'a> AbiNodeRef<'a> {
    pub(crate) fn new(node: AbiNodeLent<'a>) -> Self {
        Self(node)
    }

    pub(crate) fn view(self) -> Result<NodeView<'a>> {
        let types =
            |types: RVec<AbiTensorType>| types.iter().map(AbiTensorType::to_type).collect::<Result<_>>();
        Ok(NodeView {
            op: self.0.op().into_string(),
            attributes: attributes_from_abi(&self.0.attributes())?,
            inputs: types(self.0.inputs())?,
            outputs: types(self.0.outputs())?,
            host: self,
        })
    }

    pub(crate) fn is_constant(&self, index: usize) -> bool {
        self.0.is_constant(index)
    }

    pub(crate) fn constant(&self, index: usize) -> Option<TensorView<'_>> {
        // SAFETY: the host keeps constants unwritten while it lends the node.
        self.0.constant(index).into_option().map(|view| unsafe { view.as_view() })
    }

    pub(crate) fn encoding(&self, name: &str) -> Option<Encoding<'_>> {
        self.0.encoding(RSlice::from_slice(name.as_bytes())).into_option().map(|lent| Encoding::new(lent.0))
    }

    pub(crate) fn option(&self, name: &str) -> Option<String> {
        self.0.option(RSlice::from_slice(name.as_bytes())).into_option().map(RString::into_string)
    }

    pub(crate) fn executor(&self) -> Executor<'_> {
        // SAFETY: the host's threads outlive the node it lends.
        unsafe { Executor::from_raw(self.0.executor()) }
    }
}

/// A run of the host, as author-side contexts use it.
pub(crate) struct AbiRunRef<'a>(AbiRunLent<'a>);

impl<'a> AbiRunRef<'a> {
    pub(crate) fn new(run: AbiRunLent<'a>) -> Self {
        Self(run)
    }

    pub(crate) fn input_count(&self) -> usize {
        self.0.input_count()
    }

    pub(crate) fn input(&self, index: usize) -> Option<TensorView<'a>> {
        // SAFETY: the host keeps inputs alive and unwritten for the run, which is `'a`.
        self.0.input(index).into_option().map(|view| unsafe { view.as_view() })
    }

    /// # Safety
    /// Once for each output.
    pub(crate) unsafe fn output(&self, index: usize) -> Option<TensorViewMut<'a>> {
        // SAFETY: the host gives each output memory of its own for the run; asked for once, as the caller promises.
        self.0.output(index).into_option().map(|view| unsafe { view.as_view_mut() })
    }

    /// # Safety
    /// Once for each state.
    pub(crate) unsafe fn state(&self, index: usize) -> Option<TensorViewMut<'a>> {
        // SAFETY: a state has one writer at a time, which the host has checked; asked for once, as the caller promises.
        self.0.state(index).into_option().map(|view| unsafe { view.as_view_mut() })
    }

    pub(crate) fn transformed(&self, index: usize) -> Option<&'a [u8]> {
        // SAFETY: the host keeps the result unwritten for the run.
        self.0.transformed(index).into_option().map(|bytes| unsafe { bytes.as_slice() })
    }

    /// # Safety
    /// Once.
    pub(crate) unsafe fn shared_scratch(&self) -> &'a mut [u8] {
        // SAFETY: scratch belongs to the run; asked for once, as the caller promises.
        unsafe { self.0.shared_scratch().as_mut_slice() }
    }

    /// # Safety
    /// Once.
    pub(crate) unsafe fn worker_scratch(&self) -> WorkerScratch<'a> {
        let AbiWorkerBytes { memory, stride, bytes, workers } = self.0.worker_scratch();
        // SAFETY: as above.
        let memory = unsafe { memory.as_mut_slice() };
        WorkerScratch::new(memory, stride, bytes, workers).unwrap_or_else(|_| WorkerScratch::none())
    }

    pub(crate) fn decoder(&self, index: usize) -> Option<Encoding<'a>> {
        let lent = self.0.decoder(index).into_option()?;
        // SAFETY: the host keeps its registry for the run, which is `'a`; the vtable's signature can only say `&self`.
        Some(Encoding::new(unsafe { &*std::ptr::from_ref(lent.0) }))
    }

    pub(crate) fn executor(&self) -> Executor<'a> {
        // SAFETY: the host's threads outlive the run.
        unsafe { Executor::from_raw(self.0.executor()) }
    }
}

/// The host's side of [`AbiNode`].
pub(crate) struct NodeAdapter<'a>(pub(crate) &'a dyn NodeHost);

impl NodeAdapter<'_> {
    pub(crate) fn lend(&self) -> AbiNodeLent<'_> {
        AbiNodeLent::from_ptr(RRef::new(self), TD_Opaque)
    }
}

impl AbiNode for NodeAdapter<'_> {
    fn op(&self) -> RString {
        self.0.op().into()
    }
    fn attributes(&self) -> RVec<AbiAttribute> {
        attributes_to_abi(self.0.attributes())
    }
    fn inputs(&self) -> RVec<AbiTensorType> {
        self.0.inputs().iter().map(AbiTensorType::from).collect()
    }
    fn outputs(&self) -> RVec<AbiTensorType> {
        self.0.outputs().iter().map(AbiTensorType::from).collect()
    }
    fn is_constant(&self, index: usize) -> bool {
        self.0.is_constant(index)
    }
    fn constant(&self, index: usize) -> ROption<AbiView> {
        self.0.constant(index).map(|view| AbiView::new(&view)).into()
    }
    fn encoding(&self, name: RSlice<'_, u8>) -> ROption<AbiEncodingLent<'_>> {
        let name = std::str::from_utf8(name.as_slice()).ok();
        name.and_then(|name| self.0.encoding(name)).map(EncodingHandle::lend).into()
    }
    fn option(&self, name: RSlice<'_, u8>) -> ROption<RString> {
        let name = std::str::from_utf8(name.as_slice()).ok();
        name.and_then(|name| self.0.option(name)).map(RString::from).into()
    }
    fn executor(&self) -> AbiExecutor {
        self.0.executor().raw()
    }
}

/// The host's side of [`AbiRun`].
pub(crate) struct RunAdapter<'a>(pub(crate) &'a dyn RunHost);

impl RunAdapter<'_> {
    pub(crate) fn lend(&self) -> AbiRunLent<'_> {
        AbiRunLent::from_ptr(RRef::new(self), TD_Opaque)
    }
}

impl AbiRun for RunAdapter<'_> {
    fn input_count(&self) -> usize {
        self.0.input_count()
    }
    fn input(&self, index: usize) -> ROption<AbiView> {
        self.0.input(index).map(|view| AbiView::new(&view)).into()
    }
    fn output(&self, index: usize) -> ROption<AbiView> {
        self.0.output(index).map(AbiView::new_mut).into()
    }
    fn state(&self, index: usize) -> ROption<AbiView> {
        self.0.state(index).map(AbiView::new_mut).into()
    }
    fn transformed(&self, index: usize) -> ROption<AbiBytes> {
        self.0.transformed(index).map(AbiBytes::new).into()
    }
    fn shared_scratch(&self) -> AbiBytes {
        AbiBytes::new_mut(self.0.shared_scratch())
    }
    fn worker_scratch(&self) -> AbiWorkerBytes {
        let scratch = self.0.worker_scratch();
        AbiWorkerBytes {
            memory: AbiBytes::new_mut(scratch.memory),
            stride: scratch.stride,
            bytes: scratch.bytes,
            workers: scratch.workers,
        }
    }
    fn decoder(&self, index: usize) -> ROption<AbiEncodingLent<'_>> {
        self.0.decoder(index).map(EncodingHandle::lend).into()
    }
    fn executor(&self) -> AbiExecutor {
        self.0.executor().raw()
    }
}

/// The host's side of [`AbiRegistrar`].
pub(crate) struct RegistrarAdapter<'a>(pub(crate) &'a dyn RegistrarHost);

impl RegistrarAdapter<'_> {
    pub(crate) fn lend(&self) -> AbiRegistrarLent<'_> {
        AbiRegistrarLent::from_ptr(RRef::new(self), TD_Opaque)
    }
}

/// The flag that says that a registration may replace one of the same name.
pub(crate) const REPLACES: u64 = 1;

impl AbiRegistrar for RegistrarAdapter<'_> {
    fn plugin(&self, name: RString, version: RString) {
        self.0.plugin(name.into(), Passage::of_bytes(version.as_bytes()));
    }
    fn encoding(&self, encoding: AbiEncodingBox, flags: u64) {
        self.0.encoding(EncodingHandle::new(encoding), flags & REPLACES != 0);
    }
    fn op(&self, op: AbiOpBox, flags: u64) {
        self.0.op(OpHandle::new(op), flags & REPLACES != 0);
    }
    fn kernel(&self, provider: AbiProviderBox, flags: u64) {
        self.0.kernel(KernelProviderHandle::new(provider), flags & REPLACES != 0);
    }
}
