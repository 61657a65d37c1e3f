//! The search for a sub-block's scale and its points of a grid: magnitudes as `scale * (2 * level + 1)`.
//!
//! A ladder of scales is tried. Each puts every group of values on a point of the grid, and the points then give the
//! scale that fits them best and the share of the weighted squares that it explains. The rung that explains most wins.

use super::{Grid, Signs};
use crate::lanes::Lanes;
use crate::lanes::ints;
use crate::search::positive;

/// The most groups in a sub-block.
const GROUPS: usize = 8;
/// Room for the rungs of a ladder and for a register's lanes beyond them.
const RUNGS: usize = 32;

/// How a format searches.
pub(crate) struct Recipe<const RUNGS: usize> {
    /// The signs that it stores.
    pub(crate) signs: Signs,
    /// A sub-block without a magnitude as large is zero.
    pub(crate) least: f32,
    /// Where the ladder stands.
    pub(crate) start: Start,
    /// The scales to try.
    pub(crate) ladder: Ladder<RUNGS>,
    /// The last step.
    pub(crate) refit: Refit,
}

/// The magnitude that the rungs of a ladder divide.
#[derive(Clone, Copy)]
pub(crate) enum Start {
    /// The largest of the sub-block.
    Largest,
    /// What the top level gives with the scale of a search without a grid.
    OffGrid,
}

/// Which groups are put on the grid once more, with the scale of the rung that won.
#[derive(Clone, Copy)]
pub(crate) enum Refit {
    /// All.
    All,
    /// All, if the winning rung rounded one of them to a point outside the grid, or no rung won.
    AllIfAnyMissed,
    /// Those that the winning rung rounded to a point outside the grid.
    Missed,
}

/// The scales to try: the inverse of each is one of these numbers over a magnitude.
pub(crate) struct Ladder<const COUNT: usize>([f32; RUNGS]);

impl<const COUNT: usize> Ladder<COUNT> {
    /// `COUNT` rungs around the largest value of a level, `step` apart, rising. `COUNT` is odd.
    pub(crate) const fn new(largest: f32, step: f32) -> Self {
        let mut rungs = [largest; RUNGS];
        let mut at = 0;
        while at < COUNT {
            rungs[at] = largest + (at as i32 - (COUNT / 2) as i32) as f32 * step;
            at += 1;
        }
        Self(rungs)
    }
}

/// A sub-block on the grid.
#[derive(Clone, Copy, Default)]
pub(crate) struct SubBlock {
    /// Its scale; not negative.
    pub(crate) scale: f32,
    /// The number of each group's point.
    pub(crate) points: [u16; GROUPS],
    /// The stored bits of the signs of each 8 values.
    pub(crate) signs: [u8; 4],
}

/// Puts a sub-block on the grid.
#[inline(always)]
pub(crate) fn quantize<V: Lanes, const D: usize, const N: usize, const COUNT: usize>(
    grid: &Grid<D>,
    recipe: &Recipe<COUNT>,
    x: &[f32; N],
    weights: &[f32; N],
) -> SubBlock {
    let mut signs = [0; 4];
    let mut magnitudes = [0.0; N];
    let eights = x.as_chunks::<8>().0.iter().zip(weights.as_chunks::<8>().0);
    for (((x, weights), dst), signs) in eights.zip(magnitudes.as_chunks_mut::<8>().0).zip(&mut signs) {
        (*dst, *signs) = recipe.signs.split(x, weights);
    }
    let max = magnitudes.iter().fold(magnitudes[0], |max, &x| if max > x { max } else { x });
    if max < recipe.least {
        return SubBlock::default();
    }
    let top = f32::from(Grid::<D>::LEVELS);
    let (extent, scale) = match recipe.start {
        Start::Largest => (max, max / (2.0 * top - 1.0)),
        Start::OffGrid => {
            let (scale, _) = positive::search(&magnitudes, weights, Grid::<D>::LEVELS as u8 + 1);
            (scale * top, scale)
        }
    };
    if extent <= 0.0 {
        return SubBlock::default();
    }

    let roots = weights.map(f32::sqrt);
    let search = Search {
        grid,
        x: magnitudes.as_chunks().0,
        weights: weights.as_chunks().0,
        roots: roots.as_chunks().0,
    };
    let mut fit = search.climb::<V, COUNT>(&recipe.ladder, extent, scale);
    search.refit::<V>(recipe.refit, &mut fit);

    let mut scale = fit.scale;
    if scale < 0.0 {
        scale = -scale;
        signs = signs.map(|bits| !bits & recipe.signs.mask());
    }
    SubBlock { scale, points: fit.codes.map(|code| grid.number(code).unwrap_or(0)), signs }
}

/// The levels of sub-blocks' scales, each as `unit * (2 * level + 1)`, and the unit: `max / (2 * top + 1)`.
/// `None` where all scales are zero.
#[inline(always)]
pub(crate) fn levels_of_scales<const N: usize>(scales: &[f32; N], top: u8) -> Option<(f32, [u8; N])> {
    let max = scales.iter().fold(0.0, |max, &scale| if max > scale { max } else { scale });
    if max == 0.0 {
        return None;
    }
    let unit = max / f32::from(2 * top + 1);
    let inverse = 1.0 / unit;
    let level = |scale: f32| ints::nearest(0.5 * (inverse * scale - 1.0)).clamp(0, i32::from(top)) as u8;
    Some((unit, scales.map(level)))
}

/// A sub-block's values in groups, the weights of their squares, and the roots of these: the weights by which
/// neighbours are compared.
struct Search<'a, const D: usize> {
    grid: &'a Grid<D>,
    x: &'a [[f32; D]],
    weights: &'a [[f32; D]],
    roots: &'a [[f32; D]],
}

/// A scale, and the codes of the points that go with it.
struct Fit {
    scale: f32,
    codes: [u16; GROUPS],
    /// A bit for each group whose values were rounded to a point outside the grid; all where no rung has won.
    missed: Option<u8>,
}

impl<const D: usize> Search<'_, D> {
    /// The best rung of the ladder, or level 0 everywhere and `scale` where none explains anything.
    #[inline(always)]
    fn climb<V: Lanes, const COUNT: usize>(&self, ladder: &Ladder<COUNT>, extent: f32, scale: f32) -> Fit {
        let (mut inverses, mut scales) = ([0.0; RUNGS], [0.0; RUNGS]);
        for at in (0..COUNT).step_by(V::COUNT) {
            let inverse = V::load(&ladder.0[at..]) / V::splat(extent);
            inverse.store(&mut inverses[at..][..V::COUNT]);
            (V::splat(1.0) / inverse).store(&mut scales[at..][..V::COUNT]);
        }

        let mut codes = [[0; RUNGS]; GROUPS];
        let mut missed = [0u8; RUNGS];
        for (group, (x, codes)) in self.x.iter().zip(&mut codes).enumerate() {
            for at in (0..COUNT).step_by(V::COUNT) {
                V::store_codes(self.round(x, V::load(&inverses[at..])), &mut codes[at..]);
            }
            for ((code, missed), &scale) in codes[..COUNT].iter_mut().zip(&mut missed).zip(&scales) {
                if let Some(nearest) = self.nearest::<V>(*code as u16, group, scale) {
                    *missed |= 1 << group;
                    *code = u32::from(nearest);
                }
            }
        }

        let (sums_xq, sums_qq) = self.sums::<V, COUNT>(&codes);
        let mut fit = Fit { scale, codes: [0; GROUPS], missed: None };
        let mut best = (0.0, None);
        for (rung, (&xq, &qq)) in sums_xq.iter().zip(&sums_qq).enumerate().take(COUNT) {
            if qq > 0.0 && xq * xq > best.0 * qq {
                fit.scale = xq / qq;
                best = (fit.scale * xq, Some(rung));
            }
        }
        if let (_, Some(rung)) = best {
            fit.codes = codes.map(|codes| codes[rung] as u16);
            fit.missed = Some(missed[rung]);
        }
        fit
    }

    /// Puts groups on the grid once more, as `refit` says, and fits the scale to what is then there.
    #[inline(always)]
    fn refit<V: Lanes>(&self, refit: Refit, fit: &mut Fit) {
        let again = match (refit, fit.missed) {
            (Refit::All, _) | (Refit::AllIfAnyMissed, None | Some(1..)) => u8::MAX,
            (Refit::AllIfAnyMissed, Some(0)) | (Refit::Missed, None) => 0,
            (Refit::Missed, Some(missed)) => missed,
        };
        if again == 0 || fit.scale <= 0.0 || fit.scale.is_nan() {
            return;
        }
        let inverse = 1.0 / fit.scale;
        let (mut sum_xq, mut sum_qq) = (0.0, 0.0);
        for (group, ((x, weights), code)) in self.x.iter().zip(self.weights).zip(&mut fit.codes).enumerate() {
            if again >> group & 1 == 1 {
                let rounded = self.round(x, inverse) as u16;
                *code = self.nearest::<V>(rounded, group, fit.scale).unwrap_or(rounded);
            }
            for (i, (&x, &weight)) in (0..).zip(x.iter().zip(weights)) {
                let level = *code >> (Grid::<D>::BITS * i) & ((1 << Grid::<D>::BITS) - 1);
                let value = f32::from(2 * level + 1);
                sum_xq += weight * x * value;
                sum_qq += weight * value * value;
            }
        }
        if sum_qq > 0.0 {
            fit.scale = sum_xq / sum_qq;
        }
    }

    /// The code of the point of the cube to which a group is rounded, for each inverse scale.
    #[inline(always)]
    fn round<V: Lanes>(&self, x: &[f32; D], inverse: V) -> V::Codes {
        let mut code = V::splat_code(0);
        for (&x, i) in x.iter().zip(0..) {
            let level = V::splat(0.5) * (inverse * V::splat(x) - V::splat(1.0));
            code = V::put_level(
                code,
                level.nearest_level(u32::from(Grid::<D>::LEVELS) - 1),
                Grid::<D>::BITS * i as u32,
            );
        }
        code
    }

    /// The neighbour of `code` nearest to a group at this scale; `None` for a point of the grid.
    #[inline(always)]
    fn nearest<V: Lanes>(&self, code: u16, group: usize, scale: f32) -> Option<u16> {
        let neighbours = self.grid.neighbours(code)?;
        let levels = V::table(&[scale; 8]) * values::<V, D>();
        Some(neighbours.nearest::<V, D>(levels, &self.x[group], &self.roots[group]))
    }

    /// For each rung the sums of `weight * x * value` and of `weight * value^2`, from the first value to the last.
    #[inline(always)]
    fn sums<V: Lanes, const COUNT: usize>(
        &self,
        codes: &[[u32; RUNGS]; GROUPS],
    ) -> ([f32; RUNGS], [f32; RUNGS]) {
        let values = values::<V, D>();
        let (mut sums_xq, mut sums_qq) = ([0.0; RUNGS], [0.0; RUNGS]);
        for at in (0..COUNT).step_by(V::COUNT) {
            let (mut sum_xq, mut sum_qq) = (V::splat(0.0), V::splat(0.0));
            for ((x, weights), codes) in self.x.iter().zip(self.weights).zip(codes) {
                let codes = V::load_codes(&codes[at..]);
                for (i, (&x, &weight)) in (0..).zip(x.iter().zip(weights)) {
                    let level = V::from_level(codes, Grid::<D>::BITS * i);
                    sum_xq = sum_xq + V::entries(V::table(&[weight * x; 8]) * values, level);
                    sum_qq = sum_qq + V::entries(V::table(&[weight; 8]) * values * values, level);
                }
            }
            sum_xq.store(&mut sums_xq[at..][..V::COUNT]);
            sum_qq.store(&mut sums_qq[at..][..V::COUNT]);
        }
        (sums_xq, sums_qq)
    }
}

/// The value of each level, by the low 3 bits of a code: of these, 2 bits are the level where a level has 2.
#[inline(always)]
fn values<V: Lanes, const D: usize>() -> V::Table {
    V::table(if D == 8 {
        &[1.0, 3.0, 5.0, 7.0, 1.0, 3.0, 5.0, 7.0]
    } else {
        &[1.0, 3.0, 5.0, 7.0, 9.0, 11.0, 13.0, 15.0]
    })
}
