//! What some keys give the rows of a task, and how it is put together.

use bitquilt_plugin_api::Tiles;

use super::problem::{Dims, Element, Problem, Task};
use crate::ops::math::exp;
use bitquilt_simd::{LANES, Simd};

/// Keys whose products with the rows are at hand together.
pub(super) const BLOCK: usize = 64;

/// Keys whose sums are made apart from those of all others.
pub(super) const CHUNK: usize = 4 * BLOCK;

/// Floats that have the room of a number of keys.
pub(super) const COUNT: usize = size_of::<usize>() / size_of::<f32>();

/// Sizes of a task's memory, in floats.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Rows, filled up to whole registers.
    pub(super) rows: usize,
    pub(super) n: usize,
    /// Values of a row of sums, filled up to whole registers.
    pub(super) m: usize,
}

impl Sizes {
    pub(super) fn of(dims: &Dims) -> Self {
        let rows = (dims.queries() * dims.group()).next_multiple_of(LANES);
        Self { rows, n: dims.n, m: dims.m.next_multiple_of(LANES) }
    }

    /// What a chunk of keys gives: sums of values, the greatest products, and the sums of weights.
    pub(super) fn part(&self) -> usize {
        self.rows * (self.m + 2)
    }

    /// What a worker has: queries, keys, values, products, numbers of keys, and two parts.
    pub(super) fn worker(&self) -> usize {
        self.rows * (self.n + BLOCK + COUNT) + BLOCK * (self.n + self.m) + 2 * self.part()
    }
}

/// Sums of some keys: for each row the greatest product, the weights relative to it, and the weighted values.
pub(super) struct Part<'a> {
    /// `m` values a row.
    pub(super) sums: &'a mut [f32],
    pub(super) m: usize,
    pub(super) greatest: &'a mut [f32],
    pub(super) weight: &'a mut [f32],
}

impl<'a> Part<'a> {
    #[inline(always)]
    pub(super) fn of(memory: &'a mut [f32], sizes: &Sizes) -> Self {
        let (sums, rest) = memory.split_at_mut(sizes.rows * sizes.m);
        let (greatest, rest) = rest.split_at_mut(sizes.rows);
        Self { sums, m: sizes.m, greatest, weight: &mut rest[..sizes.rows] }
    }

    /// Makes the sums of `rows` rows those of no key.
    pub(super) fn clear(&mut self, rows: usize) {
        self.sums[..rows * self.m].fill(0.0);
        self.greatest.fill(f32::NEG_INFINITY);
        self.weight.fill(0.0);
    }
}

/// The rows of a task.
pub(super) struct Rows<'a, K> {
    pub(super) problem: &'a Problem<'a, K>,
    pub(super) task: Task,
}

impl<K: Element> Rows<'_, K> {
    pub(super) fn count(&self) -> usize {
        self.task.queries * self.problem.dims.group()
    }

    /// Adds the sums of a chunk to those of the chunks before it.
    #[inline(always)]
    pub(super) fn merge<S: Simd>(&self, simd: S, chunk: usize, total: &mut Part<'_>, part: &Part<'_>) {
        let groups = total.greatest.as_chunks_mut::<LANES>().0.iter_mut().zip(total.weight.as_chunks_mut().0);
        let parts = part.greatest.as_chunks::<LANES>().0.iter().zip(part.weight.as_chunks().0);
        for (group, ((greatest, weight), (more, more_weight))) in groups.zip(parts).enumerate() {
            let (before, own) = (simd.load(greatest), simd.load(more));
            let most = simd.max(own, before);
            let base = finite(simd, most);
            let (keep, take) = (exp(simd, simd.sub(before, base)), exp(simd, simd.sub(own, base)));
            let weights = simd.fma(simd.load(more_weight), take, simd.mul(simd.load(weight), keep));
            simd.store(greatest, most);
            simd.store(weight, weights);
            let (mut keeps, mut takes) = ([0.0; LANES], [0.0; LANES]);
            simd.store(&mut keeps, keep);
            simd.store(&mut takes, take);
            for row in 0..LANES.min(self.count().saturating_sub(group * LANES)) {
                let index = group * LANES + row;
                if self.problem.visible(&self.task, index) <= chunk * CHUNK {
                    continue;
                }
                let (keep, take) = (simd.splat(keeps[row]), simd.splat(takes[row]));
                let sums = total.sums[index * total.m..][..total.m].as_chunks_mut::<LANES>().0;
                let more = part.sums[index * total.m..][..total.m].as_chunks::<LANES>().0;
                for (sum, more) in sums.iter_mut().zip(more) {
                    simd.store(sum, simd.fma(simd.load(more), take, simd.mul(simd.load(sum), keep)));
                }
            }
        }
    }

    /// Writes the rows: weighted values by weights; zeros where no key was seen.
    #[inline(always)]
    pub(super) fn finish<S: Simd>(&self, simd: S, total: &Part<'_>, output: &Tiles<'_, f32>) {
        let m = self.problem.dims.m;
        for row in 0..self.count() {
            let place = self.problem.place(&self.task, row);
            // SAFETY: each row is of one task, which one worker finishes, once.
            let mut tile = unsafe { output.tile(place..place + 1, 0..m) };
            let to = tile.row(place);
            let weight = total.weight[row];
            if weight == 0.0 {
                to.fill(0.0);
                continue;
            }
            let weight = simd.splat(weight);
            let sums = total.sums[row * total.m..][..total.m].as_chunks::<LANES>().0;
            let (whole, rest) = to.as_chunks_mut::<LANES>();
            for (to, sum) in whole.iter_mut().zip(sums) {
                simd.store(to, simd.div(simd.load(sum), weight));
            }
            if let (false, Some(sum)) = (rest.is_empty(), sums.last()) {
                let mut lanes = [0.0; LANES];
                simd.store(&mut lanes, simd.div(simd.load(sum), weight));
                rest.copy_from_slice(&lanes[..rest.len()]);
            }
        }
    }
}

/// `x`, and 0 where it is minus infinity: where all products are, each weight is to be 0, not NaN.
#[inline(always)]
fn finite<S: Simd>(simd: S, x: S::F) -> S::F {
    simd.select(simd.less(x, simd.splat(f32::MIN)), simd.splat(0.0), x)
}
