//! Functions of sixteen values.

use super::arch::Simd;

/// `e^x`, within 2 units in the last place.
///
/// `x = n * ln 2 + r` with `|r| <= ln 2 / 2`, and `e^r` is its Taylor polynomial of degree 7.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::F) -> S::F {
    // Beyond these the result is 0 or infinite; NaN passes.
    let x = simd.min(simd.splat(89.0), simd.max(simd.splat(-104.0), x));
    let n = simd.round(simd.mul(x, simd.splat(std::f32::consts::LOG2_E)));
    // The upper part of ln 2 has few enough bits that its product with `n` is exact.
    let r = simd.fma(n, simd.splat(-355.0 / 512.0), x);
    let r = simd.fma(n, simd.splat(2.121_944_4e-4), r);
    let mut e = simd.splat(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0] {
        e = simd.fma(e, r, simd.splat(coefficient));
    }
    // In two steps, since a result may be smaller than the least power of two that is no denormal.
    let half = simd.round(simd.mul(n, simd.splat(0.5)));
    simd.mul(simd.mul(e, simd.exp2(half)), simd.exp2(simd.sub(n, half)))
}
