//! `iq3_s`: sub-blocks of 32, groups of 4 on a grid of 512 points, a bit for each sign.
//!
//! Defined in ggml's `ggml-common.h` (`block_iq3_s`) and `ggml-quants.c` (`quantize_iq3_s`, `dequantize_row_iq3_s`).

use std::sync::LazyLock;

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::search::grid::{self, Ladder, Recipe, Refit, Signs, Start, SubBlock};
use crate::search::sums;

/// 256 values in 110 bytes: 3.4375 bits each.
///
/// ```text
/// byte  0  1   2 .. 65   66 .. 73   74 .. 105   106 .. 109
///      [  d  ][  qs   ] [  qh    ] [  signs  ] [  scales  ]
///
/// qs      for each group the low 8 bits of its point's number
/// qh      for each 8 groups the ninth bits of their numbers, the first group's lowest
/// signs   a bit for each value
/// scales  the even sub-block's in the low half, the odd one's in the high half
/// ```
///
/// A value is `d * (1 + 2 * scale) * point[i]`, with a minus where its bit of the signs is set. Levels 0 to 7 of a
/// point stand for 1, 3, 5, 7, 9, 11, 13, 15.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIQ3S {
    /// The block's scale.
    pub d: Half,
    /// The low bits of the points' numbers.
    pub qs: [u8; 64],
    /// The high bits of the points' numbers.
    pub qh: [u8; 8],
    /// The signs.
    pub signs: [u8; 32],
    /// The sub-blocks' scales, two a byte.
    pub scales: [u8; 4],
}

const _: () = assert!(size_of::<BlockIQ3S>() == 110 && align_of::<BlockIQ3S>() == 1);

impl BlockIQ3S {
    /// The scale of sub-block `i`, and its values, 8 for each 8 signs: points with their signs.
    #[inline(always)]
    pub fn sub_block(&self, i: usize) -> (u8, [[i8; 8]; 4]) {
        let mut groups = [[0; 8]; 4];
        for (k, (at, group)) in (4 * i..).zip(&mut groups).enumerate() {
            let high = usize::from(self.qh[i]) >> (2 * k);
            let low = VALUES[usize::from(self.qs[2 * at]) | (high & 1) << 8];
            let high = VALUES[usize::from(self.qs[2 * at + 1]) | (high & 2) << 7];
            *group = grid::signed(bytemuck::cast([low, high]), self.signs[at]);
        }
        (grid::half_of(&self.scales, i), groups)
    }
}

/// The format `iq3_s`.
#[derive(Clone, Copy, Debug)]
pub struct IQ3S;

static VALUES: [[i8; 4]; 512] = grid::values_4(&grid::points::IQ3_S, [1, 3, 5, 7, 9, 11, 13, 15]);

const RECIPE: Recipe<19> = Recipe {
    signs: Signs::Free,
    least: f32::from_bits(1),
    start: Start::Largest,
    ladder: Ladder::new(15.0, 0.2),
    refit: Refit::AllIfAnyMissed,
};

/// Makes up for the values that the grid pulls towards zero.
const CORRECTION: f32 = 1.033;

impl BlockFormat for IQ3S {
    const NAME: &'static str = "iq3_s";
    const GGML_TYPE: u32 = 21;
    const BLOCK_LEN: usize = grid::LEN;
    const IMPORTANCE: Importance = Importance::Optional;
    // In ggml a sub-block of zeros takes no room among the points and signs: from there on they are others'.
    const ERROR_BOUND: f32 = 2.2;
    const HALVES: &'static [usize] = &[offset_of!(BlockIQ3S, d)];
    type Block = BlockIQ3S;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockIQ3S]) {
        for ((x, importance), block) in grid::blocks(row, importance).zip(blocks) {
            *block = quantize::<V>(x, importance);
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockIQ3S], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut().0) {
            decode::<V>(block, dst);
        }
    }
}

#[inline(always)]
fn quantize<V: Lanes>(x: &[f32; grid::LEN], importance: Option<&[f32; grid::LEN]>) -> BlockIQ3S {
    let grid = LazyLock::force(&grid::IQ3_S);
    let variance = 2.0 * sums::squares(x) / grid::LEN as f32;
    let mut sub_blocks = [SubBlock::default(); 8];
    for (i, (x, sub_block)) in x.as_chunks::<32>().0.iter().zip(&mut sub_blocks).enumerate() {
        let weights = grid::weights(x, importance, i, variance, |x| x * x);
        *sub_block = grid::quantize::<V, _, _, _>(grid, &RECIPE, x, &weights);
    }

    let mut block = BlockIQ3S::zeroed();
    // ggml leaves no room for the points and signs of a sub-block of zeros: those that follow move up.
    let mut place = 0;
    for (i, (x, sub_block)) in x.as_chunks::<32>().0.iter().zip(&sub_blocks).enumerate() {
        if x.iter().all(|&x| x == 0.0) {
            continue;
        }
        block.qs[8 * place..][..8].copy_from_slice(&sub_block.points.map(|number| number as u8));
        block.qh[i] = sub_block.points.iter().rev().fold(0, |bits, number| bits << 1 | (number >> 8) as u8);
        block.signs[4 * place..][..4].copy_from_slice(&sub_block.signs);
        place += 1;
    }
    if let Some((unit, levels)) = grid::levels_of_scales(&sub_blocks.map(|s| s.scale), 15) {
        block.d = Half::from_f32(unit * CORRECTION);
        block.scales = grid::pack_halves(&levels);
    }
    block
}

#[inline(always)]
fn decode<V: Lanes>(block: &BlockIQ3S, dst: &mut [f32; grid::LEN]) {
    let d = block.d.to_f32();
    for (i, dst) in dst.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (level, groups) = block.sub_block(i);
        grid::scaled::<V>(&groups, d * f32::from(1 + 2 * level), dst);
    }
}
