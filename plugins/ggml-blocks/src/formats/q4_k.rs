//! `q4_k`: 8 x 32 values, 4 bits each, a 6-bit scale and minimum for each 32. 4.5 bits a value.
//!
//! Defined by ggml: `block_q4_K`, `quantize_row_q4_K_ref`, `quantize_row_q4_K_impl`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::packing;
use crate::search::affine::{Measure, Search};
use crate::search::super_affine::{self, SuperBlock, unpack_scales};

/// 256 values of 4 bits with eight scales and minimums.
///
/// ```text
/// byte   0        2           4                     16                                 144
///        | d: f16 | dmin: f16 | scales: 12 bytes     | qs: 4 x 32 bytes                  |
/// qs[32 c + i]    bits 0..4: value 64 c + i       bits 4..8: value 64 c + 32 + i
/// ```
///
/// `x = d * scale * q - dmin * min`. The scales and minimums of the eight sub-blocks, 6 bits each:
///
/// ```text
/// byte i          bits 0..6: scale i          bits 6..8: scale 4 + i, upper bits        i = 0..4
/// byte 4 + i      bits 0..6: minimum i        bits 6..8: minimum 4 + i, upper bits
/// byte 8 + i      bits 0..4: scale 4 + i      bits 4..8: minimum 4 + i, lower bits
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ4K {
    /// The scale of the scales.
    pub d: Half,
    /// The scale of the minimums.
    pub dmin: Half,
    /// Eight scales and eight minimums of 6 bits.
    pub scales: [u8; 12],
    /// The levels.
    pub qs: [u8; 128],
}

const _: () = assert!(size_of::<BlockQ4K>() == 144);

impl BlockQ4K {
    /// The scale and the minimum of each 32 values, 6 bits each.
    #[inline(always)]
    pub fn scales_and_mins(&self) -> [(u8, u8); 8] {
        unpack_scales(&self.scales)
    }
}

/// The format `q4_k`.
#[derive(Clone, Copy, Debug)]
pub struct Q4K;

impl BlockFormat for Q4K {
    const NAME: &'static str = "q4_k";
    const GGML_TYPE: u32 = 12;
    const BLOCK_LEN: usize = 256;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 0.2;
    const HALVES: &'static [usize] = &[offset_of!(BlockQ4K, d), offset_of!(BlockQ4K, dmin)];
    type Block = BlockQ4K;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockQ4K]) {
        let search = Search { top: 15, first: -1.0, step: 0.1, steps: 20, measure: Measure::Square };
        super_affine::quantize_row::<V, _>(row, importance, search, blocks, |found| {
            let SuperBlock { d, dmin, scales, levels } = found;
            let mut qs = [0; 128];
            for (qs, levels) in qs.as_chunks_mut::<32>().0.iter_mut().zip(levels.as_chunks::<64>().0) {
                *qs = packing::nibbles(levels);
            }
            BlockQ4K { d, dmin, scales, qs }
        });
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ4K], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<256>().0) {
            let (d, dmin) = (block.d.to_f32(), block.dmin.to_f32());
            let chunks = dst.as_chunks_mut::<64>().0.iter_mut().zip(block.qs.as_chunks::<32>().0);
            for ((dst, qs), scales) in chunks.zip(block.scales_and_mins().as_chunks::<2>().0) {
                let halves = dst.as_chunks_mut::<32>().0.iter_mut().zip(packing::unpack_nibbles(qs));
                for ((dst, levels), &(scale, min)) in halves.zip(scales) {
                    elementwise::decode_affine::<V>(
                        &levels,
                        d * f32::from(scale),
                        -(dmin * f32::from(min)),
                        dst,
                    );
                }
            }
        }
    }
}
