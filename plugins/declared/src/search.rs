//! The scale, zero and minimum of a group that leave the least error.
//!
//! `FORMAT.md` describes the search. It is a part of no definition: another encoder may choose otherwise.

use crate::declaration::{Declaration, Factors, StoredFactors};
use crate::field::{Entries, Stored};
use crate::float::ScaleDType;
use crate::measure::{Group, Moments};
use crate::nearest::Nearest;

/// A choice, and what it leaves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Choice {
    pub(crate) raw: StoredFactors,
    pub(crate) factors: Factors,
    pub(crate) error: f64,
}

/// How the entries of a group are stored, and what codes stand for.
#[derive(Clone, Copy)]
pub(crate) struct Searcher<'a> {
    pub(crate) declaration: &'a Declaration,
    pub(crate) nearest: &'a Nearest,
    pub(crate) scale: Stored,
    /// The factor of the stored scale.
    pub(crate) super_scale: Option<f32>,
    /// Whether a scale may be negative.
    pub(crate) takes_signs: bool,
}

/// A group's extremes.
#[derive(Clone, Copy)]
struct Range {
    low: f64,
    high: f64,
}

/// A search in progress: the best choice so far, and what has been tried.
pub(crate) struct Search<'a> {
    searcher: Searcher<'a>,
    group: Group<'a>,
    range: Range,
    pub(crate) best: Choice,
    tried: Vec<StoredFactors>,
}

impl<'a> Searcher<'a> {
    /// Begins with a scale of zero, or the least one.
    pub(crate) fn begin(self, group: Group<'a>) -> Search<'a> {
        let values = group.values.iter();
        let (low, high) = values.fold((f32::INFINITY, f32::NEG_INFINITY), |(low, high), value| {
            (if *value < low { *value } else { low }, if *value > high { *value } else { high })
        });
        let range = Range { low: low.into(), high: high.into() };
        let raw = StoredFactors::default();
        let nothing =
            Choice { raw, factors: Factors { scale: 0.0, zero: 0.0, min: -0.0 }, error: f64::INFINITY };
        let mut search =
            Search { searcher: self, group, range, best: nothing, tried: Vec::with_capacity(64) };
        let middle = f64::midpoint(range.low, range.high);
        search.attempt(0.0, 0.0, middle);
        search
    }

    fn min_dtype(self) -> Option<ScaleDType> {
        self.declaration.min?.dtype()
    }

    fn zero_dtype(self) -> Option<ScaleDType> {
        self.declaration.zero?.dtype()
    }

    /// Whether values may be moved by any number: by a minimum, or by a zero that is a float.
    fn is_affine(self) -> bool {
        self.min_dtype().or(self.zero_dtype()).is_some()
    }

    /// The least and the largest zero, where zeros are whole numbers.
    fn zeros(self) -> Option<(f64, f64)> {
        let bits = match self.declaration.zero {
            Some(Entries { stored: Stored::Bits(bits), .. }) => bits,
            _ => return None,
        };
        let count = f64::from(1u32 << bits);
        Some(if self.declaration.is_signed() {
            (-count / 2.0, count / 2.0 - 1.0)
        } else {
            (0.0, count - 1.0)
        })
    }

    /// The stored bits of the nearest scale.
    fn store_scale(self, scale: f64) -> u32 {
        let ratio = match self.super_scale {
            None => scale,
            Some(0.0) => 0.0,
            Some(factor) => scale / f64::from(factor),
        };
        match self.scale {
            Stored::Float(dtype) => dtype.store(ratio),
            // No platform's rounding: halves go up.
            Stored::Bits(bits) => (ratio + 0.5).clamp(0.0, f64::from((1u32 << bits) - 1)) as u32,
        }
    }

    fn factors(self, raw: StoredFactors) -> Factors {
        let scale = self.scale.value(raw.scale);
        let scale = self.super_scale.map_or(scale, |factor| scale * factor);
        let zero = match self.declaration.zero {
            Some(zero) => self.declaration.zero_of(zero.stored, raw.zero),
            None => 0.0,
        };
        let min = self.declaration.min.map_or(-0.0, |min| min.stored.value(raw.min));
        Factors { scale, zero, min }
    }
}

impl Search<'_> {
    /// Tries the nearest stored numbers.
    fn attempt(&mut self, scale: f64, zero: f64, min: f64) {
        self.attempt_stored(self.searcher.store_scale(scale), zero, min);
    }

    fn attempt_stored(&mut self, scale: u32, zero: f64, min: f64) {
        let zero = match (self.searcher.zeros(), self.searcher.zero_dtype()) {
            // In two's complement.
            (Some((least, largest)), _) => zero.clamp(least, largest) as i32 as u32 & self.zero_mask(),
            (None, Some(dtype)) => dtype.store(zero),
            (None, None) => 0,
        };
        let min = self.searcher.min_dtype().map_or(0, |dtype| dtype.store(min));
        let raw = StoredFactors { scale, zero, min };
        if self.tried.contains(&raw) {
            return;
        }
        self.tried.push(raw);
        let factors = self.searcher.factors(raw);
        let error = self.searcher.nearest.error(self.group, factors);
        // Of equal errors the first stays; what is NaN is no error.
        if error < self.best.error {
            self.best = Choice { raw, factors, error };
        } else if self.tried.len() == 1 {
            self.best = Choice { raw, factors, error: f64::INFINITY };
        }
    }

    fn zero_mask(&self) -> u32 {
        match self.searcher.declaration.zero {
            Some(Entries { stored: Stored::Bits(bits), .. }) => (1 << bits) - 1,
            _ => 0,
        }
    }

    /// The whole search, from nothing.
    pub(crate) fn run(&mut self) {
        if self.is_done() {
            return;
        }
        self.run_baselines();
        let levels = self.searcher.nearest.len();
        for sign in self.signs() {
            let base = self.fitting(sign);
            // From a little above what fits, and down from there.
            coarse_factors(levels).for_each(|factor| self.around(sign * base * factor));
        }
        let Range { low, high } = self.range;
        if self.searcher.zeros().is_some() && (low > 0.0 || high < 0.0) {
            // Zeros that are far enough let 0 be no value.
            let base = self.fitting_with_zero(low, high);
            coarse_factors(levels).for_each(|factor| self.around(base * factor));
        }
        self.refine(3);
        for factor in [1.02, 0.98, 1.04, 0.96] {
            if self.is_done() {
                return;
            }
            self.beside(factor);
        }
        self.refine(2);
        self.neighbours();
    }

    /// The search where a super scale leaves few scales: beside what was found without one.
    pub(crate) fn run_from(&mut self, ideal: Factors) {
        let (scale, zero) = (f64::from(ideal.scale), f64::from(ideal.zero));
        self.attempt(scale, zero, ideal.min.into());
        self.neighbours();
        self.refine(1);
    }

    fn is_done(&self) -> bool {
        self.best.error == 0.0
    }

    fn levels(&self) -> (f64, f64) {
        (self.searcher.nearest.low(), self.searcher.nearest.high())
    }

    fn signs(&self) -> impl Iterator<Item = f64> + use<> {
        let both = self.searcher.takes_signs
            && !self.searcher.nearest.is_symmetric()
            && !self.searcher.is_affine()
            && self.searcher.zeros().is_none();
        [1.0, -1.0].into_iter().take(if both { 2 } else { 1 })
    }

    /// Absmax scaling, or min-max where there is a minimum or a zero.
    pub(crate) fn run_baselines(&mut self) {
        let (low, high) = self.levels();
        let Range { low: least, high: most } = self.range;
        if self.searcher.zero_dtype().is_some() && least == most {
            // One value alone, and a scale of zero leaves it none.
            return self.attempt(most.abs(), low - most.signum(), 0.0);
        }
        if self.searcher.is_affine() {
            return self.around(self.fitting(1.0));
        }
        if self.searcher.zeros().is_some() {
            // Where no zero is far enough, the extremes' own scale does not fit.
            self.around(
                (self.range.high.max(0.0) - self.range.low.min(0.0)) / (high - low).max(f64::MIN_POSITIVE),
            );
            return self.around(self.fitting(1.0));
        }
        let most = self.range.high.max(-self.range.low);
        let (shorter, longer) = ((-low).min(high), (-low).max(high));
        for reach in [longer, shorter] {
            if reach > 0.0 {
                for sign in self.signs() {
                    self.attempt(sign * most / reach, 0.0, 0.0);
                }
            }
        }
        self.attempt(self.fitting(1.0), 0.0, 0.0);
    }

    /// The least scale of this sign by which the extremes are within the levels; 0 where there is none.
    pub(crate) fn fitting(&self, sign: f64) -> f64 {
        let (low, high) = self.levels();
        let span = high - low;
        let Range { low: least, high: most } = self.range;
        if self.searcher.is_affine() {
            return if span > 0.0 { (most - least) / span } else { 0.0 };
        }
        if self.searcher.zeros().is_some() {
            return self.fitting_with_zero(least.min(0.0), most.max(0.0));
        }
        let (least, most) = if sign < 0.0 { (-most, -least) } else { (least, most) };
        let above = if high > 0.0 { most / high } else { 0.0 };
        let below = if low < 0.0 { least / low } else { 0.0 };
        match above.max(below) {
            fits if fits > 0.0 => fits,
            // Values of the sign that no level has.
            _ => most.max(-least) / high.max(-low).max(f64::MIN_POSITIVE),
        }
    }

    /// The least scale by which a range is within the levels minus the zero that suits it best.
    fn fitting_with_zero(&self, least: f64, most: f64) -> f64 {
        let (low, high) = self.levels();
        let base = (most - least) / (high - low).max(f64::MIN_POSITIVE);
        let Some((first, last)) = self.searcher.zeros().filter(|_| base > 0.0) else { return 0.0 };
        let zero = (low - least / base).clamp(first, last);
        let above = if high > zero { most / (high - zero) } else { 0.0 };
        let below = if low < zero { least / (low - zero) } else { 0.0 };
        above.max(below)
    }

    /// Tries a scale with the zeros or the minimum that leave the middle of the extremes in the middle of the levels.
    fn around(&mut self, scale: f64) {
        let (low, high) = self.levels();
        let middle = f64::midpoint(self.range.low, self.range.high);
        let level = f64::midpoint(low, high);
        let ideal = if scale > 0.0 { level - middle / scale } else { 0.0 };
        if self.searcher.zero_dtype().is_some() {
            return self.attempt(scale, ideal, 0.0);
        }
        if self.searcher.zeros().is_none() {
            return self.attempt(scale, 0.0, middle - scale * level);
        }
        let below = ideal.clamp(-1e6, 1e6).floor();
        self.attempt(scale, below, 0.0);
        self.attempt(scale, below + 1.0, 0.0);
    }

    /// Tries what is best for the codes of the best choice, so many times or until nothing is gained.
    fn refine(&mut self, times: usize) {
        for _ in 0..times {
            if self.is_done() {
                return;
            }
            let before = self.best.error;
            let m = self.searcher.nearest.moments(self.group, self.best.factors);
            let zero = f64::from(self.best.factors.zero);
            if self.searcher.is_affine() {
                let (mean_l, mean_x) = (m.l / m.weight, m.x / m.weight);
                let spread = m.ll - m.l * mean_l;
                let scale = if spread > 0.0 { (m.lx - m.l * mean_x) / spread } else { 0.0 };
                if self.searcher.zero_dtype().is_some() {
                    self.refine_zero(scale, zero + mean_l, mean_x);
                } else {
                    self.refine_min(scale, mean_l, mean_x, m);
                }
            } else if m.ll > 0.0 {
                self.attempt(m.lx / m.ll, zero, 0.0);
                if self.searcher.zeros().is_some() {
                    self.attempt_stored(self.best.raw.scale, zero + 1.0, 0.0);
                    self.attempt_stored(self.best.raw.scale, zero - 1.0, 0.0);
                }
            }
            if self.best.error >= before {
                return;
            }
        }
    }

    /// Tries a scale with the minimum that leaves the mean of the values, and what is best for the stored numbers.
    fn refine_min(&mut self, scale: f64, mean_l: f64, mean_x: f64, m: Moments) {
        let zero = f64::from(self.best.factors.zero);
        self.attempt(scale, zero, mean_x - scale * mean_l);
        // What is stored is another number: the rest for the minimum that is, and for the scale that is.
        let Factors { scale, min, .. } = self.best.factors;
        self.attempt_stored(self.best.raw.scale, zero, mean_x - f64::from(scale) * mean_l);
        if m.ll > 0.0 {
            self.attempt((m.lx - f64::from(min) * m.l) / m.ll, zero, min.into());
        }
    }

    /// Tries a scale with the zero that leaves the mean of the values, and the zero for the scale that is stored. `mean_level` is the
    /// mean of the levels themselves.
    fn refine_zero(&mut self, scale: f64, mean_level: f64, mean_x: f64) {
        self.attempt(scale, zero_for(mean_level, mean_x, scale), 0.0);
        let stored = f64::from(self.best.factors.scale);
        self.attempt_stored(self.best.raw.scale, zero_for(mean_level, mean_x, stored), 0.0);
    }

    /// Tries the best scale times a factor; a minimum moves so that the mean stays.
    fn beside(&mut self, factor: f64) {
        let Factors { scale, zero, min } = self.best.factors;
        let (scale, moved) = (f64::from(scale), f64::from(scale) * factor);
        let (low, high) = self.levels();
        let middle = f64::midpoint(low, high);
        let zero = match self.searcher.zero_dtype() {
            Some(_) => zero_for(middle, (middle - f64::from(zero)) * scale, moved),
            None => zero.into(),
        };
        self.attempt(moved, zero, f64::from(min) + (scale - moved) * middle);
    }

    /// Tries the stored scales beside the best, where they are far apart.
    fn neighbours(&mut self) {
        let last = match self.searcher.scale {
            Stored::Bits(bits) => (1 << bits) - 1,
            Stored::Float(ScaleDType::E8M0) => 254,
            Stored::Float(ScaleDType::F8E4M3) => 0xfe,
            Stored::Float(_) => return,
        };
        for _ in 0..2 {
            let (before, StoredFactors { scale, .. }) = (self.best.error, self.best.raw);
            let Factors { zero, min, .. } = self.best.factors;
            for other in [scale.wrapping_sub(1), scale + 1] {
                if other <= last && !self.is_done() {
                    self.attempt_stored(other, zero.into(), min.into());
                }
            }
            if self.best.error >= before {
                return;
            }
        }
    }
}

/// The zero by which a level stands for a value.
fn zero_for(level: f64, value: f64, scale: f64) -> f64 {
    if scale == 0.0 { 0.0 } else { level - value / scale }
}

/// The factors of the coarse grid for so many levels: from a little above 1 down. Fewer levels reach over less of the extremes.
fn coarse_factors(levels: usize) -> impl Iterator<Item = f64> {
    let steps = match levels {
        0..=2 => 15,
        3..=4 => 10,
        5..=8 => 6,
        9..=16 => 4,
        _ => 2,
    };
    std::iter::successors(Some(1.08), |factor| Some(factor * 0.88)).take(steps)
}
