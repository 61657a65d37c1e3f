//! `iq2_xs`: sub-blocks of 16, groups of 8 on a grid of 512 points, an even number of minus signs in a group.
//!
//! Defined in ggml's `ggml-common.h` (`block_iq2_xs`) and `ggml-quants.c` (`quantize_iq2_xs`, `dequantize_row_iq2_xs`).

use std::sync::LazyLock;

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::search::grid::{self, Ladder, Recipe, Refit, Signs, Start, SubBlock};
use crate::search::sums;

/// 256 values in 74 bytes: 2.3125 bits each.
///
/// ```text
/// byte  0  1    2  3      ..   64 65     66             ..   73
///      [  d  ][group 0]   ..  [group 31][scales 1 | 0]  ..  [scales 15 | 14]
///
/// group   a u16:  bits 0..9  the point's number, 9..16 the signs
/// scales  the even sub-block's in the low half, the odd one's in the high half
/// ```
///
/// A value is `d * (0.5 + scale) / 4 * point[i]`, with a minus where bit `i` of the signs is set; bit 7 makes the
/// number of minus signs even. Levels 0, 1, 2 of a point stand for 8, 25, 43.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIQ2XS {
    /// The block's scale.
    pub d: Half,
    /// For each group its point's number and its signs, little-endian.
    pub qs: [[u8; 2]; 32],
    /// The sub-blocks' scales, two a byte.
    pub scales: [u8; 8],
}

const _: () = assert!(size_of::<BlockIQ2XS>() == 74 && align_of::<BlockIQ2XS>() == 1);

impl BlockIQ2XS {
    /// The scale of sub-block `i`, and its groups: points with their signs.
    #[inline(always)]
    pub fn sub_block(&self, i: usize) -> (u8, [[i8; 8]; 2]) {
        let mut groups = [[0; 8]; 2];
        for (group, &code) in groups.iter_mut().zip(&self.qs.as_chunks::<2>().0[i]) {
            let code = u16::from_le_bytes(code);
            *group = grid::signed(VALUES[usize::from(code & 0x1ff)], grid::even_signs((code >> 9) as u8));
        }
        (grid::half_of(&self.scales, i), groups)
    }
}

/// The format `iq2_xs`.
#[derive(Clone, Copy, Debug)]
pub struct IQ2XS;

static VALUES: [[i8; 8]; 512] = grid::values_8(&grid::points::IQ2_XS, [8, 25, 43]);

const RECIPE: Recipe<19> = Recipe {
    signs: Signs::Even,
    least: 1e-15,
    start: Start::Largest,
    ladder: Ladder::new(5.0, 0.1),
    refit: Refit::Missed,
};

impl BlockFormat for IQ2XS {
    const NAME: &'static str = "iq2_xs";
    const GGML_TYPE: u32 = 17;
    const BLOCK_LEN: usize = grid::LEN;
    const IMPORTANCE: Importance = Importance::Required;
    const ERROR_BOUND: f32 = 1.5;
    const HALVES: &'static [usize] = &[offset_of!(BlockIQ2XS, d)];
    type Block = BlockIQ2XS;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockIQ2XS]) {
        for ((x, importance), block) in grid::blocks(row, importance).zip(blocks) {
            *block = quantize::<V>(x, importance);
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockIQ2XS], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut().0) {
            decode::<V>(block, dst);
        }
    }
}

#[inline(always)]
fn quantize<V: Lanes>(x: &[f32; grid::LEN], importance: Option<&[f32; grid::LEN]>) -> BlockIQ2XS {
    let grid = LazyLock::force(&grid::IQ2_XS);
    let variance = sums::squares(x) / grid::LEN as f32;
    let mut sub_blocks = [SubBlock::default(); 16];
    for (i, (x, sub_block)) in x.as_chunks::<16>().0.iter().zip(&mut sub_blocks).enumerate() {
        let weights = grid::weights(x, importance, i, variance, |x| x * x);
        *sub_block = grid::quantize::<V, _, _, _>(grid, &RECIPE, x, &weights);
    }

    let mut block = BlockIQ2XS::zeroed();
    let Some((unit, levels)) = grid::levels_of_scales(&sub_blocks.map(|s| s.scale), 15) else {
        return block;
    };
    block.d = Half::from_f32(unit);
    block.scales = grid::pack_halves(&levels);
    for (groups, sub_block) in block.qs.as_chunks_mut::<2>().0.iter_mut().zip(&sub_blocks) {
        for ((group, number), signs) in groups.iter_mut().zip(sub_block.points).zip(sub_block.signs) {
            *group = (number | u16::from(signs) << 9).to_le_bytes();
        }
    }
    block
}

#[inline(always)]
fn decode<V: Lanes>(block: &BlockIQ2XS, dst: &mut [f32; grid::LEN]) {
    let d = block.d.to_f32();
    for (i, dst) in dst.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (level, groups) = block.sub_block(i);
        grid::scaled::<V>(&groups, d * (0.5 + f32::from(level)) * 0.25, dst);
    }
}
