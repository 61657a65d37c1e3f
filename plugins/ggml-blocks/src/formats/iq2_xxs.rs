//! `iq2_xxs`: sub-blocks of 32, groups of 8 on a grid of 256 points, an even number of minus signs in a group.
//!
//! Defined in ggml's `ggml-common.h` (`block_iq2_xxs`) and `ggml-quants.c` (`quantize_iq2_xxs`, `dequantize_row_iq2_xxs`).

use std::sync::LazyLock;

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::search::grid::{self, Ladder, Recipe, Refit, Signs, Start, SubBlock};
use crate::search::sums;

/// 256 values in 66 bytes: 2.0625 bits each.
///
/// ```text
/// byte  0  1   2 3 4 5    6 7 8 9           10 ..         58 59 60 61  62 63 64 65
///      [  d  ][points 0][signs, scale 0]  [points 1]  ..  [points 7]  [signs, scale 7]
///
/// points        4 bytes, each the number of a group's point
/// signs, scale  a u32:  bits  0..7   7..14  14..21  21..28  28..32
///                             group0 group1 group2  group3  scale
/// ```
///
/// A value is `d * (0.5 + scale) / 4 * point[i]`, with a minus where the group's bit `i` of the signs is set; bit 7
/// makes the number of minus signs even. Levels 0, 1, 2 of a point stand for 8, 25, 43.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIQ2XXS {
    /// The block's scale.
    pub d: Half,
    /// For each sub-block its points' numbers, then its signs and scale, little-endian.
    pub qs: [[u8; 8]; 8],
}

const _: () = assert!(size_of::<BlockIQ2XXS>() == 66 && align_of::<BlockIQ2XXS>() == 1);

impl BlockIQ2XXS {
    /// The scale of sub-block `i`, and its groups: points with their signs.
    #[inline(always)]
    pub fn sub_block(&self, i: usize) -> (u8, [[i8; 8]; 4]) {
        let [points @ .., b0, b1, b2, b3] = self.qs[i];
        let (signs, level) = grid::unpack_even(u32::from_le_bytes([b0, b1, b2, b3]));
        let mut groups = [[0; 8]; 4];
        for ((group, point), signs) in groups.iter_mut().zip(points).zip(signs) {
            *group = grid::signed(VALUES[usize::from(point)], signs);
        }
        (level, groups)
    }
}

/// The format `iq2_xxs`.
#[derive(Clone, Copy, Debug)]
pub struct IQ2XXS;

static VALUES: [[i8; 8]; 256] = grid::values_8(&grid::points::IQ2_XXS, [8, 25, 43]);

const RECIPE: Recipe<13> = Recipe {
    signs: Signs::Even,
    least: 1e-15,
    start: Start::OffGrid,
    ladder: Ladder::new(5.0, 0.1),
    refit: Refit::All,
};

impl BlockFormat for IQ2XXS {
    const NAME: &'static str = "iq2_xxs";
    const GGML_TYPE: u32 = 16;
    const BLOCK_LEN: usize = grid::LEN;
    const IMPORTANCE: Importance = Importance::Required;
    const ERROR_BOUND: f32 = 1.5;
    const HALVES: &'static [usize] = &[offset_of!(BlockIQ2XXS, d)];
    type Block = BlockIQ2XXS;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockIQ2XXS]) {
        for ((x, importance), block) in grid::blocks(row, importance).zip(blocks) {
            *block = quantize::<V>(x, importance);
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockIQ2XXS], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut().0) {
            decode::<V>(block, dst);
        }
    }
}

#[inline(always)]
fn quantize<V: Lanes>(x: &[f32; grid::LEN], importance: Option<&[f32; grid::LEN]>) -> BlockIQ2XXS {
    let grid = LazyLock::force(&grid::IQ2_XXS);
    let variance = sums::squares(x) / grid::LEN as f32;
    let mut sub_blocks = [SubBlock::default(); 8];
    for (i, (x, sub_block)) in x.as_chunks::<32>().0.iter().zip(&mut sub_blocks).enumerate() {
        let weights = grid::weights(x, importance, i, variance, |x| x * x);
        *sub_block = grid::quantize::<V, _, _, _>(grid, &RECIPE, x, &weights);
    }

    let mut block = BlockIQ2XXS::zeroed();
    let Some((unit, levels)) = grid::levels_of_scales(&sub_blocks.map(|s| s.scale), 15) else {
        return block;
    };
    block.d = Half::from_f32(unit);
    for ((qs, sub_block), level) in block.qs.iter_mut().zip(&sub_blocks).zip(levels) {
        let (points, signs_and_scale) = qs.split_at_mut(4);
        for (point, number) in points.iter_mut().zip(sub_block.points) {
            *point = number as u8;
        }
        signs_and_scale.copy_from_slice(&grid::pack_even(sub_block.signs, level).to_le_bytes());
    }
    block
}

#[inline(always)]
fn decode<V: Lanes>(block: &BlockIQ2XXS, dst: &mut [f32; grid::LEN]) {
    let d = block.d.to_f32();
    for (i, dst) in dst.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (level, groups) = block.sub_block(i);
        grid::scaled::<V>(&groups, d * (0.5 + f32::from(level)) * 0.25, dst);
    }
}
