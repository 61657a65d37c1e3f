//! `bf16`: the upper half of an f32, one value a block.
//!
//! Defined by ggml: `ggml_compute_fp32_to_bf16`.

use bytemuck::{Pod, Zeroable};

use crate::format::{BlockFormat, Importance, ProvenError};
use crate::lanes::Lanes;

/// One value, little-endian.
///
/// ```text
/// bit    15     14              7                   0
///        | sign | exponent      | mantissa           |
/// ```
///
/// Rounded to nearest, ties to even.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct BlockBF16(pub [u8; 2]);

const _: () = assert!(size_of::<BlockBF16>() == 2);

/// The format `bf16`.
#[derive(Clone, Copy, Debug)]
pub struct BF16;

impl BlockFormat for BF16 {
    const NAME: &'static str = "bf16";
    const GGML_TYPE: u32 = 30;
    const BLOCK_LEN: usize = 1;
    const IMPORTANCE: Importance = Importance::Ignored;
    const ERROR_BOUND: f32 = 0.004;
    // Rounded to the nearest: by half a unit of the 8th bit; subnormal numbers may be zero.
    const PROVEN_ERROR: Option<ProvenError> =
        Some(ProvenError { fraction: 1.0 / 256.0, least: 3e-36, greatest: 3.38e38 });
    type Block = BlockBF16;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], _: Option<&[f32]>, blocks: &mut [BlockBF16]) {
        for (block, &x) in blocks.iter_mut().zip(row) {
            let bits = x.to_bits();
            // The largest values overflow to infinity; there is no NaN, whose bits could overflow.
            let rounded = bits.wrapping_add(0x7fff + ((bits >> 16) & 1));
            *block = BlockBF16(((rounded >> 16) as u16).to_le_bytes());
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockBF16], dst: &mut [f32]) {
        for (dst, block) in dst.iter_mut().zip(blocks) {
            *dst = f32::from_bits(u32::from(u16::from_le_bytes(block.0)) << 16);
        }
    }
}
