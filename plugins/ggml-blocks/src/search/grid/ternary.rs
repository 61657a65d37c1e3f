//! Sub-blocks of three levels, as `iq1_s` and `iq1_m` have them: `x = scale * (level - 1 + shift)`, where the shift is
//! an eighth, up or down, for a sub-block or for each of its halves.
//!
//! The values of each level are neighbours in the order of the values. So there are two boundaries to choose, and
//! the shifts; all choices are tried, for which sums over the first values are all that is needed. Only then the
//! groups are put on the grid.

mod choices;

pub(crate) use choices::Choices;

use super::Grid;
use crate::lanes::Lanes;

/// The values of the levels, shifted up.
const UP: [f32; 3] = [-0.875, 0.125, 1.125];
/// The values of the levels, shifted down.
const DOWN: [f32; 3] = [-1.125, -0.125, 0.875];

/// What a shift goes for.
#[derive(Clone, Copy)]
pub(crate) enum Shifts {
    /// A sub-block. Its shifts are 0, up, and 1, down.
    Whole,
    /// A half of a sub-block. Its shifts are a bit for each half, 1 for down, the first half's above the second's.
    Halves,
}

impl Shifts {
    /// The largest of the numbers that name shifts; each number's opposite is the difference to it.
    const fn last(self) -> u8 {
        match self {
            Self::Whole => 1,
            Self::Halves => 3,
        }
    }

    /// The values of the levels in a group of 8.
    #[inline(always)]
    pub(crate) const fn values(self, shifts: u8, group: usize) -> [f32; 3] {
        let down = match self {
            Self::Whole => shifts,
            Self::Halves => shifts >> (1 - group) & 1,
        };
        if down == 1 { DOWN } else { UP }
    }
}

/// A sub-block on the grid.
#[derive(Clone, Copy, Default)]
pub(crate) struct TernarySubBlock {
    /// Its scale; not negative.
    pub(crate) scale: f32,
    /// The number of each group's point.
    pub(crate) points: [u16; 4],
    /// Its shifts, as [`Shifts`] numbers them.
    pub(crate) shifts: u8,
}

impl TernarySubBlock {
    /// Puts a sub-block on the grid. It is zero where no magnitude is as large as `least`. `choices` is scratch.
    #[inline(always)]
    pub(crate) fn quantize<V: Lanes, const N: usize>(
        grid: &Grid<8>,
        choices: &mut Choices,
        shifts: Shifts,
        least: f32,
        x: &[f32; N],
        weights: &[f32; N],
    ) -> Self {
        if x.iter().all(|x| x.abs() < least) {
            return Self::default();
        }
        let order = rising(x);
        let best = match shifts {
            Shifts::Whole => {
                choices.fill_whole::<V, N>(&order, x, weights);
                choices.best::<V, 2>()
            }
            Shifts::Halves => {
                choices.fill_halves::<V, N>(&order, x, weights);
                choices.best::<V, 4>()
            }
        };
        let Some(best) = best else {
            return Self::default();
        };
        let mut levels = [0; N];
        for (place, &i) in order.iter().enumerate() {
            levels[i] = u16::from(place >= best.bounds.0) + u16::from(place >= best.bounds.1);
        }
        let mut this = Self { scale: best.scale, points: [0; 4], shifts: best.shifts };
        if this.scale < 0.0 {
            levels = levels.map(|level| 2 - level);
            this.scale = -this.scale;
            this.shifts = shifts.last() - this.shifts;
        }
        this.snap::<V>(grid, shifts, x.as_chunks().0, weights.as_chunks().0, levels.as_chunks().0);
        this
    }

    /// Finds the groups' points. Where one is not what its levels say, the scale is fitted again.
    #[inline(always)]
    fn snap<V: Lanes>(
        &mut self,
        grid: &Grid<8>,
        shifts: Shifts,
        x: &[[f32; 8]],
        weights: &[[f32; 8]],
        levels: &[[u16; 8]],
    ) {
        let mut codes = [0; 4];
        let mut missed = false;
        for (group, ((x, weights), levels)) in x.iter().zip(weights).zip(levels).enumerate() {
            let code = levels.iter().rev().fold(0, |code, level| code << 2 | level);
            codes[group] = code;
            if let Some(neighbours) = grid.neighbours(code) {
                let [low, middle, high] = shifts.values(self.shifts, group);
                let values = V::table(&[low, middle, high, 0.0, low, middle, high, 0.0]);
                codes[group] = neighbours.nearest::<V, 8>(V::table(&[self.scale; 8]) * values, x, weights);
                missed = true;
            }
            self.points[group] = grid.number(codes[group]).unwrap_or(0);
        }
        if missed {
            let mut sums = Sums::default();
            for (group, (x, weights)) in x.iter().zip(weights).enumerate() {
                sums.add(x, weights, codes[group], shifts.values(self.shifts, group));
            }
            if sums.xq > 0.0 && sums.qq > 0.0 {
                self.scale = sums.xq / sums.qq;
            }
        }
    }
}

/// The sums that fit a scale: `weight * value * x` and `weight * value^2`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Sums {
    /// Of `weight * value * x`.
    pub(crate) xq: f32,
    /// Of `weight * value^2`.
    pub(crate) qq: f32,
}

impl Sums {
    /// Adds a group at a point, whose levels have these values.
    #[inline(always)]
    pub(crate) fn add(&mut self, x: &[f32; 8], weights: &[f32; 8], code: u16, values: [f32; 3]) {
        for (i, (&x, &weight)) in x.iter().zip(weights).enumerate() {
            let value = values[usize::from(code >> (2 * i) & 3)];
            self.xq += weight * value * x;
            self.qq += weight * value * value;
        }
    }
}

/// The places of the values in rising order, equal values in the order of their places.
#[inline(always)]
fn rising<const N: usize>(x: &[f32; N]) -> [usize; N] {
    let mut keys: [u64; N] = core::array::from_fn(|i| {
        // Without the sign of a zero; then flipped so that the order of the integers is that of the floats.
        let bits = (x[i] + 0.0).to_bits();
        let rising = bits ^ ((bits as i32 >> 31) as u32 | 1 << 31);
        u64::from(rising) << 32 | i as u64
    });
    keys.sort_unstable();
    keys.map(|key| (key & 0xffff_ffff) as usize)
}
