//! What the ternary formats share: a value is -1, 0 or 1 times the largest magnitude.

use crate::float::Half;
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::search::blocks32::inverse;

/// The scale of a block, and its trits: 0 for -1, 1 for 0, 2 for 1.
#[inline(always)]
pub(crate) fn quantize<V: Lanes>(x: &[f32; 256]) -> (Half, [i8; 256]) {
    let max = elementwise::magnitude::<V>(x);
    let inverse = inverse(max);
    let mut trits = [0; 256];
    for (trit, x) in trits.iter_mut().zip(x) {
        *trit = self::trit(x * inverse);
    }
    (Half::from_f32(max), trits)
}

/// The nearest integer plus 1. What is not finite, from a maximum whose inverse overflows, is 1.
#[inline(always)]
fn trit(x: f32) -> i8 {
    if x >= 0.5 && x.is_finite() {
        2
    } else if x <= -0.5 && x.is_finite() {
        0
    } else {
        1
    }
}
