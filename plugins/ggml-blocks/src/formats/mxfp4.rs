//! `mxfp4`: 32 values in E2M1, one power of two as scale. 4.25 bits a value.
//!
//! Defined by the OCP Microscaling Formats specification; quantized as ggml's `quantize_row_mxfp4_ref` does.

use bytemuck::{Pod, Zeroable};

use crate::e2m1::{self, DOUBLED};
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::packing;
use crate::search::codebook;

/// 32 values of 4 bits with a scale.
///
/// ```text
/// byte   0          1                                    17
///        | e: E8M0  | qs: 16 bytes                        |
/// qs[i]  bits 0..4: value i       bits 4..8: value 16 + i
/// ```
///
/// `x = 2^(e - 127) * E2M1(q)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockMXFP4 {
    /// The scale's exponent, plus 127.
    pub e: u8,
    /// The values: 0..16 in the low nibbles, 16..32 in the high ones.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockMXFP4>() == 17);

impl BlockMXFP4 {
    /// Half of the scale, a power of two: what [`MXFP4::DOUBLED`] is multiplied with.
    #[inline(always)]
    pub fn half_scale(&self) -> f32 {
        e2m1::half_e8m0(self.e)
    }
}

/// The format `mxfp4`.
#[derive(Clone, Copy, Debug)]
pub struct MXFP4;

impl MXFP4 {
    /// Twice the values of E2M1 that the codes stand for.
    pub const DOUBLED: [i8; 16] = DOUBLED;
}

impl BlockFormat for MXFP4 {
    const NAME: &'static str = "mxfp4";
    const GGML_TYPE: u32 = 39;
    const BLOCK_LEN: usize = 32;
    const IMPORTANCE: Importance = Importance::Ignored;
    const ERROR_BOUND: f32 = 0.255;
    type Block = BlockMXFP4;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], _: Option<&[f32]>, blocks: &mut [BlockMXFP4]) {
        for (block, x) in blocks.iter_mut().zip(row.as_chunks::<32>().0) {
            let e = e2m1::e8m0_for(elementwise::magnitude::<V>(x));
            let indices = e2m1::indices::<V, 32>(x, e2m1::half_e8m0(e));
            *block = BlockMXFP4 { e, qs: packing::nibbles(&indices) };
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockMXFP4], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<32>().0) {
            codebook::decode::<V>(&DOUBLED, &block.qs, block.half_scale(), dst);
        }
    }
}
