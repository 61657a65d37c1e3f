//! What the formats with blocks of 32 values share.

use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::search::affine::{Affine, Search};
use crate::search::sums;
use crate::search::symmetric::{self, Symmetric};

/// The value of largest magnitude, the first of them where several are that large; 0 for zeros of either sign.
#[inline(always)]
pub(crate) fn largest<V: Lanes>(x: &[f32; 32]) -> f32 {
    let (min, max) = elementwise::extremes::<V>(x);
    if max > -min {
        max
    } else if -min > max {
        min
    } else {
        x.iter().copied().find(|x| x.abs() == max).unwrap_or_default() + 0.0
    }
}

/// The smallest and the largest value, the first of them where zeros differ in sign.
#[inline(always)]
pub(crate) fn range<V: Lanes>(x: &[f32; 32]) -> (f32, f32) {
    let (min, max) = elementwise::extremes::<V>(x);
    if min == 0.0 || max == 0.0 {
        let zero = x.iter().copied().find(|&x| x == 0.0).unwrap_or_default();
        return (if min == 0.0 { zero } else { min }, if max == 0.0 { zero } else { max });
    }
    (min, max)
}

/// 1 / scale, or 0 for 0.
#[inline(always)]
pub(crate) fn inverse(scale: f32) -> f32 {
    if scale == 0.0 { 0.0 } else { 1.0 / scale }
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
    half: i8,
    blocks: &mut [B],
    write: impl Fn(f32, [i8; 32]) -> B,
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
            *block = write(found.scale, found.levels::<V, 32>(x, half));
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
    write: impl Fn(f32, f32, [i8; 32]) -> B,
) {
    let search = Search::with_importance(top);
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
            *block = write(found.scale, -found.offset, found.levels::<V, 32>(x, top));
        }
    }
}
