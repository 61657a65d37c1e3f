//! Functions of sixteen values, each within a few units in the last place.

use bitquilt_simd::Simd;

/// `n` and `r` with `x = n * ln 2 + r`, `n` whole and `|r|` at most about `ln 2 / 2`; for `|x|` up to some hundreds.
#[inline(always)]
fn reduce<S: Simd>(simd: S, x: S::F) -> (S::F, S::F) {
    let n = simd.round(simd.mul(x, simd.splat(std::f32::consts::LOG2_E)));
    // ln 2 in two parts: the upper has so few bits that its product with `n` is exact.
    let r = simd.fma(n, simd.splat(-355.0 / 512.0), x);
    (n, simd.fma(n, simd.splat(2.121_944_4e-4), r))
}

/// `(e^r - 1) / r` for what [`reduce`] leaves: a Taylor polynomial.
#[inline(always)]
fn slope<S: Simd>(simd: S, r: S::F) -> S::F {
    let mut sum = simd.splat(1.0 / 5040.0);
    for coefficient in [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0] {
        sum = simd.fma(sum, r, simd.splat(coefficient));
    }
    sum
}

/// `e^x`.
#[inline(always)]
pub(super) fn exp<S: Simd>(simd: S, x: S::F) -> S::F {
    // Beyond these the result is 0 or infinite; NaN passes.
    let x = simd.min(simd.splat(89.0), simd.max(simd.splat(-104.0), x));
    let (n, r) = reduce(simd, x);
    let e = simd.fma(slope(simd, r), r, simd.splat(1.0));
    // In two steps, since a result may be smaller than the least power of two that is no denormal.
    let half = simd.round(simd.mul(n, simd.splat(0.5)));
    simd.mul(simd.mul(e, simd.exp2(half)), simd.exp2(simd.sub(n, half)))
}

/// `1 / (1 + e^-x)`.
#[inline(always)]
pub(super) fn sigmoid<S: Simd>(simd: S, x: S::F) -> S::F {
    let one = simd.splat(1.0);
    simd.div(one, simd.add(one, exp(simd, negated(simd, x))))
}

/// `x / (1 + e^-x)`.
#[inline(always)]
pub(super) fn silu<S: Simd>(simd: S, x: S::F) -> S::F {
    simd.div(x, simd.add(simd.splat(1.0), exp(simd, negated(simd, x))))
}

/// `tanh(x) = q / (q + 2)`, where `q = e^2x - 1`.
#[inline(always)]
pub(super) fn tanh<S: Simd>(simd: S, x: S::F) -> S::F {
    // Beyond these the result is 1 or -1.
    let x = simd.min(simd.splat(10.0), simd.max(simd.splat(-10.0), x));
    let (n, r) = reduce(simd, simd.add(x, x));
    // e^2x - 1 = 2^n * (e^r - 1) + (2^n - 1), which has its digits where x is small too.
    let power = simd.exp2(n);
    let q = simd.fma(power, simd.mul(slope(simd, r), r), simd.sub(power, simd.splat(1.0)));
    simd.div(q, simd.add(q, simd.splat(2.0)))
}

/// The natural logarithm.
#[inline(always)]
pub(super) fn log<S: Simd>(simd: S, x: S::F) -> S::F {
    let (zero, one) = (simd.splat(0.0), simd.splat(1.0));
    // Denormals are scaled up by 2^24.
    let small = simd.less(x, simd.splat(f32::MIN_POSITIVE));
    let scaled = simd.select(small, simd.mul(x, simd.splat(16_777_216.0)), x);
    let (m, n) = simd.split(scaled);
    let n = simd.sub(n, simd.select(small, simd.splat(24.0), zero));
    // x = m * 2^n with m from 3/4 to 3/2, so that s below is small.
    let large = simd.less(simd.splat(1.5), m);
    let m = simd.select(large, simd.mul(m, simd.splat(0.5)), m);
    let n = simd.add(n, simd.select(large, one, zero));
    // log m = 2 * atanh(s), s = (m - 1) / (m + 1).
    let s = simd.div(simd.sub(m, one), simd.add(m, one));
    let square = simd.mul(s, s);
    let mut sum = simd.splat(2.0 / 11.0);
    for coefficient in [2.0 / 9.0, 2.0 / 7.0, 2.0 / 5.0, 2.0 / 3.0] {
        sum = simd.fma(sum, square, simd.splat(coefficient));
    }
    let sum = simd.fma(simd.mul(sum, square), s, simd.add(s, s));
    let log = simd.fma(n, simd.splat(355.0 / 512.0), simd.fma(n, simd.splat(-2.121_944_4e-4), sum));
    // Infinity and NaN; then 0 and what is less.
    let log = simd.select(simd.less(x, simd.splat(f32::INFINITY)), log, x);
    let below = simd.select(simd.less(x, zero), simd.splat(f32::NAN), simd.splat(f32::NEG_INFINITY));
    simd.select(simd.less(x, simd.splat(f32::from_bits(1))), below, log)
}

/// `x * (1 + erf(x / sqrt 2)) / 2`: the Gaussian error linear unit.
#[inline(always)]
pub(super) fn gelu<S: Simd>(simd: S, x: S::F) -> S::F {
    // With z = |x| / sqrt 2 it is max(x, 0) - |x| * erfc(z) / 2, and erfc(z) = e^(-z^2) * t * p(t) with t = 1 / (1 + z / 2), where p
    // is a least-squares polynomial of the relative error, which is below 5e-8.
    const P: [f32; 9] = [
        -0.059_065_26,
        0.284_558_06,
        -0.487_167_07,
        0.278_031_85,
        -0.026_602_706,
        0.202_677_66,
        0.243_105_98,
        0.282_375,
        0.282_086_43,
    ];
    let size = simd.max(negated(simd, x), x);
    let z = simd.mul(size, simd.splat(std::f32::consts::FRAC_1_SQRT_2));
    let t = simd.div(simd.splat(1.0), simd.fma(z, simd.splat(0.5), simd.splat(1.0)));
    let mut sum = simd.splat(P[0]);
    for coefficient in &P[1..] {
        sum = simd.fma(sum, t, simd.splat(*coefficient));
    }
    let gauss = exp(simd, negated(simd, simd.mul(z, z)));
    let half_tail = simd.mul(simd.mul(gauss, t), simd.mul(sum, simd.splat(0.5)));
    // Where the tail is 0, an infinite `x` must not make NaN of it.
    let lost = simd.select(simd.less(simd.splat(0.0), half_tail), simd.mul(size, half_tail), half_tail);
    simd.sub(simd.max(simd.splat(0.0), x), lost)
}

/// `x * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 * x^3))) / 2`: the approximation of [`gelu`] that some models are made with.
#[inline(always)]
pub(super) fn gelu_tanh<S: Simd>(simd: S, x: S::F) -> S::F {
    // (1 + tanh u) / 2 = 1 / (1 + e^-2u).
    const SCALE: f32 = 1.595_769_2;
    let cubic = simd.mul(simd.mul(x, x), simd.splat(0.044_715));
    let u = simd.mul(simd.mul(x, simd.splat(SCALE)), simd.add(cubic, simd.splat(1.0)));
    simd.div(x, simd.add(simd.splat(1.0), exp(simd, negated(simd, u))))
}

/// `-x`.
#[inline(always)]
pub(super) fn negated<S: Simd>(simd: S, x: S::F) -> S::F {
    simd.mul(x, simd.splat(-1.0))
}
