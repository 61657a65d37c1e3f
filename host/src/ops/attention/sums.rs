//! The sums of a task: those of chunks of keys, and of all.

use super::problem::{Element, Output, Problem, Task};
use super::tile::{CHUNK, Sizes, Tile};
use crate::ops::arch::{Body, LANES, Simd};
use crate::ops::math::exp;

/// All of a task.
pub(super) struct Whole<'a, K> {
    pub(super) problem: &'a Problem<'a, K>,
    pub(super) task: Task,
    pub(super) sizes: Sizes,
    pub(super) scratch: &'a mut [f32],
    pub(super) output: &'a Output<'a>,
}

/// What one chunk of keys gives a task's rows.
pub(super) struct OneChunk<'a, K> {
    pub(super) problem: &'a Problem<'a, K>,
    pub(super) task: Task,
    pub(super) chunk: usize,
    pub(super) sizes: Sizes,
    pub(super) scratch: &'a mut [f32],
    pub(super) part: &'a mut [f32],
}

/// A task's output, of what its chunks gave.
pub(super) struct Merge<'a, K> {
    pub(super) problem: &'a Problem<'a, K>,
    pub(super) task: Task,
    pub(super) sizes: Sizes,
    pub(super) parts: &'a mut [f32],
    pub(super) output: &'a Output<'a>,
}

impl<K: Element> Body for Whole<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let (scratch, parts) = self.scratch.split_at_mut(self.sizes.worker() - 2 * self.sizes.part());
        let (total, next) = parts.split_at_mut(self.sizes.part());
        let mut total = Part::of(total, &self.sizes);
        let mut next = Part::of(next, &self.sizes);
        let mut tile = Tile::new(simd, self.problem, self.task, self.sizes, scratch);
        tile.chunk(simd, 0, &mut total);
        for chunk in 1..tile.most.div_ceil(CHUNK) {
            tile.chunk(simd, chunk, &mut next);
            tile.rows.merge(simd, chunk, &mut total, &next);
        }
        tile.rows.finish(simd, &total, self.output);
    }
}

impl<K: Element> Body for OneChunk<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let mut part = Part::of(self.part, &self.sizes);
        Tile::new(simd, self.problem, self.task, self.sizes, self.scratch).chunk(simd, self.chunk, &mut part);
    }
}

impl<K: Element> Body for Merge<'_, K> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, simd: S) {
        let rows = Rows { problem: self.problem, task: self.task };
        let mut parts = self.parts.chunks_exact_mut(self.sizes.part());
        let Some(total) = parts.next() else { return };
        let mut total = Part::of(total, &self.sizes);
        for (chunk, part) in (1..).zip(parts) {
            rows.merge(simd, chunk, &mut total, &Part::of(part, &self.sizes));
        }
        rows.finish(simd, &total, self.output);
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
    fn of(memory: &'a mut [f32], sizes: &Sizes) -> Self {
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
    fn merge<S: Simd>(&self, simd: S, chunk: usize, total: &mut Part<'_>, part: &Part<'_>) {
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
    fn finish<S: Simd>(&self, simd: S, total: &Part<'_>, output: &Output<'_>) {
        let m = self.problem.dims.m;
        for row in 0..self.count() {
            // SAFETY: each row is of one task, which one worker finishes, once.
            let to = unsafe { output.row(self.problem.place(&self.task, row), m) };
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
