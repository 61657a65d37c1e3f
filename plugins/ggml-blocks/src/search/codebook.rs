//! The sixteen values of `iq4_nl` and `iq4_xs`, and the search for the scale of `x = scale * value`.

use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::packing;
use crate::search::symmetric::{EPSILON, largest};

/// The values that four bits stand for. Defined by ggml: `kvalues_iq4nl`.
pub(crate) const VALUES: [i8; 16] =
    [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];

/// Where the nearest value changes: half-way between neighbours. A value half-way belongs to the upper one.
const BORDERS: [f32; 15] = {
    let mut borders = [0.0; 15];
    let mut i = 0;
    while i < 15 {
        borders[i] = (VALUES[i] as f32 + VALUES[i + 1] as f32) / 2.0;
        i += 1;
    }
    borders
};

/// The index of the value nearest to `x * inverse`; 15 for NaN.
#[inline(always)]
pub(crate) fn indices<V: Lanes>(x: &[f32; 32], inverse: f32) -> [i8; 32] {
    let mut indices = [0; 32];
    for (indices, x) in indices.chunks_exact_mut(V::COUNT).zip(x.chunks_exact(V::COUNT)) {
        let x = V::splat(inverse) * V::load(x);
        let mut index = V::splat(0.0);
        for border in BORDERS {
            index = index + V::select(x.lt(V::splat(border)), V::splat(0.0), V::splat(1.0));
        }
        index.truncate(indices);
    }
    indices
}

/// The value nearest to `x`; the last for NaN.
#[inline(always)]
fn nearest<V: Lanes>(x: V) -> V {
    let mut nearest = V::splat(f32::from(VALUES[0]));
    for (border, pair) in BORDERS.into_iter().zip(VALUES.windows(2)) {
        let step = V::splat(f32::from(pair[1]) - f32::from(pair[0]));
        nearest = nearest + V::select(x.lt(V::splat(border)), V::splat(0.0), step);
    }
    nearest
}

/// The weighted sums of `x * value` and of `value^2`, with the values nearest to `x * inverse`.
#[inline(always)]
fn project<V: Lanes>(x: &[V; 32], weights: &[V; 32], inverse: V) -> (V, V) {
    let (mut xq, mut qq) = (V::splat(0.0), V::splat(0.0));
    for (&x, &weight) in x.iter().zip(weights) {
        let value = nearest(inverse * x);
        xq = xq + weight * value * x;
        qq = qq + weight * value * value;
    }
    (xq, qq)
}

/// Finds the scale that makes the sum of `weight * (x - scale * value)^2` small, as ggml's
/// `quantize_row_iq4_nl_impl` does; 0 for a block of zeros.
#[inline(always)]
pub(crate) fn search<V: Lanes>(x: &[V; 32], weights: &[V; 32]) -> V {
    let zero = V::splat(0.0);
    let first = f32::from(VALUES[0]);
    let largest = largest(x);
    let (xq, qq) = project(x, weights, V::splat(1.0) / (-largest / V::splat(first)));
    let mut scale = V::select(zero.lt(qq), xq / qq, zero);
    let mut best = scale * xq;
    for shift in -7i8..=7 {
        let (xq, qq) = project(x, weights, V::splat(f32::from(shift) + first) / largest);
        let better = V::both(zero.lt(qq), (best * qq).lt(xq * xq));
        scale = V::select(better, xq / qq, scale);
        best = V::select(better, scale * xq, best);
    }
    V::select(largest.abs().lt(V::splat(EPSILON)), zero, scale)
}

/// Decodes 32 values: `scale` times what their nibbles stand for in `table`.
#[inline(always)]
pub(crate) fn decode<V: Lanes>(table: &[i8; 16], qs: &[u8; 16], scale: f32, dst: &mut [f32; 32]) {
    for (dst, indices) in dst.as_chunks_mut::<16>().0.iter_mut().zip(packing::unpack_nibbles(qs)) {
        elementwise::decode::<V>(&V::look_up(table, indices), scale, dst);
    }
}
