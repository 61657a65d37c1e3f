//! `f16`: IEEE 754 binary16, one value a block.
//!
//! Defined by IEEE 754.

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance, ProvenError};
use crate::lanes::Lanes;

/// One value.
///
/// ```text
/// bit    15     14         10                       0
///        | sign | exponent | mantissa                |
/// ```
///
/// Rounded to nearest, ties to even; beyond 65504 to infinity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct BlockF16(pub Half);

const _: () = assert!(size_of::<BlockF16>() == 2);

/// The format `f16`.
#[derive(Clone, Copy, Debug)]
pub struct F16;

impl BlockFormat for F16 {
    const NAME: &'static str = "f16";
    const GGML_TYPE: u32 = 1;
    const BLOCK_LEN: usize = 1;
    const IMPORTANCE: Importance = Importance::Ignored;
    const ERROR_BOUND: f32 = 0.0005;
    // Rounded to the nearest: by half a unit of the 11th bit, or of the smallest subnormal, 2^-24.
    const PROVEN_ERROR: Option<ProvenError> =
        Some(ProvenError { fraction: 1.0 / 2048.0, least: 1.0 / 16384.0, greatest: 65504.0 });
    type Block = BlockF16;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], _: Option<&[f32]>, blocks: &mut [BlockF16]) {
        for (block, &x) in blocks.iter_mut().zip(row) {
            *block = BlockF16(Half::from_f32(x));
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockF16], dst: &mut [f32]) {
        for (dst, block) in dst.iter_mut().zip(blocks) {
            *dst = block.0.to_f32();
        }
    }
}
