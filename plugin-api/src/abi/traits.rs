//! The vtables. Thread contracts: `[load-thread]` while a plugin or a graph is loaded, one call at a time; `[any-thread]`
//! at any time, from several threads at once.

use abi_stable::StableAbi;
use abi_stable::sabi_trait;
use abi_stable::std_types::{RBox, ROption, RSlice, RSliceMut, RString, RVec};

use super::lent::*;
use super::types::*;
use crate::Error;

/// What a library answers that was built before encodings could unpack.
fn no_unpack() -> AbiResult<()> {
    to_abi(Err::<(), _>(Error::unsupported("the encoding does not unpack its blocks")))
}

/// The data of an author's objects.
pub type AbiEncodingBox = AbiEncoding_TO<'static, RBox<()>>;
pub type AbiOpBox = AbiOp_TO<'static, RBox<()>>;
pub type AbiProviderBox = AbiProvider_TO<'static, RBox<()>>;
pub type AbiKernelBox = AbiKernel_TO<'static, RBox<()>>;
pub type AbiTransformBox = AbiTransform_TO<'static, RBox<()>>;

/// The host's services, lent for a call.
pub type AbiNodeLent<'a> = AbiNode_TO<'a, abi_stable::sabi_types::RRef<'a, ()>>;
pub type AbiRunLent<'a> = AbiRun_TO<'a, abi_stable::sabi_types::RRef<'a, ()>>;
pub type AbiRegistrarLent<'a> = AbiRegistrar_TO<'a, abi_stable::sabi_types::RRef<'a, ()>>;

/// An encoding of the host's registry, lent.
#[repr(transparent)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiEncodingLent<'a>(pub &'a AbiEncodingBox);

#[sabi_trait]
pub trait AbiEncoding: Send + Sync {
    /// `[any-thread]`
    fn spec(&self) -> AbiEncodingSpec;
    /// Values and bytes of a block. `[any-thread]`
    fn block(&self) -> AbiBlock;
    /// `importance` is empty for none. `[any-thread]`
    fn quantize(
        &self,
        values: RSlice<'_, f32>,
        row_len: usize,
        importance: RSlice<'_, f32>,
        dst: RSliceMut<'_, u8>,
    ) -> AbiResult<()>;
    /// `[any-thread]`
    #[sabi(last_prefix_field)]
    fn dequantize(&self, blocks: RSlice<'_, u8>, dst: RSliceMut<'_, f32>) -> AbiResult<()>;
    /// `mins` is empty for none. `[any-thread]`
    fn unpack(
        &self,
        blocks: RSlice<'_, u8>,
        codes: RSliceMut<'_, u8>,
        scales: RSliceMut<'_, f32>,
        mins: RSliceMut<'_, f32>,
    ) -> AbiResult<()> {
        let _ = (blocks, codes, scales, mins);
        no_unpack()
    }
}

#[sabi_trait]
pub trait AbiOp: Send + Sync {
    /// `[any-thread]`
    fn signature(&self) -> AbiSignature;
    /// `[any-thread]`
    #[sabi(last_prefix_field)]
    fn infer(&self, node: AbiNodeLent<'_>) -> AbiResult<RVec<AbiOutputType>>;
}

#[sabi_trait]
pub trait AbiProvider: Send + Sync {
    /// `[any-thread]`
    fn key(&self) -> AbiKernelKey;
    /// None if the node is supported, else the reason. `[load-thread]`
    fn supports(&self, node: AbiNodeLent<'_>) -> AbiResult<ROption<RString>>;
    /// `[load-thread]`
    #[sabi(last_prefix_field)]
    fn prepare(&self, node: AbiNodeLent<'_>) -> AbiResult<AbiPrepared>;
}

#[sabi_trait]
pub trait AbiKernel: Send + Sync {
    /// `[any-thread]`
    fn scratch(
        &self,
        inputs: RSlice<'_, RSlice<'_, usize>>,
        outputs: RSlice<'_, RSlice<'_, usize>>,
        workers: usize,
    ) -> AbiResult<AbiScratch>;
    /// `[any-thread]`
    fn run(&self, run: AbiRunLent<'_>) -> AbiResult<()>;
    /// `[any-thread]`
    #[sabi(last_prefix_field)]
    fn serves(
        &self,
        inputs: RSlice<'_, RSlice<'_, usize>>,
        outputs: RSlice<'_, RSlice<'_, usize>>,
        workers: usize,
    ) -> AbiResult<bool>;
}

#[sabi_trait]
pub trait AbiTransform: Send + Sync {
    /// `[any-thread]`
    fn bytes(&self, shape: RSlice<'_, usize>) -> AbiResult<usize>;
    /// `[any-thread]`
    fn run(&self, input: AbiView, dst: RSliceMut<'_, u8>, executor: AbiExecutor) -> AbiResult<()>;
    /// 0 if rows are not cut. `[any-thread]`
    fn unit(&self) -> AbiResult<usize>;
    /// `[any-thread]`
    #[sabi(last_prefix_field)]
    fn join(
        &self,
        shape: RSlice<'_, usize>,
        parts: RSlice<'_, AbiRowPart<'_>>,
        dst: RSliceMut<'_, u8>,
    ) -> AbiResult<()>;
}

/// What a transform gave for a part of each row.
#[repr(C)]
#[derive(StableAbi, Clone, Copy)]
pub struct AbiRowPart<'a> {
    pub values: usize,
    pub bytes: RSlice<'a, u8>,
}

/// A kernel for a node, and what comes with it.
#[repr(C)]
#[derive(StableAbi)]
pub struct AbiPrepared {
    pub kernel: AbiKernelBox,
    pub released: RVec<usize>,
    pub transforms: RVec<AbiPreparedTransform>,
    pub or_next: bool,
    pub note: RString,
    pub extra: RVec<AbiAttribute>,
}

#[repr(C)]
#[derive(StableAbi)]
pub struct AbiPreparedTransform {
    pub input: usize,
    pub key: RString,
    pub transform: AbiTransformBox,
    pub extra: RVec<AbiAttribute>,
}

/// A node, while it is built or loaded. `[any-thread]`
#[sabi_trait]
pub trait AbiNode {
    fn op(&self) -> RString;
    fn attributes(&self) -> RVec<AbiAttribute>;
    fn position(&self, input: RSlice<'_, u8>) -> ROption<usize>;
    fn inputs(&self) -> RVec<AbiTensorType>;
    fn outputs(&self) -> RVec<AbiTensorType>;
    fn is_constant(&self, index: usize) -> bool;
    /// The view lives as long as the node is lent.
    fn constant(&self, index: usize) -> ROption<AbiView>;
    fn encoding(&self, name: RSlice<'_, u8>) -> ROption<AbiEncodingLent<'_>>;
    fn option(&self, name: RSlice<'_, u8>) -> ROption<RString>;
    fn executor(&self) -> AbiExecutor;
    fn next(&self) -> ROption<RString>;
    /// `space` is 0 for the host's own.
    #[sabi(last_prefix_field)]
    fn memory(&self, space: u32, bytes: usize) -> AbiResult<AbiMemory>;
}

/// A run of a node. Views live as long as the run is lent. `[any-thread]`
#[sabi_trait]
pub trait AbiRun {
    fn input_count(&self) -> usize;
    fn input(&self, index: usize) -> ROption<AbiView>;
    /// Each output may be asked for once.
    fn output(&self, index: usize) -> ROption<AbiView>;
    /// Each state may be asked for once.
    fn state(&self, index: usize) -> ROption<AbiView>;
    fn transformed(&self, index: usize) -> ROption<AbiBytes>;
    /// May be asked for once.
    fn shared_scratch(&self) -> AbiBytes;
    /// May be asked for once.
    fn worker_scratch(&self) -> AbiWorkerBytes;
    fn decoder(&self, index: usize) -> ROption<AbiEncodingLent<'_>>;
    #[sabi(last_prefix_field)]
    fn executor(&self) -> AbiExecutor;
}

/// Where a plugin registers what it has. `[load-thread]`
#[sabi_trait]
pub trait AbiRegistrar {
    /// Called first.
    fn plugin(&self, name: RString, version: RString);
    /// `flags`: bit 0, it may replace one of the same name.
    fn encoding(&self, encoding: AbiEncodingBox, flags: u64);
    /// `flags`: as above.
    fn op(&self, op: AbiOpBox, flags: u64);
    /// `flags`: as above.
    #[sabi(last_prefix_field)]
    fn kernel(&self, provider: AbiProviderBox, flags: u64);
}
