//! The search for `x = scale * level`, `-half <= level < half`, that moves one level at a time.

use crate::lanes::Lanes;
use crate::search::symmetric::{EPSILON, largest};

/// Finds the scale, and the levels plus `half`, for which the sum of `x^2 (x - scale * level)^2` is small: ggml's
/// `make_q3_quants`. A block of zeros has scale 0 and levels 0.
///
/// Each step waits for the one before it. So `K` sets of lanes are searched side by side, each for itself.
#[inline(always)]
pub(crate) fn search<V: Lanes, const K: usize, const N: usize>(
    x: &[[V; N]; K],
    half: i8,
) -> ([V; K], [[V; N]; K]) {
    let zero = V::splat(0.0);
    let (low, high) = (i32::from(-half), i32::from(half) - 1);
    let mut levels = *x;
    let (mut sum_xl, mut sum_ll) = ([zero; K], [zero; K]);
    for k in 0..K {
        let inverse = V::splat(f32::from(-half)) / largest(&x[k]);
        for (&x, level) in x[k].iter().zip(&mut levels[k]) {
            let weight = x * x;
            *level = (inverse * x).nearest(low, high);
            sum_xl[k] = sum_xl[k] + weight * x * *level;
            sum_ll[k] = sum_ll[k] + weight * *level * *level;
        }
    }

    for _ in 0..5 {
        let mut moved = false;
        for i in 0..N {
            for k in 0..K {
                let (x, level) = (x[k][i], levels[k][i]);
                let weight = x * x;
                let (xl, ll) = (sum_xl[k] - weight * x * level, sum_ll[k] - weight * level * level);
                let new = (x * ll / xl).nearest(low, high);
                let changes = V::both(zero.lt(xl), new.ne(level));
                let (xl, ll) = (xl + weight * x * new, ll + weight * new * new);
                let better = V::both(zero.lt(ll), (sum_xl[k] * sum_xl[k] * ll).lt(xl * xl * sum_ll[k]));
                let better = V::both(changes, better);
                levels[k][i] = V::select(better, new, level);
                sum_xl[k] = V::select(better, xl, sum_xl[k]);
                sum_ll[k] = V::select(better, ll, sum_ll[k]);
                moved |= V::any(better);
            }
        }
        if !moved {
            break;
        }
    }

    let mut scales = [zero; K];
    for k in 0..K {
        let empty = largest(&x[k]).abs().lt(V::splat(EPSILON));
        let scale = V::select(zero.lt(sum_ll[k]), sum_xl[k] / sum_ll[k], zero);
        scales[k] = V::select(empty, zero, scale);
        for level in &mut levels[k] {
            *level = V::select(empty, zero, *level + V::splat(f32::from(half)));
        }
    }
    (scales, levels)
}
