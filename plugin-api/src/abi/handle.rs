//! Erased objects, as whoever did not write them calls them: each call is a border of floating-point control.

use abi_stable::std_types::{RResult, RSlice, RSliceMut, RString};

use super::foreign::{Foreign, lendable};
use super::host::{NodeAdapter, RunAdapter};
use super::lent::{AbiExecutor, AbiView};
use super::traits::{AbiEncodingBox, AbiKernelBox, AbiOpBox, AbiProviderBox, AbiRowPart, AbiTransformBox};
use super::types::{AbiOutputType, from_abi};
use crate::encoding::{Encoding, EncodingSpec};
use crate::executor::Executor;
use crate::kernel::{KernelKey, RowPart, Scratch, Shapes, Support};
use crate::op::{OpSignature, OutputType};
use crate::services::{NodeHost, RunHost};
use crate::tensor::TensorView;
use crate::text::Passage;
use crate::{Error, Result};

/// An encoding that the host owns.
pub struct EncodingHandle {
    raw: AbiEncodingBox,
    spec: EncodingSpec,
}

impl EncodingHandle {
    pub(crate) fn new(raw: AbiEncodingBox) -> Self {
        let raw = lendable(raw);
        let spec = raw.spec().into();
        Self { raw, spec }
    }

    /// What it is.
    pub fn spec(&self) -> &EncodingSpec {
        &self.spec
    }

    /// Its functions.
    pub fn encoding(&self) -> Encoding<'_> {
        Encoding::known(&self.raw, &self.spec)
    }
}

/// An op that the host owns.
pub struct OpHandle {
    raw: Foreign<AbiOpBox>,
}

impl OpHandle {
    pub(crate) fn new(raw: AbiOpBox) -> Self {
        Self { raw: Foreign::new(raw) }
    }

    /// What it takes; an error if it asks for something that this version does not know.
    pub fn signature(&self) -> Result<OpSignature> {
        self.raw.call("Op::signature", |op| op.signature()).to_signature()
    }

    /// The types of the outputs.
    pub fn infer(&self, node: &dyn NodeHost) -> Result<Vec<OutputType>> {
        let node = NodeAdapter::new(node);
        match self.raw.call("Op::infer", |op| op.infer(node.lend())) {
            RResult::ROk(outputs) => outputs.iter().map(AbiOutputType::to_output).collect(),
            RResult::RErr(error) => Err(error.into()),
        }
    }
}

/// A kernel provider that the host owns.
pub struct KernelProviderHandle {
    raw: Foreign<AbiProviderBox>,
}

impl KernelProviderHandle {
    pub(crate) fn new(raw: AbiProviderBox) -> Self {
        Self { raw: Foreign::new(raw) }
    }

    /// What it serves; an error if it asks for something that this version does not know.
    pub fn key(&self) -> Result<KernelKey> {
        self.raw.call("KernelProvider::key", |provider| provider.key()).to_key()
    }

    /// Whether it can run a node. A provider that panics cannot.
    pub fn supports(&self, node: &dyn NodeHost) -> Support {
        let node = NodeAdapter::new(node);
        match self.raw.call("KernelProvider::supports", |provider| provider.supports(node.lend())) {
            RResult::ROk(reason) => {
                let no = |reason: RString| Support::No(Passage::of_bytes(reason.as_bytes()));
                reason.into_option().map_or(Support::Yes, no)
            }
            RResult::RErr(error) => Support::No(Error::from(error).to_string()),
        }
    }

    /// Makes a kernel for a node.
    pub fn prepare(&self, node: &dyn NodeHost) -> Result<PreparedHandle> {
        let node = NodeAdapter::new(node);
        match self.raw.call("KernelProvider::prepare", |provider| provider.prepare(node.lend())) {
            RResult::ROk(prepared) => Ok(PreparedHandle {
                kernel: KernelHandle { raw: Foreign::new(prepared.kernel) },
                released: prepared.released.into(),
                transforms: prepared
                    .transforms
                    .into_iter()
                    .map(|transform| {
                        let raw = Foreign::new(transform.transform);
                        (transform.input, transform.key.into(), TransformHandle { raw })
                    })
                    .collect(),
                or_next: prepared.or_next,
                note: Passage::of_bytes(prepared.note.as_bytes()),
            }),
            RResult::RErr(error) => Err(error.into()),
        }
    }
}

/// What a provider prepared for a node.
pub struct PreparedHandle {
    /// The kernel.
    pub kernel: KernelHandle,
    /// Constant inputs that it does not read when it runs.
    pub released: Vec<usize>,
    /// Input, key and transform of each that it asked for.
    pub transforms: Vec<(usize, String, TransformHandle)>,
    /// Whether the kernel that it displaces runs the node for the shapes that it does not serve.
    pub or_next: bool,
    /// What was chosen and why.
    pub note: String,
}

/// A kernel that the host owns.
pub struct KernelHandle {
    raw: Foreign<AbiKernelBox>,
}

impl KernelHandle {
    /// The memory of a run for these shapes.
    pub fn scratch(&self, shapes: &Shapes<'_>) -> Result<Scratch> {
        let (inputs, outputs) = (slices(shapes.inputs), slices(shapes.outputs));
        let (inputs, outputs) = (RSlice::from_slice(&inputs), RSlice::from_slice(&outputs));
        match self.raw.call("Kernel::scratch", |kernel| kernel.scratch(inputs, outputs, shapes.workers)) {
            RResult::ROk(scratch) => Ok(Scratch { shared: scratch.shared, per_worker: scratch.per_worker }),
            RResult::RErr(error) => Err(error.into()),
        }
    }

    /// Whether it runs the node for these shapes.
    pub fn serves(&self, shapes: &Shapes<'_>) -> Result<bool> {
        let (inputs, outputs) = (slices(shapes.inputs), slices(shapes.outputs));
        let (inputs, outputs) = (RSlice::from_slice(&inputs), RSlice::from_slice(&outputs));
        from_abi(self.raw.call("Kernel::serves", |kernel| kernel.serves(inputs, outputs, shapes.workers)))
    }

    /// Where the kernel is, for a host that prefetches it.
    pub fn address(&self) -> *const u8 {
        self.raw.peek(|kernel| std::ptr::from_ref(kernel.obj.sabi_erased_ref().get()).cast())
    }

    /// Runs a node.
    ///
    /// # Safety
    /// What `run` answers must keep to [`RunHost`]'s contract.
    pub unsafe fn run(&self, run: &dyn RunHost) -> Result<()> {
        let run = RunAdapter::new(run);
        from_abi(self.raw.call("Kernel::run", |kernel| kernel.run(run.lend())))
    }
}

fn slices<'a>(shapes: &[&'a [usize]]) -> Vec<RSlice<'a, usize>> {
    shapes.iter().map(|shape| RSlice::from_slice(shape)).collect()
}

/// An input transform that the host owns.
pub struct TransformHandle {
    raw: Foreign<AbiTransformBox>,
}

impl TransformHandle {
    /// Bytes of the result.
    pub fn bytes(&self, shape: &[usize]) -> Result<usize> {
        let shape = RSlice::from_slice(shape);
        from_abi(self.raw.call("InputTransform::bytes", |transform| transform.bytes(shape)))
    }

    /// Where the transform is, for a host that prefetches it.
    pub fn address(&self) -> *const u8 {
        self.raw.peek(|transform| std::ptr::from_ref(transform.obj.sabi_erased_ref().get()).cast())
    }

    /// Computes the result.
    pub fn run(&self, input: &TensorView<'_>, dst: &mut [u8], executor: Executor<'_>) -> Result<()> {
        let (input, dst) = (AbiView::new(input), RSliceMut::from_mut_slice(dst));
        let executor = AbiExecutor::new(&executor);
        from_abi(self.raw.call("InputTransform::run", |transform| transform.run(input, dst, executor)))
    }

    /// The values of a unit along a row; none if rows are not cut.
    pub fn unit(&self) -> Result<Option<usize>> {
        let unit: usize = from_abi(self.raw.call("InputTransform::unit", |transform| transform.unit()))?;
        Ok(Some(unit).filter(|unit| *unit > 0))
    }

    /// Joins the results for parts of rows into that for whole rows of an input of this shape.
    pub fn join(&self, shape: &[usize], parts: &[RowPart<'_>], dst: &mut [u8]) -> Result<()> {
        let parts = parts.iter().map(|part| AbiRowPart { values: part.values, bytes: part.bytes.into() });
        let parts: Vec<AbiRowPart<'_>> = parts.collect();
        let (shape, parts) = (RSlice::from_slice(shape), RSlice::from_slice(&parts));
        let dst = RSliceMut::from_mut_slice(dst);
        from_abi(self.raw.call("InputTransform::join", |transform| transform.join(shape, parts, dst)))
    }
}
