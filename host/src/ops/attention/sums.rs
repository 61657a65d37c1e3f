//! The sums of a task: those of chunks of keys, and of all.

use bitquilt_plugin_api::Tiles;

use super::part::{CHUNK, Part, Rows, Sizes};
use super::problem::{Element, Problem, Task};
use super::tile::Tile;
use bitquilt_simd::{Body, Simd};

/// All of a task.
pub(super) struct Whole<'a, K> {
    pub(super) problem: &'a Problem<'a, K>,
    pub(super) task: Task,
    pub(super) sizes: Sizes,
    pub(super) scratch: &'a mut [f32],
    pub(super) output: &'a Tiles<'a, f32>,
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
    pub(super) output: &'a Tiles<'a, f32>,
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
