//! What the formats with blocks of 32 values share.

use crate::affine::{Affine, Measure, Search};
use crate::ints;
use crate::lanes::Lanes;
use crate::sums;
use crate::symmetric::{self, Symmetric};

/// The value of largest magnitude, the first of them where several are that large.
#[inline(always)]
pub(crate) fn largest(x: &[f32; 32]) -> f32 {
    let mut largest = 0.0f32;
    for &x in x {
        if largest.abs() < x.abs() {
            largest = x;
        }
    }
    largest
}

/// The smallest and the largest value, the first of them where zeros differ in sign.
#[inline(always)]
pub(crate) fn range(x: &[f32; 32]) -> (f32, f32) {
    let (mut min, mut max) = (f32::MAX, -f32::MAX);
    for &x in x {
        min = if x < min { x } else { min };
        max = if x > max { x } else { max };
    }
    (min, max)
}

/// 1 / scale, or 0 for 0.
#[inline(always)]
pub(crate) fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
}

/// `x * inverse + shift` without its fraction, for levels up to `top`: the low byte of an integer, then at most `top`.
#[inline(always)]
pub(crate) fn level(x: f32, inverse: f32, shift: f32, top: i8) -> u8 {
    (ints::truncate(x * inverse + shift) as i8).min(top) as u8
}

/// How many blocks are searched at once.
const GROUP: usize = 16;

/// The weights of a row's values under an importance vector: the variance is that of the whole row.
fn weigh(row: &[f32], importance: &[f32], variance: f32, weights: &mut [[f32; 32]]) {
    sums::weigh(row, importance, variance, weights.as_flattened_mut());
}

/// Quantizes a row under an importance vector to levels `-half..half`; `write` gets each block's scale and levels
/// (plus `half`).
#[inline(always)]
pub(crate) fn symmetric<V: Lanes, B>(
    row: &[f32],
    importance: &[f32],
    half: i32,
    blocks: &mut [B],
    write: impl Fn(f32, [u8; 32]) -> B,
) {
    let variance = sums::squares(row) / row.len() as f32;
    let mut weights = [[0.0; 32]; GROUP];
    let mut found = [Symmetric::default(); GROUP];
    let groups = row.chunks(32 * GROUP).zip(importance.chunks(32 * GROUP));
    for ((row, importance), blocks) in groups.zip(blocks.chunks_mut(GROUP)) {
        let (x, _) = row.as_chunks::<32>();
        weigh(row, importance, variance, &mut weights[..x.len()]);
        let lanes = x.chunks(V::COUNT).zip(weights[..x.len()].chunks(V::COUNT));
        for ((x, weights), found) in lanes.zip(found.chunks_mut(V::COUNT)) {
            symmetric::search(&V::gather(x), &V::gather(weights), half).store(&mut found[..x.len()]);
        }
        for ((block, x), found) in blocks.iter_mut().zip(x).zip(&found) {
            *block = write(found.scale, found.levels(x, half));
        }
    }
}

/// Quantizes a row under an importance vector to levels `0..=top`; `write` gets each block's scale, minimum and levels.
#[inline(always)]
pub(crate) fn affine<V: Lanes, B>(
    row: &[f32],
    importance: &[f32],
    top: u8,
    blocks: &mut [B],
    write: impl Fn(f32, f32, [u8; 32]) -> B,
) {
    let search = Search { top, first: -0.9, step: 0.05, steps: 36, measure: Measure::Square };
    let variance = sums::squares(row) / row.len() as f32;
    let mut weights = [[0.0; 32]; GROUP];
    let mut found = [Affine::default(); GROUP];
    let groups = row.chunks(32 * GROUP).zip(importance.chunks(32 * GROUP));
    for ((row, importance), blocks) in groups.zip(blocks.chunks_mut(GROUP)) {
        let (x, _) = row.as_chunks::<32>();
        weigh(row, importance, variance, &mut weights[..x.len()]);
        let lanes = x.chunks(V::COUNT).zip(weights[..x.len()].chunks(V::COUNT));
        for ((x, weights), found) in lanes.zip(found.chunks_mut(V::COUNT)) {
            search.run(&V::gather(x), &V::gather(weights)).store(&mut found[..x.len()]);
        }
        for ((block, x), found) in blocks.iter_mut().zip(x).zip(&found) {
            *block = write(found.scale, -found.offset, found.levels(x, top));
        }
    }
}
