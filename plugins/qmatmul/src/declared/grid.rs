//! Levels as integers of 8 bits.

/// Levels on a grid: level `c` is `unit * (codes[c] - offset)`.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Grid {
    /// The distance of the grid's points.
    pub(super) unit: f32,
    /// The code of zero, which may be no code.
    pub(super) offset: i32,
    /// For each level, how far it is above the lowest one.
    pub(super) codes: Vec<u8>,
    /// The largest error, as a part of the largest magnitude; 0 where all levels are on the grid.
    pub(super) error: f32,
}

/// The finest grid: the largest magnitude is so many points from zero, and the largest range of codes is twice as many and one.
const FINEST: u32 = 127;

/// Candidates for the distance of points, for each number of points from zero to the largest magnitude.
const STEPS: u32 = 16;

/// The levels of more bits than these have to be on a grid.
const MAX_INEXACT_BITS: u32 = 4;

impl Grid {
    /// The coarsest grid that all levels are on, as far as a float can tell; of few levels that are on none, that with the least squared
    /// error. Levels are finite.
    pub(super) fn of(levels: &[f32], bits: u32) -> Option<Self> {
        let largest = levels.iter().fold(0.0f32, |largest, level| largest.max(level.abs()));
        if largest == 0.0 {
            return Some(Self { unit: 1.0, offset: 0, codes: vec![0; levels.len()], error: 0.0 });
        }
        // Twice as many points, where all levels have one sign.
        let exact = (1..=2 * FINEST + 1)
            .filter_map(|points| Self::with(levels, largest / points as f32))
            .find(|grid| grid.error == 0.0);
        if exact.is_some() || bits > MAX_INEXACT_BITS {
            return exact;
        }
        let candidates = (STEPS * FINEST / 2..=STEPS * FINEST).filter_map(|points| {
            let grid = Self::with(levels, largest * STEPS as f32 / points as f32)?;
            Some((grid.squared_error(levels), grid))
        });
        candidates.min_by(|(a, _), (b, _)| a.total_cmp(b)).map(|(_, grid)| grid)
    }

    /// The grid of this distance, if codes of 8 bits are enough.
    fn with(levels: &[f32], unit: f32) -> Option<Self> {
        if !(unit.is_normal() && unit.recip().is_finite()) {
            return None;
        }
        let points: Vec<f32> = levels.iter().map(|level| (level / unit).round()).collect();
        let lowest = points.iter().copied().fold(f32::INFINITY, f32::min);
        let highest = points.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        if highest - lowest > 255.0 {
            return None;
        }
        let largest = levels.iter().fold(0.0f32, |largest, level| largest.max(level.abs()));
        let errors = levels.iter().zip(&points).map(|(level, point)| (level - point * unit).abs() / largest);
        let error = errors.fold(0.0, f32::max);
        Some(Self {
            unit,
            offset: -lowest as i32,
            codes: points.iter().map(|point| (point - lowest) as u8).collect(),
            error: if error < 4.0 * f32::EPSILON { 0.0 } else { error },
        })
    }

    fn squared_error(&self, levels: &[f32]) -> f64 {
        let errors = levels.iter().zip(&self.codes).map(|(level, code)| {
            let point = f64::from(i32::from(*code) - self.offset);
            f64::from(*level) - f64::from(self.unit) * point
        });
        errors.map(|error| error * error).sum()
    }

    /// Bits of the largest code.
    pub(super) fn bits(&self) -> u32 {
        u8::BITS - self.codes.iter().max().map_or(0, |code| code.leading_zeros()).min(u8::BITS)
    }

    /// The codes of up to 16 levels.
    pub(super) fn table(&self) -> [u8; 16] {
        std::array::from_fn(|code| self.codes.get(code).copied().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_on_a_grid_are_integers() {
        let cases: [(&[f32], f32, i32, u32); 6] = [
            (&[-1.0, 0.0, 1.0, 0.0], 1.0, 1, 2),
            (&[0.0, 1.0, 2.0, 3.0], 1.0, 0, 2),
            (&[-8.0, 7.0, 3.0, 0.0], 1.0, 8, 4),
            (
                &[0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, -0.0, -0.5, -1.0, -1.5, -2.0, -3.0, -4.0, -6.0],
                0.5,
                12,
                5,
            ),
            (&[1e-3, 3e-3], 1e-3, -1, 2),
            (&[0.0, 0.0], 1.0, 0, 0),
        ];
        for (levels, unit, offset, bits) in cases {
            let grid = Grid::of(levels, 8).unwrap();
            assert!((grid.unit / unit - 1.0).abs() < 1e-6 && grid.error == 0.0, "{levels:?}: {grid:?}");
            assert_eq!((grid.offset, grid.bits()), (offset, bits), "{levels:?}: {grid:?}");
        }
        let bytes: Vec<f32> = (0..256).map(|code| code as f32 - 7.0).collect();
        let grid = Grid::of(&bytes, 8).unwrap();
        assert_eq!((grid.offset, grid.bits(), grid.codes[255]), (7, 8, 255));
        let few = Grid::of(&[-1.0, 0.0, 1.0], 2).unwrap();
        assert_eq!(few.table()[..4], [0, 1, 2, 0]);
    }

    #[test]
    fn few_other_levels_are_rounded_to_the_best_grid() {
        let levels: Vec<f32> = (0..16).map(|code| (code as f32 - 7.5).powi(3) / 400.0).collect();
        let grid = Grid::of(&levels, 4).unwrap();
        assert!(grid.error > 0.0 && grid.error < 0.005, "{grid:?}");
        assert_eq!(Grid::of(&levels, 5), None, "more bits have to be on a grid");
        let largest = levels.iter().copied().fold(0.0, f32::max);
        let plain = Grid::with(&levels, largest / FINEST as f32).unwrap();
        assert!(grid.squared_error(&levels) <= plain.squared_error(&levels));
    }
}
