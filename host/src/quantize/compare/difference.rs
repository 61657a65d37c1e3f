//! How far values are from others.

/// The sums of squares and products of pairs of values, and what follows from them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Difference {
    values: u64,
    reference: f64,
    other: f64,
    product: f64,
    error: f64,
    largest: f64,
}

/// Sums beside each other, so that none waits for itself.
const LANES: usize = 8;

impl Difference {
    /// That of as many values of a reference and others.
    ///
    /// # Panics
    /// If the lengths differ.
    pub fn of<T: Copy + Into<f64>>(reference: &[T], other: &[T]) -> Self {
        assert_eq!(reference.len(), other.len(), "values are compared in pairs");
        let mut lanes = [Self::default(); LANES];
        for (reference, other) in reference.chunks(LANES).zip(other.chunks(LANES)) {
            for ((lane, a), b) in lanes.iter_mut().zip(reference).zip(other) {
                lane.add((*a).into(), (*b).into());
            }
        }
        lanes.iter().fold(Self::default(), |sum, lane| sum.and(lane))
    }

    fn add(&mut self, a: f64, b: f64) {
        let error = a - b;
        self.values += 1;
        self.reference += a * a;
        self.other += b * b;
        self.product += a * b;
        self.error += error * error;
        self.largest = self.largest.max(error.abs());
    }

    /// That of these values and of the others.
    #[must_use]
    pub fn and(&self, later: &Self) -> Self {
        Self {
            values: self.values + later.values,
            reference: self.reference + later.reference,
            other: self.other + later.other,
            product: self.product + later.product,
            error: self.error + later.error,
            largest: self.largest.max(later.largest),
        }
    }

    /// The number of pairs.
    pub fn values(&self) -> u64 {
        self.values
    }

    /// Whether no value differs.
    pub fn is_exact(&self) -> bool {
        self.largest == 0.0
    }

    /// Whether all values were finite.
    pub(super) fn is_finite(&self) -> bool {
        self.reference.is_finite() && self.other.is_finite()
    }

    /// The root of the mean squared error, as a part of that of the reference.
    pub fn rel_rms(&self) -> f64 {
        if self.is_exact() { 0.0 } else { (self.error / self.reference).sqrt() }
    }

    /// The largest magnitude of a difference.
    pub fn max_abs(&self) -> f64 {
        self.largest
    }

    /// The ratio of the reference to the error, in decibels; none if there is no error.
    pub fn snr_db(&self) -> Option<f64> {
        (!self.is_exact()).then(|| 10.0 * (self.reference / self.error).log10())
    }

    /// The cosine of the angle between the two.
    pub fn cosine(&self) -> f64 {
        match self {
            _ if self.is_exact() => 1.0,
            Self { reference, other, .. } if *reference == 0.0 || *other == 0.0 => 0.0,
            Self { reference, other, product, .. } => product / (reference.sqrt() * other.sqrt()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_those_of_the_formulas() {
        // Squares: 25 of the reference, 5 + 1/4 of the error, 9 + 6.25 of the others; products: 9 + 10.
        let found = Difference::of(&[3f32, 4.0], &[3.0, 2.5]);
        assert_eq!((found.values(), found.max_abs()), (2, 1.5));
        assert!((found.rel_rms() - 0.3).abs() < 1e-15, "{found:?}");
        assert!((found.snr_db().unwrap() - 10.0 * (25.0f64 / 2.25).log10()).abs() < 1e-12);
        assert!((found.cosine() - 19.0 / (25.0f64 * 15.25).sqrt()).abs() < 1e-15);
    }

    #[test]
    fn equal_values_and_zeros_have_figures_too() {
        for (reference, other, rel_rms, snr_db, cosine) in [
            ([1f32, -2.0], [1f32, -2.0], 0.0, None, 1.0),
            ([0.0, 0.0], [0.0, -0.0], 0.0, None, 1.0),
            ([0.0, 0.0], [1.0, 0.0], f64::INFINITY, Some(f64::NEG_INFINITY), 0.0),
            ([1.0, 0.0], [0.0, 0.0], 1.0, Some(0.0), 0.0),
            ([1.0, 1.0], [-1.0, -1.0], 2.0, Some(-20.0 * 2f64.log10()), -1.0),
        ] {
            let found = Difference::of(&reference, &other);
            assert_eq!(found.rel_rms(), rel_rms, "{reference:?} {other:?}");
            assert!((found.cosine() - cosine).abs() < 1e-15, "{reference:?} {other:?}");
            match (found.snr_db(), snr_db) {
                (Some(found), Some(expected)) => {
                    assert!(found == expected || (found - expected).abs() < 1e-12)
                }
                (found, expected) => assert_eq!(found, expected),
            }
        }
        assert_eq!(Difference::default().rel_rms(), 0.0);
    }

    #[test]
    fn no_square_overflows_or_vanishes() {
        for scale in [f32::MAX, 1e-45] {
            let found = Difference::of(&[scale; 1000], &[0.0; 1000]);
            assert!(found.is_finite());
            assert_eq!((found.rel_rms(), found.max_abs()), (1.0, f64::from(scale)));
        }
        assert!(!Difference::of(&[1f32, f32::NAN], &[1.0, 1.0]).is_finite());
        assert!(!Difference::of(&[1f32], &[f32::INFINITY]).is_finite());
    }
}
