//! Encodings whose values are floats: multiplied as floats, an *element* at a time: one value of each row, or a pair.

use crate::{activation::ActivationFormat, arch::DotIsa};

/// How the values of an encoding are loaded and multiplied. An element of the activations has 4 bytes.
pub(crate) trait Widen: 'static {
    /// What elements are once they are loaded; its own are of 4 bytes.
    type Wide: Widen;

    /// Values of a row in an element.
    const VALUES: usize = 1;
    /// Bytes of a row's element.
    const BYTES: usize;
    /// Elements of a row that lie side by side before those of the next row: one or two.
    const TOGETHER: usize = 1;
    /// Whether elements are multiplied as they are in memory.
    const IS_WIDE: bool = false;

    /// The activations that are multiplied with it.
    fn activations(widest_tile: usize) -> ActivationFormat {
        ActivationFormat::floats(widest_tile)
    }

    /// Two elements of each row, from the first `2 * LANES * BYTES` bytes.
    fn load<I: DotIsa>(isa: I, from: &[u8]) -> [I::F32; 2];

    /// `sum` and the products of two elements.
    #[inline(always)]
    fn multiply_add<I: DotIsa>(isa: I, weight: I::F32, x: I::F32, sum: I::F32) -> I::F32 {
        isa.fma(weight, x, sum)
    }
}

/// `bf16`: the upper half of a single-precision float. Two of a row lie together, as one load and two instructions widen them.
pub(crate) struct Bf16;

impl Widen for Bf16 {
    type Wide = F32;

    const BYTES: usize = 2;
    const TOGETHER: usize = 2;

    #[inline(always)]
    fn load<I: DotIsa>(isa: I, from: &[u8]) -> [I::F32; 2] {
        isa.load_bf16_pairs(from)
    }
}

/// `f16`: half precision.
pub(crate) struct F16;

impl Widen for F16 {
    type Wide = F32;

    const BYTES: usize = 2;

    #[inline(always)]
    fn load<I: DotIsa>(isa: I, from: &[u8]) -> [I::F32; 2] {
        [isa.load_f16(from), isa.load_f16(&from[Self::BYTES * I::LANES..])]
    }
}

/// `f32`: single precision.
pub(crate) struct F32;

impl Widen for F32 {
    type Wide = Self;

    const BYTES: usize = 4;
    const IS_WIDE: bool = true;

    #[inline(always)]
    fn load<I: DotIsa>(isa: I, from: &[u8]) -> [I::F32; 2] {
        [isa.load_f32(from), isa.load_f32(&from[Self::BYTES * I::LANES..])]
    }
}

/// `bf16` by pairs, for activations that are rounded to bfloat16.
pub(crate) struct Bf16Pairs;

impl Widen for Bf16Pairs {
    type Wide = Self;

    const VALUES: usize = 2;
    const BYTES: usize = 4;
    const IS_WIDE: bool = true;

    fn activations(widest_tile: usize) -> ActivationFormat {
        ActivationFormat::bf16(widest_tile)
    }

    #[inline(always)]
    fn load<I: DotIsa>(isa: I, from: &[u8]) -> [I::F32; 2] {
        [isa.load_f32(from), isa.load_f32(&from[Self::BYTES * I::LANES..])]
    }

    #[inline(always)]
    fn multiply_add<I: DotIsa>(isa: I, weight: I::F32, x: I::F32, sum: I::F32) -> I::F32 {
        isa.dot_bf16(weight, x, sum)
    }
}
