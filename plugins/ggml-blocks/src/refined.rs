//! The search for `x = scale * level`, `-half <= level < half`, that moves one level at a time.

use crate::lanes::Lanes;
use crate::symmetric::{EPSILON, largest};

/// Finds the scale, and the levels plus `half`, for which the sum of `x^2 (x - scale * level)^2` is small: ggml's
/// `make_q3_quants`. A block of zeros has scale 0 and levels 0.
#[inline(always)]
pub(crate) fn search<V: Lanes, const N: usize>(x: &[V; N], half: i8) -> (V, [V; N]) {
    let zero = V::splat(0.0);
    let (low, high) = (i32::from(-half), i32::from(half) - 1);
    let largest = largest(x);
    let inverse = V::splat(f32::from(-half)) / largest;
    let mut levels = *x;
    let (mut sum_xl, mut sum_ll) = (zero, zero);
    for (&x, level) in x.iter().zip(&mut levels) {
        let weight = x * x;
        *level = (inverse * x).nearest(low, high);
        sum_xl = sum_xl + weight * x * *level;
        sum_ll = sum_ll + weight * *level * *level;
    }

    for _ in 0..5 {
        let mut moved = false;
        for (&x, level) in x.iter().zip(&mut levels) {
            let weight = x * x;
            let (xl, ll) = (sum_xl - weight * x * *level, sum_ll - weight * *level * *level);
            let new = (x * ll / xl).nearest(low, high);
            let changes = V::both(zero.lt(xl), new.ne(*level));
            let (xl, ll) = (xl + weight * x * new, ll + weight * new * new);
            let better = V::both(zero.lt(ll), (sum_xl * sum_xl * ll).lt(xl * xl * sum_ll));
            let better = V::both(changes, better);
            *level = V::select(better, new, *level);
            sum_xl = V::select(better, xl, sum_xl);
            sum_ll = V::select(better, ll, sum_ll);
            moved |= V::any(better);
        }
        if !moved {
            break;
        }
    }

    let empty = largest.abs().lt(V::splat(EPSILON));
    let scale = V::select(zero.lt(sum_ll), sum_xl / sum_ll, zero);
    for level in &mut levels {
        *level = V::select(empty, zero, *level + V::splat(f32::from(half)));
    }
    (V::select(empty, zero, scale), levels)
}
