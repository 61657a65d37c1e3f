//! `iq1_m`: sub-blocks of 16 with three levels and a shift for each half, groups of 8 on a grid of 2048 points.
//!
//! Defined in ggml's `ggml-common.h` (`block_iq1_m`) and `ggml-quants.c` (`quantize_iq1_m`, `dequantize_row_iq1_m`).

use std::sync::LazyLock;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::search::grid::{self, Choices, Shifts, Sums, TernarySubBlock};
use crate::search::sums;

/// 256 values in 56 bytes: 1.75 bits each.
///
/// ```text
/// byte  0 .. 31   32 .. 47   48 49       ..   54 55
///      [  qs   ] [  qh    ] [scales 0]   ..  [scales 3]
///
/// qs      for each group the low 8 bits of its point's number
/// qh      for each group 4 bits, the even group's low:  bits 0..3 the number's high bits, 3 the shift
/// scales  a u16:  bits 0..3  3..6  6..9  9..12   12..16
///                 4 sub-blocks' scales           4 bits of d, the lowest in the first u16
/// ```
///
/// A value is `d * (2 * scale + 1) * (point[i] + shift)`, where the shift is 1/8, or -1/8 where its bit is set. Levels
/// 0, 1, 2 of a point stand for -1, 0, 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIQ1M {
    /// The low bits of the points' numbers.
    pub qs: [u8; 32],
    /// The high bits of the points' numbers, and the shifts, two groups a byte.
    pub qh: [u8; 16],
    /// The scales, of the sub-blocks and of the block, little-endian.
    pub scales: [[u8; 2]; 4],
}

const _: () = assert!(size_of::<BlockIQ1M>() == 56 && align_of::<BlockIQ1M>() == 1);

impl BlockIQ1M {
    /// The block's scale.
    #[inline(always)]
    pub fn d(&self) -> Half {
        let bits =
            self.scales.iter().rev().fold(0, |bits, &scales| bits << 4 | u16::from_le_bytes(scales) >> 12);
        Half::from_bits(bits)
    }

    /// The scale of sub-block `i`, whether the shifts of its groups are below zero, and the points of these, in eighths.
    #[inline(always)]
    pub fn sub_block(&self, i: usize) -> (u8, [bool; 2], [[i8; 8]; 2]) {
        let level = (u16::from_le_bytes(self.scales[i / 4]) >> (3 * (i % 4))) as u8 & 7;
        let (mut minus, mut groups) = ([false; 2], [[0; 8]; 2]);
        for k in 0..2 {
            let high = self.qh[i] >> (4 * k);
            let number = usize::from(self.qs[2 * i + k]) | usize::from(high & 7) << 8;
            minus[k] = high & 8 != 0;
            groups[k] = grid::IQ1_EIGHTHS[number];
        }
        (level, minus, groups)
    }
}

/// The format `iq1_m`.
#[derive(Clone, Copy, Debug)]
pub struct IQ1M;

/// A sub-block without a magnitude as large is zero.
const LEAST: f32 = 1e-7;
/// Makes up for the values that the grid pulls towards zero.
const CORRECTION: f32 = 1.1125;

impl BlockFormat for IQ1M {
    const NAME: &'static str = "iq1_m";
    const GGML_TYPE: u32 = 29;
    const BLOCK_LEN: usize = grid::LEN;
    const IMPORTANCE: Importance = Importance::Optional;
    // Without importance zeros weigh nothing, and a value may have an eighth for its level; with it the bound is 1.4.
    const ERROR_BOUND: f32 = 21.0;
    type Block = BlockIQ1M;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockIQ1M]) {
        for ((x, importance), block) in grid::blocks(row, importance).zip(blocks) {
            *block = quantize::<V>(x, importance);
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockIQ1M], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut().0) {
            decode::<V>(block, dst);
        }
    }
}

#[inline(always)]
fn quantize<V: Lanes>(x: &[f32; grid::LEN], importance: Option<&[f32; grid::LEN]>) -> BlockIQ1M {
    let grid = LazyLock::force(&grid::IQ1);
    let variance = 2.0 * sums::squares(x) / grid::LEN as f32;
    let mut weights = [[0.0; 16]; 16];
    let mut choices = Choices::new();
    let mut sub_blocks = [TernarySubBlock::default(); 16];
    let x = x.as_chunks::<16>().0;
    for (i, ((x, weights), sub_block)) in x.iter().zip(&mut weights).zip(&mut sub_blocks).enumerate() {
        *weights = grid::weights(x, importance, i, variance, |x| x * x);
        *sub_block = TernarySubBlock::quantize::<V, _>(grid, &mut choices, Shifts::Halves, LEAST, x, weights);
    }

    let mut block = BlockIQ1M::zeroed();
    let number_bits = |sub_block: &TernarySubBlock, i: usize| (sub_block.points[i] >> 8) as u8;
    for (i, sub_block) in sub_blocks.iter().enumerate() {
        block.qs[2 * i..][..2].copy_from_slice(&[sub_block.points[0] as u8, sub_block.points[1] as u8]);
        block.qh[i] = number_bits(sub_block, 0) | number_bits(sub_block, 1) << 4;
    }
    let Some((unit, levels)) = grid::levels_of_scales(&sub_blocks.map(|s| s.scale), 7) else {
        return block;
    };

    // With the sub-blocks' scales rounded, the block's scale is fitted to all of its values.
    let mut fit = Sums::default();
    for (((x, weights), sub_block), level) in x.iter().zip(&weights).zip(&sub_blocks).zip(levels) {
        let factor = f32::from(2 * level + 1);
        for (group, (x, weights)) in x.as_chunks().0.iter().zip(weights.as_chunks().0).enumerate() {
            let values = Shifts::Halves.values(sub_block.shifts, group).map(|value| value * factor);
            fit.add(x, weights, grid::points::IQ1[usize::from(sub_block.points[group])], values);
        }
    }
    let d = Half::from_f32(if fit.qq > 0.0 { fit.xq / fit.qq } else { unit } * CORRECTION);

    for (i, sub_block) in sub_blocks.iter().enumerate() {
        block.qh[i] |= (sub_block.shifts >> 1) << 3 | (sub_block.shifts & 1) << 7;
    }
    for (i, (scales, levels)) in block.scales.iter_mut().zip(levels.as_chunks::<4>().0).enumerate() {
        let packed = levels.iter().rev().fold(0, |bits, &level| bits << 3 | u16::from(level));
        *scales = (packed | (d.to_bits() >> (4 * i) & 0xf) << 12).to_le_bytes();
    }
    block
}

#[inline(always)]
fn decode<V: Lanes>(block: &BlockIQ1M, dst: &mut [f32; grid::LEN]) {
    let d = block.d().to_f32();
    for (i, dst) in dst.as_chunks_mut::<16>().0.iter_mut().enumerate() {
        let (level, minus, mut groups) = block.sub_block(i);
        let scale = d * f32::from(2 * level + 1);
        for (group, minus) in groups.iter_mut().zip(minus) {
            for eighths in group {
                *eighths += if minus { -1 } else { 1 };
            }
        }
        grid::scaled::<V>(&groups, scale * 0.125, dst);
    }
}
