//! The rows of a task against blocks of keys.

use bitquilt_plugin_api::bytemuck;

use super::problem::{Dims, Element, Output, Problem, Task};
use crate::ops::arch::{Body, LANES, Simd, prefetch};
use crate::ops::math::exp;

/// Keys whose products with the rows are at hand together.
const BLOCK: usize = 64;

/// Registers of a block's products.
const VECTORS: usize = BLOCK / LANES;

/// Keys whose sums are made apart from those of all others.
pub(super) const CHUNK: usize = 4 * BLOCK;

/// Floats that have the room of a number of keys.
const COUNT: usize = size_of::<usize>() / size_of::<f32>();

/// Sizes of a task's memory, in floats.
#[derive(Clone, Copy)]
pub(super) struct Sizes {
    /// Rows, filled up to whole registers.
    rows: usize,
    n: usize,
    /// Values of a row of sums, filled up to whole registers.
    m: usize,
}

impl Sizes {
    pub(super) fn of(dims: &Dims) -> Self {
        let rows = (dims.queries() * dims.group()).next_multiple_of(LANES);
        Self { rows, n: dims.n, m: dims.m.next_multiple_of(LANES) }
    }

    /// What [`OneChunk`] writes: sums of values, the greatest products, and the sums of weights.
    pub(super) fn part(&self) -> usize {
        self.rows * (self.m + 2)
    }

    /// What a worker has: queries, keys, values, products, numbers of keys, and two parts.
    pub(super) fn worker(&self) -> usize {
        self.rows * (self.n + BLOCK + COUNT) + BLOCK * (self.n + self.m) + 2 * self.part()
    }
}

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
struct Part<'a> {
    /// `m` values a row.
    sums: &'a mut [f32],
    m: usize,
    greatest: &'a mut [f32],
    weight: &'a mut [f32],
}

impl<'a> Part<'a> {
    #[inline(always)]
    fn of(memory: &'a mut [f32], sizes: &Sizes) -> Self {
        let (sums, rest) = memory.split_at_mut(sizes.rows * sizes.m);
        let (greatest, rest) = rest.split_at_mut(sizes.rows);
        Self { sums, m: sizes.m, greatest, weight: &mut rest[..sizes.rows] }
    }

    fn clear(&mut self) {
        self.sums.fill(0.0);
        self.greatest.fill(f32::NEG_INFINITY);
        self.weight.fill(0.0);
    }
}

/// The rows of a task.
struct Rows<'a, K> {
    problem: &'a Problem<'a, K>,
    task: Task,
}

impl<K: Element> Rows<'_, K> {
    fn count(&self) -> usize {
        self.task.queries * self.problem.dims.group()
    }

    /// The values of keys `start .. end`: in place, or converted and filled up to whole registers in `memory`.
    #[inline(always)]
    fn values<'v, S: Simd>(&'v self, simd: S, start: usize, end: usize, memory: &'v mut [f32]) -> Values<'v> {
        let Dims { m, kv_heads, .. } = self.problem.dims;
        if m.is_multiple_of(LANES)
            && let Some(values) = K::as_f32(self.problem.v)
        {
            return Values {
                values: &values[self.problem.kv_row(&self.task, start) * m..],
                stride: kv_heads * m,
            };
        }
        let stride = m.next_multiple_of(LANES);
        for (to, index) in memory.chunks_exact_mut(stride.max(1)).zip(start..end) {
            let from = self.problem.value(&self.task, index);
            for (group, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                simd.store(to, load_from(simd, &from[group * LANES..]));
            }
        }
        Values { values: memory, stride }
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

/// Rows of a tile: as many as registers hold the products of.
const fn tile_rows<S: Simd>() -> usize {
    if S::WIDE { 6 } else { 2 }
}

/// A task at work.
struct Tile<'a, K> {
    rows: Rows<'a, K>,
    sizes: Sizes,
    /// The most keys that a row sees.
    most: usize,
    /// Keys that each row sees.
    visible: &'a mut [usize],
    /// Scaled queries: for each tile of `R` rows `[n][R]`.
    q: &'a mut [f32],
    /// A block's keys, `[n][BLOCK]`.
    keys: &'a mut [f32],
    /// A block's values, `[BLOCK][m]`, where they are not read in place.
    values: &'a mut [f32],
    /// Products, then weights, `[rows][BLOCK]`.
    scores: &'a mut [f32],
}

impl<'a, K: Element> Tile<'a, K> {
    #[inline(always)]
    fn new<S: Simd>(
        _: S,
        problem: &'a Problem<'a, K>,
        task: Task,
        sizes: Sizes,
        scratch: &'a mut [f32],
    ) -> Self {
        let (visible, scratch) = scratch.split_at_mut(sizes.rows * COUNT);
        let visible: &mut [usize] = bytemuck::cast_slice_mut(visible);
        let (q, scratch) = scratch.split_at_mut(sizes.rows * sizes.n);
        let (keys, scratch) = scratch.split_at_mut(sizes.n * BLOCK);
        let (values, scratch) = scratch.split_at_mut(sizes.m * BLOCK);
        let scores = &mut scratch[..sizes.rows * BLOCK];
        let rows = Rows { problem, task };
        let mut most = 0;
        for (row, visible) in visible.iter_mut().enumerate().take(rows.count()) {
            *visible = problem.visible(&task, row);
            most = most.max(*visible);
        }
        let mut tile = Self { rows, sizes, most, visible, q, keys, values, scores };
        tile.pack_queries::<S>();
        tile
    }

    /// Scales the queries, those of a tile side by side.
    #[inline(always)]
    fn pack_queries<S: Simd>(&mut self) {
        let Rows { problem, task } = &self.rows;
        let (n, count) = (self.sizes.n, self.rows.count());
        for row in 0..count {
            let first = row - row % tile_rows::<S>();
            let side = tile_rows::<S>().min(count - first);
            let from = &problem.q[problem.place(task, row) * n..][..n];
            let to = self.q[first * n..].chunks_exact_mut(side);
            for (to, from) in to.zip(from) {
                to[row - first] = from * problem.scale;
            }
        }
    }

    /// Packs keys `start .. end` as `[n][BLOCK]`. What a register lacks is zeros; registers that lack all are left alone.
    #[inline(always)]
    fn pack_keys<S: Simd>(&mut self, simd: S, start: usize, end: usize) {
        let Rows { problem, task } = &self.rows;
        let n = problem.dims.n;
        let key = |index: usize| problem.key(task, index);
        for vector in 0..(end - start).div_ceil(LANES) {
            for first in (0..n).step_by(LANES) {
                let mut rows = [simd.splat(0.0); LANES];
                for (row, index) in rows.iter_mut().zip(start + vector * LANES..end) {
                    *row = load_from(simd, &key(index)[first..]);
                }
                let packed = self.keys[first * BLOCK..].as_chunks_mut::<BLOCK>().0;
                for (to, row) in packed.iter_mut().zip(simd.transpose(rows)).take(n - first) {
                    simd.store(&mut to.as_chunks_mut::<LANES>().0[vector], row);
                }
            }
        }
    }

    /// The sums of a chunk of keys.
    #[inline(always)]
    fn chunk<S: Simd>(&mut self, simd: S, chunk: usize, part: &mut Part<'_>) {
        part.clear();
        let starts = (chunk * CHUNK..(chunk + 1) * CHUNK).step_by(BLOCK);
        let most = self.most;
        for start in starts.take_while(|start| *start < most) {
            let end = most.min(start + BLOCK);
            // One head's keys are apart, and few rows leave no time to wait for them.
            let Rows { problem, task } = &self.rows;
            if start == 0 || start == chunk * CHUNK {
                (start..end).for_each(|index| prefetch(problem.key(task, index)));
            }
            (start..end).for_each(|index| prefetch(problem.value(task, index)));
            (end..most.min(end + BLOCK)).for_each(|index| prefetch(problem.key(task, index)));
            self.pack_keys(simd, start, end);
            let values = self.rows.values(simd, start, end, self.values);
            let block = Block { start, end, visible: self.visible, q: self.q, keys: self.keys, values };
            let count = self.rows.count();
            let mut row = 0;
            while row < count {
                let tile = TileRows { rows: &self.rows, block: &block, row };
                let scores = &mut self.scores[row * BLOCK..];
                row += match count - row {
                    1 => tile.run::<S, 1, VECTORS>(simd, scores, part),
                    2 if S::WIDE => tile.run::<S, 2, VECTORS>(simd, scores, part),
                    3 if S::WIDE => tile.run::<S, 3, VECTORS>(simd, scores, part),
                    4 if S::WIDE => tile.run::<S, 4, VECTORS>(simd, scores, part),
                    5 if S::WIDE => tile.run::<S, 5, VECTORS>(simd, scores, part),
                    _ if S::WIDE => tile.run::<S, 6, VECTORS>(simd, scores, part),
                    _ => tile.run::<S, 2, 2>(simd, scores, part),
                };
            }
        }
    }
}

/// Sixteen values from `from` on, with zeros for those it lacks.
#[inline(always)]
fn load_from<S: Simd, K: Element>(simd: S, from: &[K]) -> S::F {
    match from.first_chunk() {
        Some(lanes) => K::load(simd, lanes),
        None => {
            let mut lanes = [K::zeroed(); LANES];
            lanes[..from.len()].copy_from_slice(from);
            K::load(simd, &lanes)
        }
    }
}

/// Values of keys, `stride` from one key's to the next's.
#[derive(Clone, Copy)]
struct Values<'a> {
    values: &'a [f32],
    stride: usize,
}

/// A block of keys, packed, and the rows' queries.
struct Block<'a> {
    start: usize,
    end: usize,
    visible: &'a [usize],
    q: &'a [f32],
    keys: &'a [f32],
    values: Values<'a>,
}

/// Some rows in a row, from `row` on.
struct TileRows<'a, K> {
    rows: &'a Rows<'a, K>,
    block: &'a Block<'a>,
    row: usize,
}

impl<K: Element> TileRows<'_, K> {
    /// Adds to `part` what the block gives `R` rows, `V` registers of products at a time; `R`. `scores` is their memory.
    #[inline(always)]
    fn run<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        scores: &mut [f32],
        part: &mut Part<'_>,
    ) -> usize {
        let Block { start, end, visible, .. } = *self.block;
        let mut seen = [0; R];
        for (seen, visible) in seen.iter_mut().zip(&visible[self.row..]) {
            *seen = (*visible).clamp(start, end) - start;
        }
        if seen == [0; R] {
            return R;
        }
        let scores = &mut scores.as_chunks_mut::<BLOCK>().0[..R];
        for vector in (0..VECTORS).step_by(V) {
            self.products::<S, R, V>(simd, vector, scores);
        }
        let keep = self.weights::<S, R>(simd, &seen, scores, part);
        let m = part.m;
        let sums = &mut part.sums[self.row * m..][..R * m];
        let groups = m / LANES;
        let mut group = 0;
        while group < groups {
            let left = groups - group;
            group += if left >= V {
                self.add_values::<S, R, V>(simd, &seen, scores, &keep, sums, group)
            } else {
                self.add_values::<S, R, 1>(simd, &seen, scores, &keep, sums, group)
            };
        }
        R
    }

    /// Products of the rows with `V` registers of keys, each summed in order.
    #[inline(always)]
    fn products<S: Simd, const R: usize, const V: usize>(
        &self,
        simd: S,
        vector: usize,
        scores: &mut [[f32; BLOCK]],
    ) {
        let n = self.rows.problem.dims.n;
        let q = self.block.q[self.row * n..][..R * n].as_chunks::<R>().0;
        let keys = self.block.keys.as_chunks::<BLOCK>().0;
        let mut sums = [[simd.splat(0.0); V]; R];
        for (q, keys) in q.iter().zip(keys) {
            let keys = &keys.as_chunks::<LANES>().0[vector..][..V];
            let mut loaded = [simd.splat(0.0); V];
            for v in 0..V {
                loaded[v] = simd.load(&keys[v]);
            }
            for r in 0..R {
                let q = simd.splat(q[r]);
                for v in 0..V {
                    sums[r][v] = simd.fma(q, loaded[v], sums[r][v]);
                }
            }
        }
        for r in 0..R {
            let to = &mut scores[r].as_chunks_mut::<LANES>().0[vector..][..V];
            for v in 0..V {
                simd.store(&mut to[v], sums[r][v]);
            }
        }
    }

    /// Makes weights of the products, relative to each row's greatest so far. What the sums before are to be multiplied with.
    #[inline(always)]
    fn weights<S: Simd, const R: usize>(
        &self,
        simd: S,
        seen: &[usize; R],
        scores: &mut [[f32; BLOCK]],
        part: &mut Part<'_>,
    ) -> [f32; R] {
        let Rows { problem, task } = self.rows;
        let greatest = &mut part.greatest[self.row..][..R];
        let weight = &mut part.weight[self.row..][..R];
        let (mut before, mut base, mut added) = ([0.0; LANES], [0.0; LANES], [0.0; R]);
        for r in 0..R {
            before[r] = greatest[r];
            if seen[r] == 0 {
                base[r] = if before[r] == f32::NEG_INFINITY { 0.0 } else { before[r] };
                continue;
            }
            problem.add_mask(task, self.row + r, self.block.start, &mut scores[r][..seen[r]]);
            let scores = scores[r].as_chunks_mut::<LANES>().0;
            let mut most = simd.splat(f32::NEG_INFINITY);
            let mut products = [most; VECTORS];
            for v in 0..VECTORS {
                let choice = simd.first(seen[r].saturating_sub(v * LANES));
                products[v] = simd.select(choice, simd.load(&scores[v]), simd.splat(f32::NEG_INFINITY));
                most = simd.max(products[v], most);
            }
            let own = simd.greatest(most);
            greatest[r] = if own > before[r] { own } else { before[r] };
            base[r] = if greatest[r] == f32::NEG_INFINITY { 0.0 } else { greatest[r] };
            let mut weights = [simd.splat(0.0); VECTORS];
            for v in 0..VECTORS {
                weights[v] = exp(simd, simd.sub(products[v], simd.splat(base[r])));
                simd.store(&mut scores[v], weights[v]);
            }
            let [a, b, c, d] = weights;
            added[r] = simd.sum(simd.add(simd.add(a, b), simd.add(c, d)));
        }
        let mut keep = [0.0; LANES];
        simd.store(&mut keep, exp(simd, simd.sub(simd.load(&before), simd.load(&base))));
        for r in 0..R {
            weight[r] = weight[r] * keep[r] + added[r];
        }
        let mut kept = [0.0; R];
        kept.copy_from_slice(&keep[..R]);
        kept
    }

    /// Adds the weighted values of the keys that each row sees, in order, `G` registers from `group` on; `G`.
    #[inline(always)]
    fn add_values<S: Simd, const R: usize, const G: usize>(
        &self,
        simd: S,
        seen: &[usize; R],
        weights: &[[f32; BLOCK]],
        keep: &[f32; R],
        sums: &mut [f32],
        group: usize,
    ) -> usize {
        let Values { values, stride } = self.block.values;
        let m = sums.len() / R;
        let mut added = [[simd.splat(0.0); G]; R];
        for r in 0..R {
            let before = &sums[r * m..][..m].as_chunks::<LANES>().0[group..][..G];
            for g in 0..G {
                added[r][g] = simd.mul(simd.load(&before[g]), simd.splat(keep[r]));
            }
        }
        let first = group * LANES;
        let all = seen.iter().fold(BLOCK, |least, seen| least.min(*seen));
        for key in 0..all {
            let from = values[key * stride + first..][..G * LANES].as_chunks::<LANES>().0;
            let mut loaded = [simd.splat(0.0); G];
            for g in 0..G {
                loaded[g] = simd.load(&from[g]);
            }
            for r in 0..R {
                let weight = simd.splat(weights[r][key]);
                for g in 0..G {
                    added[r][g] = simd.fma(weight, loaded[g], added[r][g]);
                }
            }
        }
        for r in 0..R {
            for key in all..seen[r] {
                let weight = simd.splat(weights[r][key]);
                let from = values[key * stride + first..][..G * LANES].as_chunks::<LANES>().0;
                for g in 0..G {
                    added[r][g] = simd.fma(weight, simd.load(&from[g]), added[r][g]);
                }
            }
            let to = &mut sums[r * m..][..m].as_chunks_mut::<LANES>().0[group..][..G];
            for g in 0..G {
                simd.store(&mut to[g], added[r][g]);
            }
        }
        G
    }
}
