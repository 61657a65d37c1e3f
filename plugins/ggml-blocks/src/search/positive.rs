//! The search for the scale of the scales: `x = scale * level` with `0 <= level <= top`.

use crate::lanes::ints;
use crate::search::symmetric::EPSILON;

/// Finds the scale, and the level of each value, for which the weighted square error is small: ggml's
/// `make_qp_quants`. First a few scales are tried, then levels are moved one at a time while that helps.
///
/// The values should not be negative. Where one is, its level is the low byte of a negative integer.
pub(crate) fn search<const N: usize>(x: &[f32; N], weights: &[f32; N], top: u8) -> (f32, [u8; N]) {
    let mut levels = [0; N];
    let max = x.iter().fold(0.0, |max, &x| if max > x { max } else { x });
    if max < EPSILON {
        return (0.0, levels);
    }
    let high = i32::from(top);
    let top = f32::from(top);

    let mut inverse = top / max;
    let mut best_error = error(x, weights, 1.0 / inverse, |x| f32::from(ints::nearest(inverse * x) as u8));
    for tenths in [-4i8, -3, -2, -1, 1, 2, 3, 4] {
        let candidate = (0.1 * f32::from(tenths) + top) / max;
        let error = error(x, weights, 1.0 / candidate, |x| ints::nearest(candidate * x).min(high) as f32);
        if error < best_error {
            best_error = error;
            inverse = candidate;
        }
    }

    let (mut sum_xl, mut sum_ll) = (0.0, 0.0);
    for ((&x, &weight), stored) in x.iter().zip(weights).zip(&mut levels) {
        let level = ints::nearest(inverse * x).min(high);
        *stored = level as u8;
        sum_xl += weight * x * level as f32;
        sum_ll += weight * level as f32 * level as f32;
    }
    for _ in 0..5 {
        let mut moved = false;
        for ((&x, &weight), stored) in x.iter().zip(weights).zip(&mut levels) {
            let level = f32::from(*stored);
            let (mut xl, mut ll) = (sum_xl - weight * x * level, sum_ll - weight * level * level);
            if !(xl > 0.0 && ll > 0.0) {
                continue;
            }
            let new = ints::nearest(x * ll / xl).min(high);
            if new == i32::from(*stored) {
                continue;
            }
            xl += weight * x * new as f32;
            ll += weight * new as f32 * new as f32;
            if xl * xl * sum_ll > sum_xl * sum_xl * ll {
                *stored = new as u8;
                (sum_xl, sum_ll) = (xl, ll);
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }
    (if sum_ll > 0.0 { sum_xl / sum_ll } else { 0.0 }, levels)
}

/// The weighted sum of the squared differences.
#[inline(always)]
fn error(x: &[f32], weights: &[f32], scale: f32, level: impl Fn(f32) -> f32) -> f32 {
    x.iter().zip(weights).fold(0.0, |error, (&x, &weight)| {
        let difference = x - scale * level(x);
        error + weight * difference * difference
    })
}

/// `top` even steps up to the largest value: the step, and the level nearest to each value.
///
/// A level that is out of range is the low byte of the integer.
pub(crate) fn even_steps<const N: usize>(x: &[f32; N], top: u8) -> (f32, [u8; N]) {
    let max = x.iter().fold(0.0, |max, &x| if x > max { x } else { max });
    let inverse = if max > 0.0 { f32::from(top) / max } else { 0.0 };
    (max / f32::from(top), x.map(|x| ints::nearest(inverse * x) as u8))
}
