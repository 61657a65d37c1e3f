//! Encodings whose values are floats: widened and multiplied as floats.

use crate::arch::DotIsa;

/// An encoding of one float a value.
pub(crate) trait Widen: 'static {
    /// Bytes of a value.
    const BYTES: usize;
    /// Whether they are single precision already.
    const IS_WIDE: bool = false;

    /// One value of each row.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; `LANES * BYTES` bytes at `from` are readable.
    unsafe fn load<I: DotIsa>(from: *const u8) -> I::F32;
}

/// `bf16`: the upper half of a single-precision float.
pub(crate) struct Bf16;

impl Widen for Bf16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load<I: DotIsa>(from: *const u8) -> I::F32 {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::load_bf16(from) }
    }
}

/// `f16`: half precision.
pub(crate) struct F16;

impl Widen for F16 {
    const BYTES: usize = 2;

    #[inline(always)]
    unsafe fn load<I: DotIsa>(from: *const u8) -> I::F32 {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::load_f16(from) }
    }
}

/// `f32`: single precision.
pub(crate) struct F32;

impl Widen for F32 {
    const BYTES: usize = 4;
    const IS_WIDE: bool = true;

    #[inline(always)]
    unsafe fn load<I: DotIsa>(from: *const u8) -> I::F32 {
        // SAFETY: the caller's contract is this one's.
        unsafe { I::load_f32(from) }
    }
}
