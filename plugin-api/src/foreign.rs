//! Objects of other libraries, as the host holds them.

use std::mem::ManuallyDrop;

use abi_stable::sabi_trait::TD_Opaque;
use abi_stable::std_types::{RSlice, RSliceMut};

use crate::abi::traits::{AbiEncoding, AbiEncodingBox};
use crate::abi::types::{AbiBlock, AbiEncodingSpec, AbiResult};
use crate::control::in_default_control;

/// An object that another library may have made: it is called, and dropped, in the default floating-point control.
pub(crate) struct Foreign<T>(ManuallyDrop<T>);

impl<T> Foreign<T> {
    pub(crate) fn new(object: T) -> Self {
        Self(ManuallyDrop::new(object))
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
}
