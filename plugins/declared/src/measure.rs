//! What is left of a group's values by a choice of factors.

use crate::declaration::Factors;
use crate::nearest::Nearest;

/// The values of a group, and their weights.
#[derive(Clone, Copy)]
pub(crate) struct Group<'a> {
    pub(crate) values: &'a [f32],
    pub(crate) weights: Option<&'a [f32]>,
}

/// Weighted sums over a group: of 1, of `l = level - zero`, of the values `x`, and of their products.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Moments {
    pub(crate) weight: f64,
    pub(crate) l: f64,
    pub(crate) ll: f64,
    pub(crate) x: f64,
    pub(crate) lx: f64,
}

/// Values at a time.
const PIECE: usize = 64;
/// Sums that are kept side by side and added in the end: the order of additions is a part of the result.
const LANES: usize = 8;

impl Nearest {
    /// The weighted squared error of the nearest codes.
    pub(crate) fn error(&self, group: Group<'_>, factors: Factors) -> f64 {
        let mut sums = [0f64; LANES];
        self.pieces(group, factors, |values, weights, levels| {
            sums = sums_of(sums, values, weights, levels, |sum, value, weight, level| {
                let error = f64::from(factors.value(level)) - f64::from(value);
                sum + error * error * weight
            });
        });
        total(sums)
    }

    /// The moments of the nearest codes.
    pub(crate) fn moments(&self, group: Group<'_>, factors: Factors) -> Moments {
        let mut sums = [[0f64; 5]; LANES];
        self.pieces(group, factors, |values, weights, levels| {
            sums = sums_of(sums, values, weights, levels, |[w, l, ll, x, lx], value, weight, level| {
                let (level, value) = (f64::from(level - factors.zero), f64::from(value));
                let (weighted_level, weighted_value) = (level * weight, value * weight);
                [
                    w + weight,
                    l + weighted_level,
                    ll + weighted_level * level,
                    x + weighted_value,
                    lx + weighted_level * value,
                ]
            });
        });
        let [weight, l, ll, x, lx] = [0, 1, 2, 3, 4].map(|sum| total(sums.map(|lane| lane[sum])));
        Moments { weight, l, ll, x, lx }
    }

    /// The codes that the error is measured with.
    pub(crate) fn codes(&self, values: &[f32], factors: Factors, codes: &mut [u8]) {
        let (mut begin, group) = (0, Group { values, weights: None });
        self.pieces(group, factors, |_, _, levels| {
            for (code, level) in codes[begin..].iter_mut().zip(levels) {
                *code = self.code(*level);
            }
            begin += levels.len();
        });
    }

    /// Calls `each` with values, their weights and the nearest levels, piece by piece.
    #[inline(always)]
    fn pieces(
        &self,
        group: Group<'_>,
        factors: Factors,
        mut each: impl FnMut(&[f32], Option<&[f32]>, &[f32]),
    ) {
        let mut levels = [0f32; PIECE];
        let Factors { scale, zero, min } = factors;
        let inverse = 1.0 / scale;
        for (index, values) in group.values.chunks(PIECE).enumerate() {
            let levels = &mut levels[..values.len()];
            if scale == 0.0 {
                levels.fill(zero);
            } else if inverse.is_finite() {
                for (number, value) in levels.iter_mut().zip(values) {
                    *number = (value - min) * inverse + zero;
                }
            } else {
                for (number, value) in levels.iter_mut().zip(values) {
                    *number = (value - min) / scale + zero;
                }
            }
            self.round(levels);
            let weights = group.weights.map(|weights| &weights[index * PIECE..][..values.len()]);
            each(values, weights, levels);
        }
    }
}

/// Goes on with sums, each of every eighth value; `add` adds a value, its weight and its level.
#[inline(always)]
fn sums_of<S: Copy>(
    mut sums: [S; LANES],
    values: &[f32],
    weights: Option<&[f32]>,
    levels: &[f32],
    add: impl Fn(S, f32, f64, f32) -> S,
) -> [S; LANES] {
    let ((values, last_values), (levels, last_levels)) = (values.as_chunks(), levels.as_chunks());
    let add_8 = |sums: [S; LANES], values: &[f32; LANES], weight: [f64; LANES], levels: &[f32; LANES]| {
        std::array::from_fn(|lane| add(sums[lane], values[lane], weight[lane], levels[lane]))
    };
    let last = last_values.iter().zip(last_levels).enumerate();
    match weights.map(<[f32]>::as_chunks) {
        None => {
            for (values, levels) in values.iter().zip(levels) {
                sums = add_8(sums, values, [1.0; LANES], levels);
            }
            last.for_each(|(lane, (value, level))| sums[lane] = add(sums[lane], *value, 1.0, *level));
        }
        Some((weights, last_weights)) => {
            for ((values, levels), weights) in values.iter().zip(levels).zip(weights) {
                sums = add_8(sums, values, weights.map(f64::from), levels);
            }
            for (lane, (value, level)) in last {
                sums[lane] = add(sums[lane], *value, last_weights[lane].into(), *level);
            }
        }
    }
    sums
}

fn total(sums: [f64; LANES]) -> f64 {
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + b) + (c + d)) + ((e + f) + (g + h))
}
