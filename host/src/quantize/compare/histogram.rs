//! How the values of a weight are spread, and those of its error.

use std::sync::{Mutex, PoisonError};

/// Counts of values in bins of one width, of which the middle one is around 0: bin `i` on either side has the magnitudes from
/// `(i - 1/2) width` up to `(i + 1/2) width`, without the latter, and the two outermost all larger ones, too.
#[derive(Clone, Debug, PartialEq)]
pub struct Histogram {
    /// The width of a bin; 1 where all values are 0.
    pub width: f64,
    /// The counts, of the lowest values first; of odd length.
    pub counts: Vec<u64>,
}

/// The histograms of a weight that was compared.
#[derive(Clone, Debug, PartialEq)]
pub struct Histograms {
    /// Of the reference's values.
    pub values: Histogram,
    /// Of the reference's values less the others.
    pub error: Histogram,
}

/// Bins on either side of the middle one.
const SIDE: usize = 31;

/// The outermost bins begin no further from 0 than at so many times the root mean square.
const REACH: f64 = 6.0;

/// No bin is narrower: values that are not normal are in the middle one.
const NARROWEST: f64 = 1.0 / (1u128 << 120) as f64;

/// Counts by the upper half of a value's bits: sign, exponent, and the first digits of the significand, with its leading one 8 of them.
///
/// The bounds of a histogram's bins are odd multiples, up to 63, of half their width, which is a power of two or 1.5 times one. So they
/// have 8 significant digits at most, and lie on bounds of these counts.
#[derive(Clone)]
struct Counts(Vec<u64>);

impl Counts {
    fn new() -> Self {
        Self(vec![0; 1 << 16])
    }

    fn add(&mut self, value: f32) {
        self.0[(value.to_bits() >> 16) as usize] += 1;
    }

    fn add_all(&mut self, others: &Self) {
        self.0.iter_mut().zip(&others.0).for_each(|(sum, count)| *sum += count);
    }

    /// The smallest magnitude that is counted at an index, and whether it is that of a negative value.
    fn magnitude(index: usize) -> (f64, bool) {
        (f64::from(f32::from_bits((index as u32 & 0x7fff) << 16)), index >= 1 << 15)
    }

    fn histogram(&self) -> Histogram {
        let counted = || self.0.iter().enumerate().filter(|(_, count)| **count > 0);
        let largest = counted().map(|(index, _)| Self::magnitude(index).0).fold(0.0, f64::max);
        let squares = counted().map(|(index, count)| Self::magnitude(index).0.powi(2) * *count as f64);
        let rms = (squares.sum::<f64>() / self.0.iter().sum::<u64>().max(1) as f64).sqrt();
        let width = width(largest.min(REACH * rms));
        let mut counts = vec![0; 2 * SIDE + 1];
        for (index, count) in counted() {
            let (magnitude, is_negative) = Self::magnitude(index);
            let bin = ((magnitude / width + 0.5).floor() as usize).min(SIDE);
            counts[if is_negative { SIDE - bin } else { SIDE + bin }] += count;
        }
        Histogram { width, counts }
    }
}

/// The narrowest bins that reach so far: a power of two, or 1.5 times one.
fn width(reach: f64) -> f64 {
    if reach == 0.0 {
        return 1.0;
    }
    let least = reach / (SIDE as f64 + 0.5);
    let mut width = NARROWEST;
    while width < least {
        width *= 2.0;
    }
    if 0.75 * width >= least.max(NARROWEST) { 0.75 * width } else { width }
}

/// What threads count together. Sums of counts are the same in any order.
pub(super) struct Tally {
    /// Counts of values and of errors that no thread adds to at this moment.
    idle: Mutex<Vec<[Counts; 2]>>,
}

impl Tally {
    pub(super) fn new() -> Self {
        Self { idle: Mutex::default() }
    }

    /// Counts values of a reference, and their differences from as many others; all are finite.
    pub(super) fn add(&self, reference: &[f32], other: &[f32]) {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let taken = idle().pop();
        let [mut values, mut errors] = taken.unwrap_or_else(|| [Counts::new(), Counts::new()]);
        for (a, b) in reference.iter().zip(other) {
            values.add(*a);
            errors.add((a - b).clamp(f32::MIN, f32::MAX));
        }
        idle().push([values, errors]);
    }

    pub(super) fn histograms(self) -> Histograms {
        let all = self.idle.into_inner().unwrap_or_else(PoisonError::into_inner);
        let mut sums = [Counts::new(), Counts::new()];
        all.iter().flatten().enumerate().for_each(|(index, counts)| sums[index % 2].add_all(counts));
        let [values, error] = sums;
        Histograms { values: values.histogram(), error: error.histogram() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(values: &[f32]) -> Histogram {
        let tally = Tally::new();
        tally.add(values, &vec![0.0; values.len()]);
        let found = tally.histograms();
        assert_eq!(found.values, found.error);
        found.values
    }

    /// The bin of a value by the definition alone.
    fn bin(value: f32, width: f64) -> usize {
        let beyond = (0..SIDE).take_while(|i| f64::from(value.abs()) >= (*i as f64 + 0.5) * width).count();
        if value < 0.0 { SIDE - beyond } else { SIDE + beyond }
    }

    #[test]
    fn each_value_is_in_the_bin_of_the_definition() {
        let state = &mut 1u64;
        for scale in [1.0f32, 3.7e-3, 1e30, 1e-30, 1e-44, f32::MAX / 2.0] {
            let mut noise = || {
                *state =
                    state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ((*state >> 40) as f32 / (1u64 << 23) as f32 - 1.0).powi(3) * scale
            };
            let mut values: Vec<f32> = (0..20_000).map(|_| noise()).collect();
            let width = of(&values).width;
            // The bounds themselves, and the values next to them.
            for bound in (0..SIDE).map(|i| ((i as f64 + 0.5) * width) as f32) {
                let beside = [bound.next_down(), bound, bound.next_up()];
                values.extend(beside.iter().flat_map(|value| [*value, -value]));
            }
            let found = of(&values);
            let mut expected = vec![0; 2 * SIDE + 1];
            values.iter().for_each(|value| expected[bin(*value, found.width)] += 1);
            assert_eq!(found.counts, expected, "{scale}");
        }
    }

    #[test]
    fn bins_reach_as_far_as_values_or_six_times_their_root_mean_square() {
        for (values, reach) in [(vec![-0.75f32, 0.5, 0.25], 0.75), (vec![1.0; 40], 1.0)] {
            let found = of(&values);
            let end = found.width * (SIDE as f64 + 0.5);
            assert!(end >= reach && end <= 1.51 * reach, "{found:?}");
        }
        let mut values = vec![0.1f32; 1_000_000];
        values[7] = 100.0;
        let found = of(&values);
        assert!(found.width * (SIDE as f64 + 0.5) < 1.51 * 6.0 * 0.15, "{found:?}");
        assert_eq!(found.counts.last(), Some(&1));
    }

    #[test]
    fn zeros_of_both_signs_are_in_the_middle() {
        let found = of(&[0.0, -0.0, 0.0]);
        assert_eq!((found.width, found.counts[SIDE], found.counts.iter().sum::<u64>()), (1.0, 3, 3));
        assert_eq!(of(&[]).counts, vec![0; 2 * SIDE + 1]);
    }
}
