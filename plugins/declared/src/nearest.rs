//! The level nearest to a number, for whole slices at once.

use crate::declaration::{Declaration, Meaning};

/// The levels that an encoder writes, in rising order, each once and with the lowest of its codes.
#[derive(Clone, Debug)]
pub(crate) struct Nearest {
    levels: Vec<f32>,
    codes: Vec<u8>,
    kind: Kind,
    is_symmetric: bool,
}

#[derive(Clone, Debug)]
enum Kind {
    /// Consecutive whole numbers: the nearest is a rounding.
    Integers,
    /// A float's values: the nearest is a rounding to a step that depends on the exponent.
    Float {
        fraction: i32,
        least_exponent: i32,
    },
    /// At most 2, 4, 8 or 16 levels: the number is compared with what lies between each two.
    Two(Few<1>),
    Four(Few<3>),
    Eight(Few<7>),
    Sixteen(Few<15>),
    /// A search in the cell of a uniform grid.
    Many(Many),
}

/// `STEPS + 1` levels; the last is repeated where there are fewer.
#[derive(Clone, Debug)]
struct Few<const STEPS: usize> {
    first: f32,
    /// What is between a level and the one before, and the level.
    steps: [(f32, f32); STEPS],
}

#[derive(Clone, Debug)]
struct Many {
    /// What is between each two levels.
    middles: Vec<f32>,
    first: f32,
    cells_per_unit: f32,
    /// The number of middles in earlier cells; one more than there are cells.
    before: Vec<u16>,
}

const CELLS: usize = 1024;

impl Nearest {
    pub(crate) fn new(declaration: &Declaration) -> Self {
        let written = (0u32..).zip(&declaration.levels);
        let mut all: Vec<(f32, u8)> = written
            .filter(|(code, _)| declaration.meaning.is_written(*code))
            .map(|(code, level)| (*level, code as u8))
            .collect();
        // Stable, and -0 is equal to 0: the lowest code of equal levels comes first and stays.
        all.sort_by(|(a, _), (b, _)| a.partial_cmp(b).unwrap_or(std::cmp::Ordering::Equal));
        all.dedup_by(|(later, _), (earlier, _)| later == earlier);
        let (levels, codes): (Vec<f32>, Vec<u8>) = all.into_iter().unzip();
        let is_symmetric = levels.iter().zip(levels.iter().rev()).all(|(level, other)| *level == -*other);
        let kind = Kind::new(&levels, &declaration.meaning);
        Self { levels, codes, kind, is_symmetric }
    }

    /// The least level.
    pub(crate) fn low(&self) -> f64 {
        self.levels.first().copied().unwrap_or_default().into()
    }

    /// The largest level.
    pub(crate) fn high(&self) -> f64 {
        self.levels.last().copied().unwrap_or_default().into()
    }

    /// The number of different levels.
    pub(crate) fn len(&self) -> usize {
        self.levels.len()
    }

    /// Whether with each level there is its opposite, so that the sign of a scale makes no difference.
    pub(crate) fn is_symmetric(&self) -> bool {
        self.is_symmetric
    }

    /// Puts in place of each number the nearest level; what is NaN becomes some level.
    pub(crate) fn round(&self, numbers: &mut [f32]) {
        match &self.kind {
            Kind::Integers => {
                // Whole numbers are the last place of what is added.
                const WHOLE: f32 = 1.5 * (1 << 23) as f32;
                let (low, high) = (self.low() as f32, self.high() as f32);
                for number in numbers {
                    let clamped = if *number > low { *number } else { low };
                    let clamped = if clamped < high { clamped } else { high };
                    *number = (clamped + WHOLE) - WHOLE;
                }
            }
            Kind::Float { fraction, least_exponent } => {
                let high = self.high() as f32;
                let least = ((least_exponent + 127) as u32) << 23;
                for number in numbers {
                    let magnitude = number.abs();
                    let magnitude = if magnitude < high { magnitude } else { high };
                    let exponent = (magnitude.to_bits() & 0x7f80_0000).max(least);
                    // The last place of this is that of the result.
                    let step = exponent.wrapping_add(((23 - fraction) << 23) as u32);
                    let place = f32::from_bits(step) * 1.5;
                    let rounded = (magnitude + place) - place;
                    *number = rounded.copysign(*number) + 0.0;
                }
            }
            Kind::Two(few) => few.round(numbers),
            Kind::Four(few) => few.round(numbers),
            Kind::Eight(few) => few.round(numbers),
            Kind::Sixteen(few) => few.round(numbers),
            Kind::Many(many) => {
                numbers.iter_mut().for_each(|number| *number = self.levels[many.index(*number)])
            }
        }
    }

    /// The code of a level.
    pub(crate) fn code(&self, level: f32) -> u8 {
        let index = match self.kind {
            Kind::Integers => (level - self.low() as f32) as usize,
            _ => self.levels.partition_point(|other| *other < level),
        };
        self.codes[index.min(self.codes.len() - 1)]
    }
}

impl Kind {
    fn new(levels: &[f32], meaning: &Meaning) -> Self {
        if let Meaning::Float { dtype, .. } = meaning {
            let (fraction, bias) = dtype.shape();
            return Self::Float { fraction: fraction as i32, least_exponent: 1 - bias };
        }
        let is_small = levels.iter().all(|level| level.abs() < 65536.0 && level.fract() == 0.0);
        if is_small && levels.windows(2).all(|pair| pair[1] - pair[0] == 1.0) {
            return Self::Integers;
        }
        match levels.len() {
            0..=2 => Self::Two(Few::new(levels)),
            3..=4 => Self::Four(Few::new(levels)),
            5..=8 => Self::Eight(Few::new(levels)),
            9..=16 => Self::Sixteen(Few::new(levels)),
            _ => Self::Many(Many::new(levels)),
        }
    }
}

/// What is halfway between two levels.
fn middle(low: f32, high: f32) -> f32 {
    f64::midpoint(low.into(), high.into()) as f32
}

impl<const STEPS: usize> Few<STEPS> {
    fn new(levels: &[f32]) -> Self {
        let mut steps = [(f32::INFINITY, 0.0); STEPS];
        for (step, pair) in steps.iter_mut().zip(levels.windows(2)) {
            *step = (middle(pair[0], pair[1]), pair[1]);
        }
        Self { first: levels.first().copied().unwrap_or_default(), steps }
    }

    fn round(&self, numbers: &mut [f32]) {
        let (chunks, tail) = numbers.as_chunks_mut::<8>();
        for chunk in chunks {
            *chunk = self.round_8(*chunk);
        }
        let mut last = [0.0; 8];
        last[..tail.len()].copy_from_slice(tail);
        tail.copy_from_slice(&self.round_8(last)[..tail.len()]);
    }

    #[inline(always)]
    fn round_8(&self, numbers: [f32; 8]) -> [f32; 8] {
        let mut nearest = [self.first; 8];
        for (middle, level) in self.steps {
            for lane in 0..8 {
                nearest[lane] = if numbers[lane] > middle { level } else { nearest[lane] };
            }
        }
        nearest
    }
}

impl Many {
    fn new(levels: &[f32]) -> Self {
        let middles: Vec<f32> = levels.windows(2).map(|pair| middle(pair[0], pair[1])).collect();
        let (first, last) = (middles[0], middles[middles.len() - 1]);
        let cells_per_unit =
            (CELLS as f64 / (f64::from(last) - f64::from(first))).min(f32::MAX.into()) as f32;
        let mut many = Self { middles, first, cells_per_unit, before: Vec::new() };
        // Cells rise with numbers, so that the middles of a cell are consecutive.
        let cells: Vec<usize> = many.middles.iter().map(|middle| many.cell(*middle)).collect();
        many.before = (0..=CELLS).map(|cell| cells.partition_point(|other| *other < cell) as u16).collect();
        many
    }

    fn cell(&self, number: f32) -> usize {
        (((number - self.first) * self.cells_per_unit) as usize).min(CELLS - 1)
    }

    fn index(&self, number: f32) -> usize {
        let cell = self.cell(number);
        let (begin, end) = (usize::from(self.before[cell]), usize::from(self.before[cell + 1]));
        begin + self.middles[begin..end].partition_point(|middle| number > *middle)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::float::{CodeDType, ScaleDType};

    fn nearest(build: impl FnOnce(crate::Builder) -> crate::Builder) -> Nearest {
        let builder = Declaration::builder("t", 8, 16).scale(8, ScaleDType::F32);
        Nearest::new(&build(builder).build().unwrap())
    }

    #[test]
    fn numbers_round_to_the_nearest_level_of_every_kind() {
        let cubes = |count: i32| -> Vec<f32> {
            (0..count).map(|i| ((i - count / 3) as f32 / count as f32).powi(3) * 9.0).collect()
        };
        let kinds = [
            nearest(|b| b.codes(0, 4).offset(8)),
            nearest(|b| b.codes(0, 8).signed()),
            nearest(|b| b.codes(0, 1)),
            nearest(|b| b.codes(0, 2).values([-1.0, 0.0, 1.0]).unused(5.0)),
            nearest(|b| b.codes(0, 1).values([0.5, -0.25])),
            nearest(|b| b.codes(0, 2).values([3.0, 3.0, 0.5, -0.0])),
            nearest(|b| b.codes(0, 3).values(cubes(8))),
            nearest(|b| b.codes(0, 4).values(cubes(16))),
            nearest(|b| b.codes(0, 5).values(cubes(20)).unused(0.0)),
            nearest(|b| b.codes(0, 8).values(cubes(256))),
            nearest(|b| b.float_codes(0, CodeDType::F8E4M3)),
            nearest(|b| b.float_codes(0, CodeDType::F8E5M2).unused(1e30)),
            nearest(|b| b.float_codes(0, CodeDType::F4E2M1)),
            nearest(|b| b.float_codes(0, CodeDType::F6E2M3)),
            nearest(|b| b.float_codes(0, CodeDType::F6E3M2)),
        ];
        for (index, kind) in kinds.iter().enumerate() {
            let reach = kind.high().abs().max(kind.low().abs()) as f32;
            let mut numbers: Vec<f32> = (-5000..=5000).map(|i| i as f32 / 4000.0 * reach).collect();
            numbers.extend((0..2000).map(|i| (i as f32 / 1000.0 - 1.0).powi(9) * reach));
            numbers.extend([0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, f32::MIN]);
            numbers.extend(&kind.levels);
            let mut rounded = numbers.clone();
            kind.round(&mut rounded);
            for (number, level) in numbers.iter().zip(&rounded) {
                let clamped = f64::from(*number).clamp(kind.low(), kind.high());
                let distance = |level: f32| (f64::from(level) - clamped).abs();
                let least = kind.levels.iter().map(|level| distance(*level)).fold(f64::INFINITY, f64::min);
                // A middle is itself rounded to f32.
                assert!(distance(*level) <= least + 1e-6 * f64::from(reach), "{index}: {number} {level}");
                let found = kind.levels.iter().position(|other| other == level).unwrap();
                assert_eq!(kind.code(*level), kind.codes[found], "{index}: {level}");
            }
            let mut nan = [f32::NAN; 9];
            kind.round(&mut nan);
            assert!(nan.iter().all(|level| level.is_finite()), "{index}");
        }
        // The lowest code of equal levels, and none without a value of its own.
        assert_eq!(kinds[5].codes, [3, 2, 0]);
        assert_eq!(kinds[3].codes, [0, 1, 2]);
        assert_eq!(kinds[12].code(0.0), 0);
        assert!(kinds[10].is_symmetric() && !kinds[0].is_symmetric());
    }
}
