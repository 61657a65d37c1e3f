//! The rows of a task against blocks of keys.

use bitquilt_plugin_api::bytemuck;

use super::part::{BLOCK, CHUNK, COUNT, Part, Rows, Sizes};
use super::problem::{Dims, Element, Problem, Task};
use crate::ops::math::exp;
use bitquilt_simd::{LANES, Simd};

/// Registers of a block's products.
const VECTORS: usize = BLOCK / LANES;

/// Rows of a tile: as many as registers hold the products of.
const fn tile_rows<S: Simd>() -> usize {
    if S::WIDE { 6 } else { 2 }
}

/// Registers that so many keys of a block take.
const fn vectors(keys: usize) -> usize {
    keys.div_ceil(LANES)
}

/// A task at work.
pub(super) struct Tile<'a, K> {
    pub(super) rows: Rows<'a, K>,
    sizes: Sizes,
    /// The most keys that a row sees.
    pub(super) most: usize,
    /// Keys that each row sees.
    visible: &'a mut [usize],
    /// Scaled queries: for each tile of `R` rows `[n][R]`.
    q: &'a mut [f32],
    /// A block's keys, sixteen side by side: `[VECTORS][n][LANES]`.
    keys: &'a mut [f32],
    /// A block's values, `[BLOCK][m]`, where they are not read in place.
    values: &'a mut [f32],
    /// Products, then weights, `[rows][BLOCK]`.
    scores: &'a mut [f32],
}

impl<'a, K: Element> Tile<'a, K> {
    #[inline(always)]
    pub(super) fn new<S: Simd>(
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

    /// Packs keys `start .. end`, sixteen side by side. What a register lacks is zeros; registers that lack all are left alone.
    #[inline(always)]
    fn pack_keys<S: Simd>(&mut self, simd: S, start: usize, end: usize) {
        let Rows { problem, task } = &self.rows;
        let n = problem.dims.n;
        let packed = self.keys.as_chunks_mut::<LANES>().0;
        for (vector, packed) in packed.chunks_exact_mut(n.max(1)).take(vectors(end - start)).enumerate() {
            for (group, packed) in packed.chunks_mut(LANES).enumerate() {
                let mut rows = [simd.splat(0.0); LANES];
                for (row, index) in rows.iter_mut().zip(start + vector * LANES..end) {
                    *row = load_from(simd, &problem.key(task, index)[group * LANES..]);
                }
                for (to, row) in packed.iter_mut().zip(simd.transpose(rows)) {
                    simd.store(to, row);
                }
            }
        }
    }

    /// The sums of a chunk of keys.
    #[inline(always)]
    pub(super) fn chunk<S: Simd>(&mut self, simd: S, chunk: usize, part: &mut Part<'_>) {
        part.clear(self.rows.count());
        let starts = (chunk * CHUNK..(chunk + 1) * CHUNK).step_by(BLOCK);
        let most = self.most;
        for start in starts.take_while(|start| *start < most) {
            let end = most.min(start + BLOCK);
            let Rows { problem, task } = &self.rows;
            // Few rows leave no time to wait for memory.
            if start == chunk * CHUNK {
                problem.fetch_keys(task, start, end);
            }
            self.pack_keys(simd, start, end);
            let Rows { problem, task } = &self.rows;
            problem.fetch_values(task, start, end);
            problem.fetch_keys(task, end, most.min(end + BLOCK));
            let (visible, q, keys) = (&*self.visible, &*self.q, &*self.keys);
            let few = self.rows.count() <= tile_rows::<S>();
            if problem.dims.m.is_multiple_of(LANES) && (K::F32 || few) {
                let values = self.rows.values(start);
                let block = Block { start, end, visible, q, keys, values };
                self.rows.add_block(simd, &block, self.scores, part);
            } else {
                let values = self.rows.converted_values(simd, start, end, self.values);
                let block = Block { start, end, visible, q, keys, values };
                self.rows.add_block(simd, &block, self.scores, part);
            }
        }
    }
}

impl<K: Element> Rows<'_, K> {
    /// The values of keys `start ..`, in place.
    #[inline(always)]
    fn values(&self, start: usize) -> Values<'_, K> {
        let Dims { m, kv_heads, .. } = self.problem.dims;
        Values { values: &self.problem.v[self.problem.kv_row(&self.task, start) * m..], stride: kv_heads * m }
    }

    /// The values of keys `start .. end`, converted and filled up to whole registers in `memory`.
    #[inline(always)]
    fn converted_values<'v, S: Simd>(
        &self,
        simd: S,
        start: usize,
        end: usize,
        memory: &'v mut [f32],
    ) -> Values<'v, f32> {
        let stride = self.problem.dims.m.next_multiple_of(LANES);
        for (to, index) in memory.chunks_exact_mut(stride.max(1)).zip(start..end) {
            let from = self.problem.value(&self.task, index);
            for (group, to) in to.as_chunks_mut::<LANES>().0.iter_mut().enumerate() {
                simd.store(to, load_from(simd, &from[group * LANES..]));
            }
        }
        Values { values: memory, stride }
    }

    /// Adds to `part` what a block gives the rows. `scores` is memory for `[rows][BLOCK]`.
    #[inline(always)]
    fn add_block<S: Simd, V: Element>(
        &self,
        simd: S,
        block: &Block<'_, V>,
        scores: &mut [f32],
        part: &mut Part<'_>,
    ) {
        let count = self.count();
        let mut row = 0;
        while row < count {
            let tile = TileRows { rows: self, block, row };
            let scores = &mut scores[row * BLOCK..];
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
struct Values<'a, V> {
    values: &'a [V],
    stride: usize,
}

/// A block of keys, packed, and the rows' queries.
struct Block<'a, V> {
    start: usize,
    end: usize,
    visible: &'a [usize],
    q: &'a [f32],
    keys: &'a [f32],
    values: Values<'a, V>,
}

/// Some rows in a row, from `row` on.
struct TileRows<'a, K, V> {
    rows: &'a Rows<'a, K>,
    block: &'a Block<'a, V>,
    row: usize,
}

impl<K: Element, E: Element> TileRows<'_, K, E> {
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
        let most = seen.iter().fold(0, |most, seen| most.max(*seen));
        for vector in (0..vectors(most)).step_by(V) {
            // A register of keys that nobody sees has not been packed, and is far away.
            match vectors(most) - vector {
                1 => self.products::<S, R, 1>(simd, vector, scores),
                2 => self.products::<S, R, 2>(simd, vector, scores),
                _ => self.products::<S, R, V>(simd, vector, scores),
            }
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
        let keys = &self.block.keys.as_chunks::<LANES>().0[vector * n..][..V * n];
        let mut sums = [[simd.splat(0.0); V]; R];
        for (index, q) in q.iter().enumerate() {
            let mut loaded = [simd.splat(0.0); V];
            for v in 0..V {
                loaded[v] = simd.load(&keys[v * n + index]);
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
            let used = vectors(seen[r]);
            for v in 0..used {
                let choice = simd.first(seen[r].saturating_sub(v * LANES));
                products[v] = simd.select(choice, simd.load(&scores[v]), simd.splat(f32::NEG_INFINITY));
                most = simd.max(products[v], most);
            }
            let own = simd.greatest(most);
            greatest[r] = if own > before[r] { own } else { before[r] };
            base[r] = if greatest[r] == f32::NEG_INFINITY { 0.0 } else { greatest[r] };
            let mut weights = [simd.splat(0.0); VECTORS];
            for v in 0..used {
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
                loaded[g] = E::load(simd, &from[g]);
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
                    added[r][g] = simd.fma(weight, E::load(simd, &from[g]), added[r][g]);
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
