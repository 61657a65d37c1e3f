//! Super-blocks of 8 x 32 values with a scale and a minimum for each 32: what `q4_k` and `q5_k` share.
//!
//! The 8 scales and 8 minimums, 6 bits each, lie in 12 bytes, which [`BlockQ4K`](crate::BlockQ4K) pictures.

use crate::float::Half;
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::search::affine::{Affine, Search};
use crate::search::positive;
use crate::search::sums;

/// Values in a super-block.
pub(crate) const LEN: usize = 256;
/// Super-blocks searched at once: 16 sub-blocks.
const GROUP: usize = 2;

/// A super-block before its levels are packed.
pub(crate) struct SuperBlock {
    /// The scale of the scales.
    pub d: Half,
    /// The scale of the minimums.
    pub dmin: Half,
    /// Scales and minimums.
    pub scales: [u8; 12],
    /// The levels.
    pub levels: [i8; LEN],
}

/// Packs 6-bit scales and minimums.
fn pack_scales(scales: [u8; 8], mins: [u8; 8]) -> [u8; 12] {
    let mut packed = [0; 12];
    for i in 0..4 {
        packed[i] = scales[i] | ((scales[4 + i] >> 4) << 6);
        packed[4 + i] = mins[i] | ((mins[4 + i] >> 4) << 6);
        packed[8 + i] = (scales[4 + i] & 15) | (mins[4 + i] << 4);
    }
    packed
}

/// The scale and the minimum of each sub-block, 6 bits each.
#[inline(always)]
pub(crate) fn unpack_scales(packed: &[u8; 12]) -> [(u8, u8); 8] {
    core::array::from_fn(|i| match i {
        0..4 => (packed[i] & 63, packed[4 + i] & 63),
        _ => (
            (packed[4 + i] & 15) | ((packed[i - 4] >> 6) << 4),
            (packed[4 + i] >> 4) | ((packed[i] >> 6) << 4),
        ),
    })
}

/// Quantizes a row to levels up to `top`. `plain` is the search without importance.
#[inline(always)]
pub(crate) fn quantize_row<V: Lanes, B>(
    row: &[f32],
    importance: Option<&[f32]>,
    plain: Search,
    blocks: &mut [B],
    pack: impl Fn(SuperBlock) -> B,
) {
    let important = Search::with_importance(plain.top);
    let mut weights = [[0.0; 32]; 8 * GROUP];
    let mut sums = [0.0; 8 * GROUP];
    let mut found = [Affine::default(); 8 * GROUP];
    for (group, blocks) in blocks.chunks_mut(GROUP).enumerate() {
        let first = group * GROUP * LEN;
        let row = &row[first..][..blocks.len() * LEN];
        let (x, _) = row.as_chunks::<32>();
        if let Some(importance) = importance {
            let supers = row.chunks_exact(LEN).zip(importance[first..].chunks_exact(LEN));
            for ((x, importance), weights) in supers.zip(weights.chunks_exact_mut(8)) {
                let variance = 2.0 * sums::squares(x) / LEN as f32;
                sums::weigh(x, importance, variance, weights.as_flattened_mut());
            }
        }
        for (lanes, x) in x.chunks(V::COUNT).enumerate() {
            let at = lanes * V::COUNT..lanes * V::COUNT + x.len();
            let values = V::gather(x);
            let fit = if importance.is_some() {
                let weights = V::gather(&weights[at.clone()]);
                sums::total(&weights).store(&mut sums[at.clone()]);
                important.run(&values, &weights)
            } else {
                plain.run(&values, &magnitudes(&values))
            };
            fit.store(&mut found[at]);
        }
        let supers = blocks.iter_mut().zip(row.as_chunks::<LEN>().0);
        for (((block, x), found), sums) in supers.zip(found.as_chunks::<8>().0).zip(sums.as_chunks::<8>().0) {
            *block = pack(finish::<V>(x, found, importance.is_some().then_some(sums), plain.top));
        }
    }
}

/// The weights without importance: the root of the mean square plus the magnitude.
#[inline(always)]
fn magnitudes<V: Lanes>(x: &[V; 32]) -> [V; 32] {
    let root = (sums::total(&sums::each_squared(x)) / V::splat(32.0)).sqrt();
    let mut weights = *x;
    for weight in &mut weights {
        *weight = root + weight.abs();
    }
    weights
}

/// Quantizes the scales found for the sub-blocks, then the values with those. `sums` are the weights' of each
/// sub-block, under an importance vector.
#[inline(always)]
fn finish<V: Lanes>(x: &[f32; LEN], found: &[Affine; 8], sums: Option<&[f32; 8]>, top: u8) -> SuperBlock {
    let scales = found.map(|found| found.scale);
    let mins = found.map(|found| found.offset);
    let quantize = |x: [f32; 8]| match sums {
        Some(sums) => positive::search(&x, sums, 63),
        None => positive::even_steps(&x, 63),
    };
    let (d, scales) = quantize(scales);
    let (dmin, mins) = quantize(mins);
    let (d, dmin, scales) = (Half::from_f32(d), Half::from_f32(dmin), pack_scales(scales, mins));

    let mut levels = [0; LEN];
    let sub_blocks = x.as_chunks::<32>().0.iter().zip(levels.as_chunks_mut::<32>().0);
    for (((x, levels), found), (scale, min)) in sub_blocks.zip(found).zip(unpack_scales(&scales)) {
        let scale = d.to_f32() * f32::from(scale);
        let min = dmin.to_f32() * f32::from(min);
        *levels = match scale {
            0.0 => found.levels::<V, 32>(x, top),
            _ => elementwise::divided::<V, 32>(x, min, scale, 0, i32::from(top)),
        };
    }
    SuperBlock { d, dmin, scales, levels }
}
