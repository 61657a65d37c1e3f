//! `q5_k`: 8 x 32 values, 5 bits each, a 6-bit scale and minimum for each 32. 5.5 bits a value.
//!
//! Defined by ggml: `block_q5_K`, `quantize_row_q5_K_ref`, `quantize_row_q5_K_impl`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::packing;
use crate::search::affine::{Measure, Search};
use crate::search::super_affine::{self, SuperBlock, unpack_scales};

/// 256 values of 5 bits with eight scales and minimums.
///
/// ```text
/// byte   0        2           4                     16             48                  176
///        | d: f16 | dmin: f16 | scales: 12 bytes     | qh: 32 bytes | qs: 4 x 32 bytes   |
/// qh[i]           bit k: value 32 k + i, upper bit
/// qs[32 c + i]    bits 0..4: value 64 c + i       bits 4..8: value 64 c + 32 + i
/// ```
///
/// `x = d * scale * q - dmin * min`. The scales are packed as those of [`BlockQ4K`](crate::BlockQ4K).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ5K {
    /// The scale of the scales.
    pub d: Half,
    /// The scale of the minimums.
    pub dmin: Half,
    /// Eight scales and eight minimums of 6 bits.
    pub scales: [u8; 12],
    /// The upper bits of the levels.
    pub qh: [u8; 32],
    /// The lower bits of the levels.
    pub qs: [u8; 128],
}

const _: () = assert!(size_of::<BlockQ5K>() == 176);

impl BlockQ5K {
    /// The scale and the minimum of each 32 values, 6 bits each.
    #[inline(always)]
    pub fn scales_and_mins(&self) -> [(u8, u8); 8] {
        unpack_scales(&self.scales)
    }
}

/// The format `q5_k`.
#[derive(Clone, Copy, Debug)]
pub struct Q5K;

impl BlockFormat for Q5K {
    const NAME: &'static str = "q5_k";
    const GGML_TYPE: u32 = 13;
    const BLOCK_LEN: usize = 256;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 0.12;
    const HALVES: &'static [usize] = &[offset_of!(BlockQ5K, d), offset_of!(BlockQ5K, dmin)];
    type Block = BlockQ5K;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockQ5K]) {
        let search = Search { top: 31, first: -0.5, step: 0.1, steps: 15, measure: Measure::Square };
        super_affine::quantize_row::<V, _>(row, importance, search, blocks, |found| {
            let SuperBlock { d, dmin, scales, levels } = found;
            let mut qs = [0; 128];
            for (qs, levels) in qs.as_chunks_mut::<32>().0.iter_mut().zip(levels.as_chunks::<64>().0) {
                *qs = packing::nibbles(levels);
            }
            BlockQ5K { d, dmin, scales, qh: packing::plane::<4>(&levels), qs }
        });
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ5K], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<256>().0) {
            let (d, dmin) = (block.d.to_f32(), block.dmin.to_f32());
            let mut levels = [0; 256];
            for (levels, qs) in levels.as_chunks_mut::<64>().0.iter_mut().zip(block.qs.as_chunks::<32>().0) {
                levels.copy_from_slice(packing::unpack_nibbles(qs).as_flattened());
            }
            packing::join_plane::<4>(&mut levels, &block.qh);
            let parts = dst.as_chunks_mut::<32>().0.iter_mut().zip(levels.as_chunks::<32>().0);
            for ((dst, levels), (scale, min)) in parts.zip(block.scales_and_mins()) {
                elementwise::decode_affine::<V>(levels, d * f32::from(scale), -(dmin * f32::from(min)), dst);
            }
        }
    }
}
