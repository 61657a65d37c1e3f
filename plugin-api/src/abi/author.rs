//! An author's traits as vtables: each call of an author's function is guarded.

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{ROption, RResult, RSlice, RSliceMut, RString, RVec};

use super::host::{LentNode, LentRun};
use super::lent::*;
use super::traits::*;
use super::types::*;
use crate::Result;
use crate::context::{InferContext, NodeView, PrepareContext, RunContext};
use crate::encoding::{EncodingSpec, QuantizationEncoding, Rows};
use crate::executor::Executor;
use crate::guard::{Guarded, guard, install_recording_hook};
use crate::kernel::{InputTransform, Kernel, KernelKey, KernelProvider, Prepared, RowPart, Shapes, Support};
use crate::op::{Op, OpSignature};
use crate::plugin::Plugin;
use crate::unpacking::Unpacked;

/// An encoding and its spec, which is read once.
pub(crate) struct EncodingAdapter {
    spec: EncodingSpec,
    encoding: Guarded<Box<dyn QuantizationEncoding>>,
}

impl EncodingAdapter {
    pub(crate) fn erase(encoding: Guarded<Box<dyn QuantizationEncoding>>) -> Result<AbiEncodingBox> {
        let spec = guard("QuantizationEncoding::spec", || Ok(encoding.spec()))?;
        Ok(AbiEncodingBox::from_value(Self { spec, encoding }, TD_Opaque))
    }
}

impl AbiEncoding for EncodingAdapter {
    fn spec(&self) -> AbiEncodingSpec {
        (&self.spec).into()
    }

    fn block(&self) -> AbiBlock {
        AbiBlock { len: self.spec.block_len, bytes: self.spec.block_bytes }
    }

    fn quantize(
        &self,
        values: RSlice<'_, f32>,
        row_len: usize,
        importance: RSlice<'_, f32>,
        mut dst: RSliceMut<'_, u8>,
    ) -> AbiResult<()> {
        let importance = Some(importance.as_slice()).filter(|weights| !weights.is_empty());
        to_abi(guard("QuantizationEncoding::quantize", || {
            let rows = Rows::new(values.as_slice(), row_len)?;
            self.encoding.quantize(rows, importance, dst.as_mut_slice())
        }))
    }

    fn dequantize(&self, blocks: RSlice<'_, u8>, mut dst: RSliceMut<'_, f32>) -> AbiResult<()> {
        to_abi(guard("QuantizationEncoding::dequantize", || {
            self.encoding.dequantize(blocks.as_slice(), dst.as_mut_slice())
        }))
    }

    fn unpack(
        &self,
        blocks: RSlice<'_, u8>,
        mut codes: RSliceMut<'_, u8>,
        mut scales: RSliceMut<'_, f32>,
        mut mins: RSliceMut<'_, f32>,
    ) -> AbiResult<()> {
        to_abi(guard("QuantizationEncoding::unpack", || {
            let (codes, scales) = (codes.as_mut_slice(), scales.as_mut_slice());
            let mut unpacked = Unpacked { codes, scales, mins: mins.as_mut_slice() };
            self.encoding.unpack(blocks.as_slice(), &mut unpacked)
        }))
    }
}

/// An op and its signature, which is read once.
pub(crate) struct OpAdapter {
    signature: OpSignature,
    op: Guarded<Box<dyn Op>>,
}

impl OpAdapter {
    pub(crate) fn erase(op: Guarded<Box<dyn Op>>) -> Result<AbiOpBox> {
        let signature = guard("Op::signature", || Ok(op.signature()))?;
        Ok(AbiOpBox::from_value(Self { signature, op }, TD_Opaque))
    }
}

impl AbiOp for OpAdapter {
    fn signature(&self) -> AbiSignature {
        (&self.signature).into()
    }

    fn infer(&self, node: AbiNodeLent<'_>) -> AbiResult<RVec<AbiOutputType>> {
        let outputs = guard("Op::infer", || {
            let node = LentNode::new(node)?;
            self.op.infer(&InferContext(NodeView::new(&node)))
        });
        match outputs {
            Ok(outputs) => RResult::ROk(outputs.iter().map(AbiOutputType::from).collect()),
            Err(error) => RResult::RErr(error.into()),
        }
    }
}

/// A kernel provider and its key, which is read once.
pub(crate) struct ProviderAdapter {
    key: KernelKey,
    provider: Guarded<Box<dyn KernelProvider>>,
}

impl ProviderAdapter {
    pub(crate) fn erase(provider: Guarded<Box<dyn KernelProvider>>) -> Result<AbiProviderBox> {
        let key = guard("KernelProvider::key", || Ok(provider.key()))?;
        Ok(AbiProviderBox::from_value(Self { key, provider }, TD_Opaque))
    }
}

impl AbiProvider for ProviderAdapter {
    fn key(&self) -> AbiKernelKey {
        (&self.key).into()
    }

    fn supports(&self, node: AbiNodeLent<'_>) -> AbiResult<ROption<RString>> {
        let support = guard("KernelProvider::supports", || {
            let node = LentNode::new(node)?;
            Ok(self.provider.supports(&NodeView::new(&node)))
        });
        match support {
            Ok(Support::Yes) => RResult::ROk(ROption::RNone),
            Ok(Support::No(reason)) => RResult::ROk(ROption::RSome(reason.into())),
            Err(error) => RResult::RErr(error.into()),
        }
    }

    fn prepare(&self, node: AbiNodeLent<'_>) -> AbiResult<AbiPrepared> {
        to_abi(guard("KernelProvider::prepare", || {
            let node = LentNode::new(node)?;
            self.provider.prepare(&PrepareContext(NodeView::new(&node))).map(erase_prepared)
        }))
    }
}

fn erase_prepared(prepared: Prepared) -> AbiPrepared {
    let transforms = prepared.transforms.into_iter().map(|transform| AbiPreparedTransform {
        input: transform.input,
        key: transform.key.into(),
        transform: AbiTransformBox::from_value(
            TransformAdapter(Guarded::new(transform.transform)),
            TD_Opaque,
        ),
        extra: RVec::new(),
    });
    AbiPrepared {
        kernel: AbiKernelBox::from_value(KernelAdapter(Guarded::new(prepared.kernel)), TD_Opaque),
        released: prepared.released.into(),
        transforms: transforms.collect(),
        or_next: prepared.or_next,
        note: prepared.note.into(),
        extra: RVec::new(),
    }
}

struct KernelAdapter(Guarded<Box<dyn Kernel>>);

impl AbiKernel for KernelAdapter {
    fn scratch(
        &self,
        inputs: RSlice<'_, RSlice<'_, usize>>,
        outputs: RSlice<'_, RSlice<'_, usize>>,
        workers: usize,
    ) -> AbiResult<AbiScratch> {
        let scratch = guard("Kernel::scratch", || {
            Ok(with_shapes(inputs, outputs, workers, |shapes| self.0.scratch(shapes)))
        });
        match scratch {
            Ok(scratch) => RResult::ROk(AbiScratch::new(scratch.shared, scratch.per_worker)),
            Err(error) => RResult::RErr(error.into()),
        }
    }

    fn run(&self, run: AbiRunLent<'_>) -> AbiResult<()> {
        let run = LentRun::new(run);
        to_abi(guard("Kernel::run", || self.0.run(&mut RunContext::new(&run))))
    }

    fn serves(
        &self,
        inputs: RSlice<'_, RSlice<'_, usize>>,
        outputs: RSlice<'_, RSlice<'_, usize>>,
        workers: usize,
    ) -> AbiResult<bool> {
        to_abi(guard("Kernel::serves", || {
            Ok(with_shapes(inputs, outputs, workers, |shapes| self.0.serves(shapes)))
        }))
    }
}

fn with_shapes<R>(
    inputs: RSlice<'_, RSlice<'_, usize>>,
    outputs: RSlice<'_, RSlice<'_, usize>>,
    workers: usize,
    call: impl FnOnce(&Shapes<'_>) -> R,
) -> R {
    let inputs: Vec<&[usize]> = inputs.iter().map(RSlice::as_slice).collect();
    let outputs: Vec<&[usize]> = outputs.iter().map(RSlice::as_slice).collect();
    call(&Shapes { inputs: &inputs, outputs: &outputs, workers })
}

struct TransformAdapter(Guarded<Box<dyn InputTransform>>);

impl AbiTransform for TransformAdapter {
    fn bytes(&self, shape: RSlice<'_, usize>) -> AbiResult<usize> {
        to_abi(guard("InputTransform::bytes", || Ok(self.0.bytes(shape.as_slice()))))
    }

    fn run(&self, input: AbiView, mut dst: RSliceMut<'_, u8>, executor: AbiExecutor) -> AbiResult<()> {
        to_abi(guard("InputTransform::run", || {
            // SAFETY: the host lends the view for this call.
            let input = unsafe { input.as_view() };
            self.0.run(input, dst.as_mut_slice(), Executor::of(&executor))
        }))
    }

    fn unit(&self) -> AbiResult<usize> {
        to_abi(guard("InputTransform::unit", || Ok(self.0.unit().unwrap_or(0))))
    }

    fn join(
        &self,
        shape: RSlice<'_, usize>,
        parts: RSlice<'_, AbiRowPart<'_>>,
        mut dst: RSliceMut<'_, u8>,
    ) -> AbiResult<()> {
        to_abi(guard("InputTransform::join", || {
            let parts = parts.iter().map(|part| RowPart { values: part.values, bytes: part.bytes.into() });
            let parts: Vec<RowPart<'_>> = parts.collect();
            self.0.join(shape.as_slice(), &parts, dst.as_mut_slice())
        }))
    }
}

/// The flag that says that a registration may replace one of the same name.
pub(crate) const REPLACES: u64 = 1;

/// Registers all that a plugin has.
pub(crate) fn register_all(plugin: Plugin, registrar: AbiRegistrarLent<'_>) -> Result<()> {
    let flags = |replaces| if replaces { REPLACES } else { 0 };
    registrar.plugin(plugin.name.into(), plugin.version.into());
    for (encoding, replaces) in plugin.encodings {
        registrar.encoding(EncodingAdapter::erase(encoding)?, flags(replaces));
    }
    for (op, replaces) in plugin.ops {
        registrar.op(OpAdapter::erase(op)?, flags(replaces));
    }
    for (provider, replaces) in plugin.kernels {
        registrar.kernel(ProviderAdapter::erase(provider)?, flags(replaces));
    }
    Ok(())
}

/// Registers what `make` answers; the whole of a library's `register` function.
pub(crate) fn register(
    registrar: AbiRegistrarLent<'_>,
    make: impl FnOnce() -> Result<Plugin>,
) -> AbiResult<()> {
    install_recording_hook();
    to_abi(guard("the plugin's constructor", || register_all(make()?, registrar)))
}
