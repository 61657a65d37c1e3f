//! Sums in the order of their terms, and the weights made of them.

use crate::lanes::Lanes;

/// The sum of the squares, from the first value to the last.
#[inline(always)]
pub(crate) fn squares(x: &[f32]) -> f32 {
    x.iter().fold(0.0, |sum, &x| sum + x * x)
}

/// What a value's importance becomes: `importance * sqrt(variance + x^2)`, value by value.
#[inline(always)]
pub(crate) fn weigh(x: &[f32], importance: &[f32], variance: f32, weights: &mut [f32]) {
    for ((weight, &x), &importance) in weights.iter_mut().zip(x).zip(importance) {
        *weight = importance * (variance + x * x).sqrt();
    }
}

/// The sum over the vectors, from the first to the last.
#[inline(always)]
pub(crate) fn total<V: Lanes>(x: &[V]) -> V {
    let mut sum = V::splat(0.0);
    for &x in x {
        sum = sum + x;
    }
    sum
}

/// Each value squared.
#[inline(always)]
pub(crate) fn each_squared<V: Lanes, const N: usize>(x: &[V; N]) -> [V; N] {
    let mut squares = *x;
    for x in &mut squares {
        *x = *x * *x;
    }
    squares
}
