//! What the ternary formats share: a value is -1, 0 or 1 times the largest magnitude.

use crate::blocks32::inverse;
use crate::float::Half;

/// The scale of a block, and its trits: 0 for -1, 1 for 0, 2 for 1.
#[inline(always)]
pub(crate) fn quantize(x: &[f32; 256]) -> (Half, [u8; 256]) {
    let max = x.iter().fold(0.0f32, |max, x| if max < x.abs() { x.abs() } else { max });
    let inverse = inverse(max);
    (Half::from_f32(max), x.map(|x| trit(x * inverse)))
}

/// The nearest integer plus 1. What is not finite, from a maximum whose inverse overflows, is 1.
#[inline(always)]
fn trit(x: f32) -> u8 {
    if x >= 0.5 && x.is_finite() {
        2
    } else if x <= -0.5 && x.is_finite() {
        0
    } else {
        1
    }
}
