//! `iq1_s`: sub-blocks of 32 with three levels and a shift, groups of 8 on a grid of 2048 points.
//!
//! Defined in ggml's `ggml-common.h` (`block_iq1_s`) and `ggml-quants.c` (`quantize_iq1_s`, `dequantize_row_iq1_s`).

use std::sync::LazyLock;

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::search::grid::{self, Choices, Shifts, TernarySubBlock};
use crate::search::sums;

/// 256 values in 50 bytes: 1.5625 bits each.
///
/// ```text
/// byte  0  1   2 .. 33   34 35  ..  48 49
///      [  d  ][  qs   ] [qh 0]  ..  [qh 7]
///
/// qs  for each group the low 8 bits of its point's number
/// qh  a u16:  bits 0..3   3..6   6..9   9..12   12..15  15
///                  group0 group1 group2 group3  scale   shift
///                  (high 3 bits of the number)
/// ```
///
/// A value is `d * (2 * scale + 1) * (point[i] + shift)`, where the shift is 1/8, or -1/8 where its bit is set. Levels
/// 0, 1, 2 of a point stand for -1, 0, 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIQ1S {
    /// The block's scale.
    pub d: Half,
    /// The low bits of the points' numbers.
    pub qs: [u8; 32],
    /// For each sub-block the high bits of its points' numbers, its scale and its shift, little-endian.
    pub qh: [[u8; 2]; 8],
}

const _: () = assert!(size_of::<BlockIQ1S>() == 50 && align_of::<BlockIQ1S>() == 1);

impl BlockIQ1S {
    /// The scale of sub-block `i`, whether its shift is below zero, and the points of its groups, in eighths.
    #[inline(always)]
    pub fn sub_block(&self, i: usize) -> (u8, bool, [[i8; 8]; 4]) {
        let qh = u16::from_le_bytes(self.qh[i]);
        let mut groups = [[0; 8]; 4];
        for ((k, group), &low) in groups.iter_mut().enumerate().zip(&self.qs.as_chunks::<4>().0[i]) {
            let number = usize::from(low) | usize::from((qh >> (3 * k)) & 7) << 8;
            *group = grid::IQ1_EIGHTHS[number];
        }
        ((qh >> 12) as u8 & 7, qh >> 15 == 1, groups)
    }
}

/// The format `iq1_s`.
#[derive(Clone, Copy, Debug)]
pub struct IQ1S;

/// A sub-block without a magnitude as large is zero.
const LEAST: f32 = 1e-12;
/// Makes up for the values that the grid pulls towards zero.
const CORRECTION: f32 = 1.125;

impl BlockFormat for IQ1S {
    const NAME: &'static str = "iq1_s";
    const GGML_TYPE: u32 = 19;
    const BLOCK_LEN: usize = grid::LEN;
    const IMPORTANCE: Importance = Importance::Required;
    const ERROR_BOUND: f32 = 1.6;
    const HALVES: &'static [usize] = &[offset_of!(BlockIQ1S, d)];
    type Block = BlockIQ1S;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockIQ1S]) {
        for ((x, importance), block) in grid::blocks(row, importance).zip(blocks) {
            *block = quantize::<V>(x, importance);
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockIQ1S], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut().0) {
            decode::<V>(block, dst);
        }
    }
}

#[inline(always)]
fn quantize<V: Lanes>(x: &[f32; grid::LEN], importance: Option<&[f32; grid::LEN]>) -> BlockIQ1S {
    let grid = LazyLock::force(&grid::IQ1);
    let variance = 2.0 * sums::squares(x) / grid::LEN as f32;
    let mut choices = Choices::new();
    let mut sub_blocks = [TernarySubBlock::default(); 8];
    for (i, (x, sub_block)) in x.as_chunks::<32>().0.iter().zip(&mut sub_blocks).enumerate() {
        let weights = grid::weights(x, importance, i, variance, |x| x * x);
        *sub_block = TernarySubBlock::quantize::<V, _>(grid, &mut choices, Shifts::Whole, LEAST, x, &weights);
    }

    let mut block = BlockIQ1S::zeroed();
    let scales = grid::levels_of_scales(&sub_blocks.map(|s| s.scale), 7);
    let (unit, levels, fitted) = scales.map_or((0.0, [0; 8], false), |(unit, levels)| (unit, levels, true));
    block.d = Half::from_f32(unit * CORRECTION);
    for (i, (sub_block, level)) in sub_blocks.iter().zip(levels).enumerate() {
        block.qs[4 * i..][..4].copy_from_slice(&sub_block.points.map(|number| number as u8));
        let high = sub_block.points.iter().rev().fold(0, |bits, number| bits << 3 | number >> 8);
        let shift = u16::from(fitted) * u16::from(sub_block.shifts);
        block.qh[i] = (high | u16::from(level) << 12 | shift << 15).to_le_bytes();
    }
    block
}

#[inline(always)]
fn decode<V: Lanes>(block: &BlockIQ1S, dst: &mut [f32; grid::LEN]) {
    let d = block.d.to_f32();
    for (i, dst) in dst.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        let (level, minus, mut groups) = block.sub_block(i);
        let scale = d * f32::from(2 * level + 1);
        for eighths in groups.as_flattened_mut() {
            *eighths += if minus { -1 } else { 1 };
        }
        grid::scaled::<V>(&groups, scale * 0.125, dst);
    }
}
