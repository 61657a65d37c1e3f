//! From floats to integers, as ggml does it on x86-64.

/// Adding it to a small float leaves the nearest integer in the low bits of the mantissa.
pub(crate) const MAGIC: f32 = 12_582_912.0;

/// The nearest integer, ties to even. Beyond 2^22, and for what is not finite, whatever the bits then say:
/// infinities give -2^22 and NaN 0.
#[inline(always)]
pub(crate) fn nearest(x: f32) -> i32 {
    ((x + MAGIC).to_bits() & 0x007f_ffff) as i32 - 0x0040_0000
}

/// The integer part. Out of range, and for NaN, `i32::MIN` as x86's conversion has it.
#[inline(always)]
pub(crate) fn truncate(x: f32) -> i32 {
    const LIMIT: f32 = 2_147_483_648.0;
    let x = if x.abs() < LIMIT { x } else { -LIMIT };
    // SAFETY: -2^31 <= x < 2^31, and x is no NaN, for which the comparison is false.
    unsafe { x.to_int_unchecked() }
}

/// The nearest integer, ties away from zero. Out of range, and for NaN, `i32::MIN`.
#[inline(always)]
pub(crate) fn round(x: f32) -> i32 {
    // The largest float below a half: what is added never carries a smaller fraction over.
    const HALF: f32 = 0.5 - f32::EPSILON / 4.0;
    truncate(x + HALF.copysign(x))
}

#[cfg(test)]
mod tests {
    #[test]
    fn rounding_is_that_of_the_language() {
        let steps = (0..1u32 << 16).map(|upper| f32::from_bits(upper << 16));
        for x in steps.flat_map(|x| [x, x.next_down(), x.next_up(), x + 0.5, (x + 0.5).next_down(), x - 0.5])
        {
            let expected = if x.abs() < 2f32.powi(31) { x.round() as i32 } else { i32::MIN };
            assert_eq!(super::round(x), expected, "{x:e}");
        }
    }
}
