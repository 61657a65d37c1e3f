//! The 4-bit floats of `mxfp4` and `nvfp4` and the 8-bit floats that scale them.

use crate::lanes::Lanes;

/// Twice the values of E2M1: a sign, two bits of exponent, one of mantissa. Defined by the OCP Microscaling
/// Formats specification.
pub(crate) const DOUBLED: [i8; 16] = [0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12];

/// The index of the value whose `scale` multiple is nearest to each `x`; of two as near, the first.
#[inline(always)]
pub(crate) fn indices<V: Lanes, const N: usize>(x: &[f32; N], scale: f32) -> [i8; N] {
    let mut indices = [0; N];
    for (indices, x) in indices.chunks_exact_mut(V::COUNT).zip(x.chunks_exact(V::COUNT)) {
        let x = V::load(x);
        let mut best = V::splat(0.0);
        let mut distance = (V::splat(f32::from(DOUBLED[0]) * scale) - x).abs();
        for (index, &value) in (0i8..).zip(&DOUBLED).skip(1) {
            let candidate = (V::splat(f32::from(value) * scale) - x).abs();
            let nearer = candidate.lt(distance);
            best = V::select(nearer, V::splat(f32::from(index)), best);
            distance = V::select(nearer, candidate, distance);
        }
        best.truncate(indices);
    }
    indices
}

/// Half of an E8M0 scale, which is a power of two: `2^(exponent - 128)`.
#[inline(always)]
pub(crate) fn half_e8m0(exponent: u8) -> f32 {
    f32::from_bits(match exponent {
        0 | 1 => 0x0020_0000 << exponent,
        _ => u32::from(exponent - 1) << 23,
    })
}

/// The E8M0 scale at which a magnitude of `max` is near E2M1's largest values.
///
/// Below `2^-125` the exponent is negative and its low byte is that of a huge scale, as in ggml.
#[inline(always)]
pub(crate) fn e8m0_for(max: f32) -> u8 {
    if max > 0.0 { ((f64::from(max).log2() as f32).floor() - 2.0 + 127.0) as i32 as u8 } else { 0 }
}

/// Half of an UE4M3 scale: four bits of exponent, three of mantissa; the top bit does not count, and 0x7f, a NaN,
/// is 0.
#[inline(always)]
pub(crate) fn half_ue4m3(scale: u8) -> f32 {
    let (exponent, mantissa) = ((scale >> 3) & 15, scale & 7);
    match (scale, exponent) {
        (0x7f, _) => 0.0,
        (_, 0) => f32::from(mantissa) / 1024.0,
        _ => f32::from_bits((u32::from(exponent) + 127 - 8) << 23 | u32::from(mantissa) << 20),
    }
}

/// The UE4M3 nearest to `x`, which is not negative; ties away from zero, at most 448.
#[inline(always)]
pub(crate) fn to_ue4m3(x: f32) -> u8 {
    const LARGEST: u8 = 0x7e;
    let bits = x.min(448.0).to_bits();
    let exponent = (bits >> 23) as i32 - 127 + 7;
    if exponent <= 0 {
        return ((x * 512.0 + 0.5) as u8).min(7);
    }
    // Rounding may carry from the mantissa into the exponent.
    let rounded = (exponent << 3) + ((bits >> 20) & 7) as i32 + ((bits >> 19) & 1) as i32;
    if exponent >= 15 || rounded >= 15 << 3 { LARGEST } else { rounded as u8 }
}
