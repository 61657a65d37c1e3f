//! What is done to each value of a block by itself, in lanes.
//!
//! Lengths are multiples of the lanes: a block has 16 values or a multiple of 16.

use crate::lanes::Lanes;

/// `scale * level`.
#[inline(always)]
pub(crate) fn decode<V: Lanes>(levels: &[i8], scale: f32, dst: &mut [f32]) {
    for (dst, levels) in dst.chunks_exact_mut(V::COUNT).zip(levels.chunks_exact(V::COUNT)) {
        (V::splat(scale) * V::from_bytes(levels)).store(dst);
    }
}

/// `scale * level + offset`.
#[inline(always)]
pub(crate) fn decode_affine<V: Lanes>(levels: &[i8], scale: f32, offset: f32, dst: &mut [f32]) {
    for (dst, levels) in dst.chunks_exact_mut(V::COUNT).zip(levels.chunks_exact(V::COUNT)) {
        (V::splat(scale) * V::from_bytes(levels) + V::splat(offset)).store(dst);
    }
}

/// The integer nearest to `(x + offset) / scale`, clamped.
#[inline(always)]
pub(crate) fn divided<V: Lanes, const N: usize>(
    x: &[f32; N],
    offset: f32,
    scale: f32,
    low: i32,
    high: i32,
) -> [i8; N] {
    let mut levels = [0; N];
    for (levels, x) in levels.chunks_exact_mut(V::COUNT).zip(x.chunks_exact(V::COUNT)) {
        ((V::load(x) + V::splat(offset)) / V::splat(scale)).nearest(low, high).truncate(levels);
    }
    levels
}

/// The integer nearest to `inverse * (x - base)`, clamped.
#[inline(always)]
pub(crate) fn multiplied<V: Lanes, const N: usize>(
    x: &[f32; N],
    base: f32,
    inverse: f32,
    low: i32,
    high: i32,
) -> [i8; N] {
    let mut levels = [0; N];
    for (levels, x) in levels.chunks_exact_mut(V::COUNT).zip(x.chunks_exact(V::COUNT)) {
        (V::splat(inverse) * (V::load(x) - V::splat(base))).nearest(low, high).truncate(levels);
    }
    levels
}

/// The low byte of `(x - base) * inverse + shift` without its fraction.
#[inline(always)]
pub(crate) fn truncated<V: Lanes, const N: usize>(
    x: &[f32; N],
    base: f32,
    inverse: f32,
    shift: f32,
) -> [i8; N] {
    let mut levels = [0; N];
    for (levels, x) in levels.chunks_exact_mut(V::COUNT).zip(x.chunks_exact(V::COUNT)) {
        ((V::load(x) - V::splat(base)) * V::splat(inverse) + V::splat(shift)).truncate(levels);
    }
    levels
}

/// The low byte of the integer nearest to `x * inverse`, ties away from zero.
#[inline(always)]
pub(crate) fn rounded<V: Lanes, const N: usize>(x: &[f32; N], inverse: f32) -> [i8; N] {
    // As `ints::round`.
    const HALF: f32 = 0.5 - f32::EPSILON / 4.0;
    let (zero, up, down) = (V::splat(0.0), V::splat(HALF), V::splat(-HALF));
    let mut levels = [0; N];
    for (levels, x) in levels.chunks_exact_mut(V::COUNT).zip(x.chunks_exact(V::COUNT)) {
        let scaled = V::load(x) * V::splat(inverse);
        (scaled + V::select(scaled.lt(zero), down, up)).truncate(levels);
    }
    levels
}

/// The smallest and the largest value; of zeros, either.
#[inline(always)]
pub(crate) fn extremes<V: Lanes>(x: &[f32]) -> (f32, f32) {
    let mut min = V::load(&x[..V::COUNT]);
    let mut max = min;
    for x in x.chunks_exact(V::COUNT).skip(1) {
        let x = V::load(x);
        min = V::select(x.lt(min), x, min);
        max = V::select(max.lt(x), x, max);
    }
    // The order of comparisons changes nothing but which zero is found.
    (min.least(), -(-max).least())
}

/// The largest magnitude.
#[inline(always)]
pub(crate) fn magnitude<V: Lanes>(x: &[f32]) -> f32 {
    let mut max = V::splat(0.0);
    for x in x.chunks_exact(V::COUNT) {
        let x = V::load(x).abs();
        max = V::select(max.lt(x), x, max);
    }
    -(-max).least()
}
