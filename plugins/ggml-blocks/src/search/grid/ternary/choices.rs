//! The choices of boundaries and shifts for a sub-block of three levels, and the best of them.

use super::{DOWN, UP};
use crate::lanes::Lanes;

/// The most values in a sub-block.
const VALUES: usize = 32;
/// The most lanes of a register.
const LANES: usize = 16;
/// Room for the sums over the first values of a sub-block, and for a register's lanes beyond them.
const SUMS: usize = VALUES + 1 + LANES;
/// Room for all pairs of bounds: those with one first bound fill whole registers.
const PAIRS: usize = 816;

/// For each pair of bounds, and each of the shifts, how well it explains the sub-block.
pub(crate) struct Choices {
    /// By shifts: `sum(weight * value * x)`, in the order of the pairs. NaN where a register has lanes left over.
    xq: [[f32; PAIRS]; 4],
    /// By shifts: `sum(weight * value^2)`.
    qq: [[f32; PAIRS]; 4],
    /// For each register the bounds of its first lane; each lane's second bound is one higher.
    bounds: [(u8, u8); PAIRS],
    /// Number of pairs.
    len: usize,
    /// The weight of the sub-block.
    weight: f32,
}

/// A choice: values before the first bound in rising order have level 0, those before the second level 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    /// The scale that fits best.
    pub(crate) scale: f32,
    /// The bounds.
    pub(crate) bounds: (usize, usize),
    /// The shifts.
    pub(crate) shifts: u8,
    /// What it explains of the weighted squares.
    score: f32,
}

impl Choices {
    /// No choices.
    pub(crate) const fn new() -> Self {
        Self { xq: [[0.0; PAIRS]; 4], qq: [[0.0; PAIRS]; 4], bounds: [(0, 0); PAIRS], len: 0, weight: 0.0 }
    }

    /// All bounds, with shifts of the whole sub-block.
    #[inline(always)]
    pub(crate) fn fill_whole<V: Lanes, const N: usize>(
        &mut self,
        order: &[usize; N],
        x: &[f32; N],
        weights: &[f32; N],
    ) {
        let (mut sum_x, mut sum_w) = ([f32::NAN; SUMS], [f32::NAN; SUMS]);
        (sum_x[0], sum_w[0]) = (0.0, 0.0);
        for (place, &i) in order.iter().enumerate() {
            sum_x[place + 1] = sum_x[place] + weights[i] * x[i];
            sum_w[place + 1] = sum_w[place] + weights[i];
        }
        let high = [UP[2], DOWN[2]];
        let rest_x = high.map(|high| sum_x.map(|sum| (sum_x[N] - sum) * high));
        let rest_w = high.map(|high| sum_w.map(|sum| (sum_w[N] - sum) * high * high));

        self.clear(sum_w[N]);
        let middle = V::splat(UP[1]);
        for first in 0..=N {
            let (before_x, before_w) = (V::splat(sum_x[first]), V::splat(sum_w[first]));
            let (mut low_x, mut low_w) = ([before_x; 2], [before_w; 2]);
            for (i, low) in [UP[0], DOWN[0]].into_iter().enumerate() {
                low_x[i] = before_x * V::splat(low);
                low_w[i] = before_w * V::splat(low) * V::splat(low);
            }
            for second in (first..=N).step_by(V::COUNT) {
                let middle_x = (V::load(&sum_x[second..]) - before_x) * middle;
                let middle_w = (V::load(&sum_w[second..]) - before_w) * middle * middle;
                // The middle values of the two shifts are opposites.
                let xq = [
                    low_x[0] + middle_x + V::load(&rest_x[0][second..]),
                    low_x[1] - middle_x + V::load(&rest_x[1][second..]),
                ];
                let qq = [
                    low_w[0] + middle_w + V::load(&rest_w[0][second..]),
                    low_w[1] + middle_w + V::load(&rest_w[1][second..]),
                ];
                self.push(first, second, xq, qq);
            }
        }
    }

    /// All bounds, with shifts of each half.
    ///
    /// Levels are 1 apart, so for values `v0`, `v1`, `v2` of the levels, over all values and over those before a bound,
    /// `sum(w x v) = v2 * sum(w x) - sum(w x, before the first) - sum(w x, before the second)`.
    #[inline(always)]
    pub(crate) fn fill_halves<V: Lanes, const N: usize>(
        &mut self,
        order: &[usize; N],
        x: &[f32; N],
        weights: &[f32; N],
    ) {
        let (mut sum_x, mut sum_w) = ([[f32::NAN; SUMS]; 2], [[f32::NAN; SUMS]; 2]);
        for half in 0..2 {
            (sum_x[half][0], sum_w[half][0]) = (0.0, 0.0);
            for (place, &i) in order.iter().enumerate() {
                let here = i / (N / 2) == half;
                sum_x[half][place + 1] = sum_x[half][place] + if here { weights[i] * x[i] } else { 0.0 };
                sum_w[half][place + 1] = sum_w[half][place] + if here { weights[i] } else { 0.0 };
            }
        }
        let steps = [UP, DOWN]
            .map(|[low, middle, high]| [low * low - middle * middle, middle * middle - high * high]);
        let total_x = [UP, DOWN].map(|values| sum_x.map(|sum| sum[N] * values[2]));
        let total_w = [UP, DOWN].map(|values| sum_w.map(|sum| sum[N] * values[2] * values[2]));

        self.clear(sum_w[0][N] + sum_w[1][N]);
        for first in 0..=N {
            for second in (first..=N).step_by(V::COUNT) {
                let zero = V::splat(0.0);
                let (mut xq, mut qq) = ([[zero; 2]; 2], [[zero; 2]; 2]);
                for half in 0..2 {
                    let before = V::splat(sum_x[half][first]) + V::load(&sum_x[half][second..]);
                    let before_second = V::load(&sum_w[half][second..]);
                    for down in 0..2 {
                        let at_first = total_w[down][half] + sum_w[half][first] * steps[down][0];
                        xq[half][down] = V::splat(total_x[down][half]) - before;
                        qq[half][down] = V::splat(at_first) + before_second * V::splat(steps[down][1]);
                    }
                }
                let (mut pairs_xq, mut pairs_qq) = ([zero; 4], [zero; 4]);
                for shifts in 0..4 {
                    pairs_xq[shifts] = xq[0][shifts >> 1] + xq[1][shifts & 1];
                    pairs_qq[shifts] = qq[0][shifts >> 1] + qq[1][shifts & 1];
                }
                self.push(first, second, pairs_xq, pairs_qq);
            }
        }
    }

    #[inline(always)]
    fn clear(&mut self, weight: f32) {
        self.len = 0;
        self.weight = weight;
    }

    #[inline(always)]
    fn push<V: Lanes, const K: usize>(&mut self, first: usize, second: usize, xq: [V; K], qq: [V; K]) {
        let at = self.len;
        for shifts in 0..K {
            xq[shifts].store(&mut self.xq[shifts][at..][..V::COUNT]);
            qq[shifts].store(&mut self.qq[shifts][at..][..V::COUNT]);
        }
        self.bounds[at / V::COUNT] = (first as u8, second as u8);
        self.len += V::COUNT;
    }

    /// What remains when all choices are [compared](Self::compare); `None` if nothing does.
    #[inline(always)]
    pub(crate) fn best<V: Lanes, const K: usize>(&self) -> Option<Choice> {
        if V::COUNT > 1
            && let Some(best) = self.best_of_highest::<V, K>()
        {
            return Some(best);
        }
        let mut best = None;
        for at in 0..self.len {
            for shifts in 0..K {
                self.compare(&mut best, at, shifts, V::COUNT);
            }
        }
        best
    }

    /// Takes a choice in place of `best` if it explains more. The definition of the best choice is that it is what
    /// remains when all are compared, in the order of the pairs, and for each pair in that of the shifts.
    #[inline(always)]
    fn compare(&self, best: &mut Option<Choice>, at: usize, shifts: usize, lanes: usize) {
        let (xq, qq) = (self.xq[shifts][at], self.qq[shifts][at]);
        let score = best.map_or(f32::MIN, |best| best.score);
        if qq > 0.0 && xq * xq > score * qq {
            let scale = xq / qq;
            let (first, second) = self.bounds[at / lanes];
            let bounds = (usize::from(first), usize::from(second) + at % lanes);
            *best = Some(Choice { scale, bounds, shifts: shifts as u8, score: scale * xq });
        }
    }

    /// The best choice, if it can be told by comparing but the few that explain about as much as the best can.
    ///
    /// A choice's score is `xq^2 / qq`. Say that no score lies from `band * threshold` up to `threshold`, where the gap
    /// is many times what rounding may add to or take from a score, and that some reach the threshold. Of all choices
    /// the first of these then is taken in place of whatever came before, and no other than these in place of it.
    #[inline(always)]
    fn best_of_highest<V: Lanes, const K: usize>(&self) -> Option<Choice> {
        const THRESHOLD: f32 = 1.0 - 1.0 / 16_384.0;
        const BAND: f32 = 1.0 - 1.0 / 262_144.0;
        // Products of a weight and of a score within these bounds, and what is near them, are exact but for rounding.
        const NORMAL: core::ops::Range<f32> = 1e-27..1e27;

        let threshold = self.highest::<V, K>() * THRESHOLD;
        if !NORMAL.contains(&self.weight)
            || !NORMAL.contains(&threshold)
            || !NORMAL.contains(&(threshold * self.weight))
        {
            return None;
        }
        let floor = V::splat(threshold * BAND);
        let mut best = None;
        for at in (0..self.len).step_by(V::COUNT) {
            let mut high = [0; K];
            let mut any = 0;
            for (high, (xq, qq)) in high.iter_mut().zip(self.xq.iter().zip(&self.qq)) {
                let (xq, qq) = (V::load(&xq[at..]), V::load(&qq[at..]));
                *high = V::bits((floor * qq).lt(xq * xq));
                any |= *high;
            }
            while any != 0 {
                let lane = any.trailing_zeros();
                any &= any - 1;
                for (shifts, high) in high.iter().enumerate() {
                    let (xq, qq) = (self.xq[shifts][at + lane as usize], self.qq[shifts][at + lane as usize]);
                    if high >> lane & 1 == 1 && qq > 0.0 {
                        if xq * xq / qq < threshold {
                            return None;
                        }
                        self.compare(&mut best, at + lane as usize, shifts, V::COUNT);
                    }
                }
            }
        }
        best
    }

    /// The highest score, or a little less.
    #[inline(always)]
    fn highest<V: Lanes, const K: usize>(&self) -> f32 {
        let (mut high_xx, mut high_qq) = ([V::splat(0.0); K], [V::splat(1.0); K]);
        for at in (0..self.len).step_by(V::COUNT) {
            for shifts in 0..K {
                let (xq, qq) = (V::load(&self.xq[shifts][at..]), V::load(&self.qq[shifts][at..]));
                let xx = xq * xq;
                let higher = (high_xx[shifts] * qq).lt(xx * high_qq[shifts]);
                high_xx[shifts] = V::select(higher, xx, high_xx[shifts]);
                high_qq[shifts] = V::select(higher, qq, high_qq[shifts]);
            }
        }
        let mut scores = [[0.0; LANES]; K];
        for shifts in 0..K {
            (high_xx[shifts] / high_qq[shifts]).store(&mut scores[shifts][..V::COUNT]);
        }
        scores
            .as_flattened()
            .iter()
            .fold(0.0, |highest, &score| if score > highest { score } else { highest })
    }
}
