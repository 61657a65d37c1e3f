//! `tq2_0`: 256 trits, 2 bits each, one scale. 2.0625 bits a value.
//!
//! Defined by ggml: `block_tq2_0`, `quantize_row_tq2_0_ref`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::packing;
use crate::search::ternary;

/// 256 trits with a scale.
///
/// ```text
/// byte   0                                       64       66
///        | qs: 2 x 32 bytes                       | d: f16 |
/// qs[32 h + i]    bits 2 k..2 k + 2: value 128 h + 32 k + i      k = 0..4
/// ```
///
/// `x = d * (q - 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockTQ2_0 {
    /// The trits: 0 for -1, 1 for 0, 2 for 1. The bits 3 decode to 2.
    pub qs: [u8; 64],
    /// The scale.
    pub d: Half,
}

const _: () = assert!(size_of::<BlockTQ2_0>() == 66);

/// The format `tq2_0`.
#[derive(Clone, Copy, Debug)]
pub struct TQ2_0;

impl BlockFormat for TQ2_0 {
    const NAME: &'static str = "tq2_0";
    const GGML_TYPE: u32 = 35;
    const BLOCK_LEN: usize = 256;
    const IMPORTANCE: Importance = Importance::Ignored;
    const ERROR_BOUND: f32 = 0.505;
    const HALVES: &'static [usize] = &[offset_of!(BlockTQ2_0, d)];
    type Block = BlockTQ2_0;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], _: Option<&[f32]>, blocks: &mut [BlockTQ2_0]) {
        for (block, x) in blocks.iter_mut().zip(row.as_chunks::<256>().0) {
            let (d, trits) = ternary::quantize::<V>(x);
            *block = BlockTQ2_0 { qs: packing::pairs(&trits), d };
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockTQ2_0], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.to_f32();
            elementwise::decode::<V>(&packing::shifted(packing::unpack_pairs(&block.qs), -1), d, dst);
        }
    }
}
