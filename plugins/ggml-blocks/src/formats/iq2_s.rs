//! `iq2_s`: sub-blocks of 16, groups of 8 on a grid of 1024 points, a bit for each sign.
//!
//! Defined in ggml's `ggml-common.h` (`block_iq2_s`) and `ggml-quants.c` (`quantize_iq2_s`, `dequantize_row_iq2_s`).

use std::sync::LazyLock;

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::search::grid::{self, Ladder, Recipe, Refit, Signs, Start, SubBlock};
use crate::search::sums;

/// 256 values in 82 bytes: 2.5625 bits each.
///
/// ```text
/// byte  0  1   2 .. 33   34 .. 65   66 .. 73   74 .. 81
///      [  d  ][  qs   ] [ signs  ] [  qh    ] [ scales ]
///
/// qs      for each group the low 8 bits of its point's number
/// signs   for each group a bit for each value
/// qh      for each 4 groups the high 2 bits of their numbers, the first group's lowest
/// scales  the even sub-block's in the low half, the odd one's in the high half
/// ```
///
/// A value is `d * (0.5 + scale) / 4 * point[i]`, with a minus where bit `i` of the signs is set. Levels 0, 1, 2 of a
/// point stand for 8, 25, 43.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIQ2S {
    /// The block's scale.
    pub d: Half,
    /// The low bits of the points' numbers.
    pub qs: [u8; 32],
    /// The signs.
    pub signs: [u8; 32],
    /// The high bits of the points' numbers, 2 each.
    pub qh: [u8; 8],
    /// The sub-blocks' scales, two a byte.
    pub scales: [u8; 8],
}

const _: () = assert!(size_of::<BlockIQ2S>() == 82 && align_of::<BlockIQ2S>() == 1);

impl BlockIQ2S {
    /// The scale of sub-block `i`, and its groups: points with their signs.
    #[inline(always)]
    pub fn sub_block(&self, i: usize) -> (u8, [[i8; 8]; 2]) {
        let mut groups = [[0; 8]; 2];
        for (at, group) in (2 * i..).zip(&mut groups) {
            let high = usize::from((self.qh[at / 4] >> (2 * (at % 4))) & 3);
            *group = grid::signed(VALUES[high << 8 | usize::from(self.qs[at])], self.signs[at]);
        }
        (grid::half_of(&self.scales, i), groups)
    }
}

/// The format `iq2_s`.
#[derive(Clone, Copy, Debug)]
pub struct IQ2S;

static VALUES: [[i8; 8]; 1024] = grid::values_8(&grid::points::IQ2_S, [8, 25, 43]);

const RECIPE: Recipe<19> = Recipe {
    signs: Signs::Free,
    least: 1e-8,
    start: Start::Largest,
    ladder: Ladder::new(5.0, 0.1),
    refit: Refit::Missed,
};

/// Makes up for the values that the grid pulls away from zero.
const CORRECTION: f32 = 0.9875;

impl BlockFormat for IQ2S {
    const NAME: &'static str = "iq2_s";
    const GGML_TYPE: u32 = 22;
    const BLOCK_LEN: usize = grid::LEN;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 1.05;
    const HALVES: &'static [usize] = &[offset_of!(BlockIQ2S, d)];
    type Block = BlockIQ2S;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockIQ2S]) {
        for ((x, importance), block) in grid::blocks(row, importance).zip(blocks) {
            *block = quantize::<V>(x, importance);
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockIQ2S], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut().0) {
            decode::<V>(block, dst);
        }
    }
}

#[inline(always)]
fn quantize<V: Lanes>(x: &[f32; grid::LEN], importance: Option<&[f32; grid::LEN]>) -> BlockIQ2S {
    let grid = LazyLock::force(&grid::IQ2_S);
    let variance = 2.0 * sums::squares(x) / grid::LEN as f32;
    let mut sub_blocks = [SubBlock::default(); 16];
    for (i, (x, sub_block)) in x.as_chunks::<16>().0.iter().zip(&mut sub_blocks).enumerate() {
        let weights = grid::weights(x, importance, i, variance, |x| 0.25 * variance + x * x);
        *sub_block = grid::quantize::<V, _, _, _>(grid, &RECIPE, x, &weights);
    }

    let mut block = BlockIQ2S::zeroed();
    for (i, sub_block) in sub_blocks.iter().enumerate() {
        for group in 0..2 {
            let (at, number) = (2 * i + group, sub_block.points[group]);
            block.qs[at] = number as u8;
            block.qh[at / 4] |= ((number >> 8) as u8) << (2 * (at % 4));
            block.signs[at] = sub_block.signs[group];
        }
    }
    if let Some((unit, levels)) = grid::levels_of_scales(&sub_blocks.map(|s| s.scale), 15) {
        block.d = Half::from_f32(unit * CORRECTION);
        block.scales = grid::pack_halves(&levels);
    }
    block
}

#[inline(always)]
fn decode<V: Lanes>(block: &BlockIQ2S, dst: &mut [f32; grid::LEN]) {
    let d = block.d.to_f32();
    for (i, dst) in dst.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (level, groups) = block.sub_block(i);
        grid::scaled::<V>(&groups, d * (0.5 + f32::from(level)) * 0.25, dst);
    }
}
