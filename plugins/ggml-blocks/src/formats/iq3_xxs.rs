//! `iq3_xxs`: sub-blocks of 32, groups of 4 on a grid of 256 points, an even number of minus signs in 8 values.
//!
//! Defined in ggml's `ggml-common.h` (`block_iq3_xxs`) and `ggml-quants.c` (`quantize_iq3_xxs`, `dequantize_row_iq3_xxs`).

use std::sync::LazyLock;

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::search::grid::{self, Ladder, Recipe, Refit, Signs, Start, SubBlock};
use crate::search::sums;

/// 256 values in 98 bytes: 3.0625 bits each.
///
/// ```text
/// byte  0  1    2    ..   65     66 67 68 69         ..  94 95 96 97
///      [  d  ][group 0..group 63][signs, scale 0]    ..  [signs, scale 7]
///
/// group         the number of its point
/// signs, scale  a u32:  bits  0..7   7..14  14..21  21..28  28..32
///                             8 values each, in order       scale
/// ```
///
/// A value is `d * (0.5 + scale) / 2 * point[i]`, with a minus where its bit of the signs is set; each eighth sign
/// makes the number of minus signs even. Levels 0 to 7 of a point stand for 4, 12, 20, 28, 36, 44, 52, 62.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIQ3XXS {
    /// The block's scale.
    pub d: Half,
    /// The points' numbers.
    pub qs: [u8; 64],
    /// For each sub-block its signs and scale, little-endian.
    pub signs_and_scales: [[u8; 4]; 8],
}

const _: () = assert!(size_of::<BlockIQ3XXS>() == 98 && align_of::<BlockIQ3XXS>() == 1);

impl BlockIQ3XXS {
    /// The scale of sub-block `i`, and its values, 8 for each 8 signs: points with their signs.
    #[inline(always)]
    pub fn sub_block(&self, i: usize) -> (u8, [[i8; 8]; 4]) {
        let (signs, level) = grid::unpack_even(u32::from_le_bytes(self.signs_and_scales[i]));
        let points = self.qs.as_chunks::<8>().0[i];
        let mut groups = [[0; 8]; 4];
        for ((group, &[low, high]), signs) in groups.iter_mut().zip(points.as_chunks().0).zip(signs) {
            let pair = [VALUES[usize::from(low)], VALUES[usize::from(high)]];
            *group = grid::signed(bytemuck::cast(pair), signs);
        }
        (level, groups)
    }
}

/// The format `iq3_xxs`.
#[derive(Clone, Copy, Debug)]
pub struct IQ3XXS;

static VALUES: [[i8; 4]; 256] = grid::values_4(&grid::points::IQ3_XXS, [4, 12, 20, 28, 36, 44, 52, 62]);

const RECIPE: Recipe<31> = Recipe {
    signs: Signs::Even,
    least: 1e-8,
    start: Start::Largest,
    ladder: Ladder::new(15.0, 0.2),
    refit: Refit::Missed,
};

/// Makes up for the values that the grid pulls towards zero.
const CORRECTION: f32 = 1.0125;

impl BlockFormat for IQ3XXS {
    const NAME: &'static str = "iq3_xxs";
    const GGML_TYPE: u32 = 18;
    const BLOCK_LEN: usize = grid::LEN;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 1.5;
    const HALVES: &'static [usize] = &[offset_of!(BlockIQ3XXS, d)];
    type Block = BlockIQ3XXS;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockIQ3XXS]) {
        for ((x, importance), block) in grid::blocks(row, importance).zip(blocks) {
            *block = quantize::<V>(x, importance);
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockIQ3XXS], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut().0) {
            decode::<V>(block, dst);
        }
    }
}

#[inline(always)]
fn quantize<V: Lanes>(x: &[f32; grid::LEN], importance: Option<&[f32; grid::LEN]>) -> BlockIQ3XXS {
    let grid = LazyLock::force(&grid::IQ3_XXS);
    let variance = 2.0 * sums::squares(x) / grid::LEN as f32;
    let mut sub_blocks = [SubBlock::default(); 8];
    for (i, (x, sub_block)) in x.as_chunks::<32>().0.iter().zip(&mut sub_blocks).enumerate() {
        let weights = grid::weights(x, importance, i, variance, |x| x * x);
        *sub_block = grid::quantize::<V, _, _, _>(grid, &RECIPE, x, &weights);
    }

    let mut block = BlockIQ3XXS::zeroed();
    let Some((unit, levels)) = grid::levels_of_scales(&sub_blocks.map(|s| s.scale), 15) else {
        return block;
    };
    block.d = Half::from_f32(unit * CORRECTION);
    for (i, (sub_block, level)) in sub_blocks.iter().zip(levels).enumerate() {
        block.qs[8 * i..][..8].copy_from_slice(&sub_block.points.map(|number| number as u8));
        block.signs_and_scales[i] = grid::pack_even(sub_block.signs, level).to_le_bytes();
    }
    block
}

#[inline(always)]
fn decode<V: Lanes>(block: &BlockIQ3XXS, dst: &mut [f32; grid::LEN]) {
    let d = block.d.to_f32();
    for (i, dst) in dst.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (level, groups) = block.sub_block(i);
        grid::scaled::<V>(&groups, d * (0.5 + f32::from(level)) * 0.5, dst);
    }
}
