//! Objects of other libraries, as the host holds them.

use std::mem::ManuallyDrop;

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RSlice, RSliceMut};

use super::traits::{AbiEncoding, AbiEncoding_TO, AbiEncodingBox};
use super::types::{AbiBlock, AbiEncodingSpec, AbiResult, from_abi};
use crate::Result;
use crate::control::in_default_control;
use crate::encoding::{EncodingSpec, Erased, QuantizationEncoding, Rows};
use crate::unpacking::Unpacked;

/// An object that another library may have made: it is called, and dropped, in the default floating-point control.
pub(crate) struct Foreign<T>(ManuallyDrop<T>);

impl<T> Foreign<T> {
    pub(crate) fn new(object: T) -> Self {
        Self(ManuallyDrop::new(object))
    }

    /// Looks at the object, and calls none of its functions.
    pub(crate) fn peek<R>(&self, look: impl FnOnce(&T) -> R) -> R {
        look(&self.0)
    }

    /// Calls the object; `what` names the call.
    #[inline]
    pub(crate) fn call<R>(&self, what: &'static str, call: impl FnOnce(&T) -> R) -> R {
        in_default_control(what, || call(&self.0))
    }
}

impl<T> Drop for Foreign<T> {
    fn drop(&mut self) {
        // SAFETY: the object is dropped once, here, and not used again.
        in_default_control("a destructor", || unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}

/// An encoding of another library, as everybody but the host calls it: a kernel has no border of the host's around what it calls.
struct LentEncoding {
    encoding: Foreign<AbiEncodingBox>,
    block: AbiBlock,
}

/// The encoding behind a border of its own.
pub(crate) fn lendable(encoding: AbiEncodingBox) -> AbiEncodingBox {
    let encoding = Foreign::new(encoding);
    let block = encoding.call("QuantizationEncoding::spec", |encoding| encoding.block());
    AbiEncodingBox::from_value(LentEncoding { encoding, block }, TD_Opaque)
}

impl AbiEncoding for LentEncoding {
    fn spec(&self) -> AbiEncodingSpec {
        self.encoding.call("QuantizationEncoding::spec", |encoding| encoding.spec())
    }

    fn block(&self) -> AbiBlock {
        self.block
    }

    fn quantize(
        &self,
        values: RSlice<'_, f32>,
        row_len: usize,
        importance: RSlice<'_, f32>,
        dst: RSliceMut<'_, u8>,
    ) -> AbiResult<()> {
        self.encoding.call("QuantizationEncoding::quantize", |encoding| {
            encoding.quantize(values, row_len, importance, dst)
        })
    }

    fn dequantize(&self, blocks: RSlice<'_, u8>, dst: RSliceMut<'_, f32>) -> AbiResult<()> {
        self.encoding.call("QuantizationEncoding::dequantize", |encoding| encoding.dequantize(blocks, dst))
    }

    fn unpack(
        &self,
        blocks: RSlice<'_, u8>,
        codes: RSliceMut<'_, u8>,
        scales: RSliceMut<'_, f32>,
        mins: RSliceMut<'_, f32>,
    ) -> AbiResult<()> {
        self.encoding
            .call("QuantizationEncoding::unpack", |encoding| encoding.unpack(blocks, codes, scales, mins))
    }
}

/// As a host's own code, and an author's, call it.
impl QuantizationEncoding for AbiEncodingBox {
    fn spec(&self) -> EncodingSpec {
        AbiEncoding_TO::spec(self).into()
    }

    fn quantize(&self, rows: Rows<'_>, importance: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        let values = RSlice::from_slice(rows.values());
        let importance = RSlice::from_slice(importance.unwrap_or_default());
        let dst = RSliceMut::from_mut_slice(dst);
        from_abi(AbiEncoding_TO::quantize(self, values, rows.row_len(), importance, dst))
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        let (blocks, dst) = (RSlice::from_slice(blocks), RSliceMut::from_mut_slice(dst));
        from_abi(AbiEncoding_TO::dequantize(self, blocks, dst))
    }

    fn unpack(&self, blocks: &[u8], unpacked: &mut Unpacked<'_>) -> Result<()> {
        let blocks = RSlice::from_slice(blocks);
        let codes = RSliceMut::from_mut_slice(unpacked.codes);
        let scales = RSliceMut::from_mut_slice(unpacked.scales);
        let mins = RSliceMut::from_mut_slice(unpacked.mins);
        from_abi(AbiEncoding_TO::unpack(self, blocks, codes, scales, mins))
    }
}

impl Erased for AbiEncodingBox {}
