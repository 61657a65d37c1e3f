//! How a product is cut into tasks.
//!
//! With few columns, some row groups are streamed, and unpacked in registers, for one tile of columns after the other. With more, a
//! *slab* of some values of these groups is unpacked into the first-level cache, and multiplied with one tile after the other; the
//! columns of a task are as many as a cache keeps the activations of.
//!
//! An element of the result is a sum over the strips in their order, whichever path it takes.

use std::ops::Range;

use bitquilt_plugin_api::{Tile, Tiles};

use crate::{
    activation::{ActivationFormat, tile_columns},
    arch::{DotIsa, MAX_LANES},
    par::{Par, part},
};

mod block;
pub(crate) mod compact;
pub(crate) mod floats;
pub(crate) mod strips;

/// The most columns in a tile, on any instruction set.
const MAX_TILE_COLUMNS: usize = 6;

/// Bytes of weight that make a task worth its start.
const TASK_WEIGHTS: usize = 32 << 10;

/// How far ahead of its use a weight is asked for, in bytes: what a core waits for at a time, and as much again.
const PREFETCH: usize = 8192;

/// What the drivers need of one encoding on one instruction set.
pub(crate) trait Kernels: Send + Sync {
    /// Values and bytes of an encoded block.
    fn block(&self) -> (usize, usize);
    /// What the length of a row is a multiple of: whole blocks, and whole strips.
    fn row_step(&self) -> usize;
    /// Rows of a group.
    fn lanes(&self) -> usize;
    /// Row groups that a tile of the product has at most.
    fn tile_groups(&self) -> usize;
    /// Tiles of columns up to which [`stream`](Self::stream) is the way to multiply.
    fn streamed_tiles(&self) -> usize;
    /// Tiles of columns, of `tile_bytes` of activations each, that a call should take at most.
    fn band_tiles(&self, tile_bytes: usize) -> usize;
    /// Prepared bytes of a group of rows of `n` values.
    fn group_bytes(&self, n: usize) -> usize;
    /// How the activations are stored.
    fn activations(&self) -> ActivationFormat;
    /// Whether a prepared weight has considerably more bytes than an encoded one, and [`pack_group`](Self::pack_group) allocates nothing.
    fn is_spread(&self) -> bool {
        false
    }
    /// Prepares a group of at most [`lanes`](Self::lanes) encoded rows of `n` values; `dst` is zeroed.
    fn pack_group(&self, n: usize, rows: &[u8], dst: &mut [u8]);
    /// Computes a part of a product, unpacking in registers.
    fn stream(&self, part: Part<'_>);
    /// Computes a part of a product, of no more tiles than [`band_tiles`](Self::band_tiles) says, unpacking into memory.
    fn tiles(&self, part: Part<'_>);
}

/// A way to multiply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Path {
    /// One column: bound by memory.
    Gemv,
    /// Weights unpacked in registers, again for each tile of columns.
    Registers,
    /// Weights unpacked into a cache, shared by tiles of columns.
    Slabs,
}

/// The way that `m` columns are multiplied.
fn path(kernels: &dyn Kernels, m: usize) -> Path {
    match m {
        0 | 1 => Path::Gemv,
        _ if m <= most_in_registers(kernels) => Path::Registers,
        _ => Path::Slabs,
    }
}

/// The most columns that are multiplied with weights unpacked in registers; fewer than 2 if none are.
pub(crate) fn most_in_registers(kernels: &dyn Kernels) -> usize {
    kernels.activations().columns(kernels.streamed_tiles())
}

/// A product `out[c, r] = sum over k of weight[r, k] * x[c, k]`.
#[derive(Clone, Copy)]
pub(crate) struct Product<'a> {
    /// `group_bytes` for each group of rows, from `first_group` on.
    pub(crate) weight: &'a [u8],
    pub(crate) first_group: usize,
    pub(crate) group_bytes: usize,
    /// The stored activations of `m` columns of `n` values, in so many tiles.
    pub(crate) activations: &'a [u8],
    pub(crate) column_bytes: usize,
    pub(crate) tiles: usize,
    pub(crate) n: usize,
    pub(crate) m: usize,
    pub(crate) p: usize,
}

impl<'a> Product<'a> {
    /// A product of `p` rows and `m` columns of `n` values, whose activations are what the kernels say. `weight` are its prepared groups,
    /// all of them, or none yet.
    pub(crate) fn new(
        kernels: &dyn Kernels,
        weight: &'a [u8],
        activations: &'a [u8],
        [m, n, p]: [usize; 3],
    ) -> Self {
        let (group_bytes, format) = (kernels.group_bytes(n), kernels.activations());
        let (column_bytes, tiles) = (format.column_bytes(n), format.tiles(m));
        Self { weight, first_group: 0, group_bytes, activations, column_bytes, tiles, n, m, p }
    }

    /// Row group `group`.
    #[inline(always)]
    fn group(&self, group: usize) -> &'a [u8] {
        &self.weight[(group - self.first_group) * self.group_bytes..][..self.group_bytes]
    }

    /// The columns of a tile, and their activations.
    #[inline(always)]
    fn tile(&self, tile: usize) -> (Range<usize>, &'a [u8]) {
        let columns = self.columns(&(tile..tile + 1));
        (
            columns.clone(),
            &self.activations[columns.start * self.column_bytes..columns.end * self.column_bytes],
        )
    }

    /// The columns of some tiles.
    #[inline(always)]
    fn columns(&self, tiles: &Range<usize>) -> Range<usize> {
        if self.tiles == 1 {
            return 0..self.m;
        }
        let of_tile = |tile| tile_columns(self.m, self.tiles, tile);
        of_tile(tiles.start).start..of_tile(tiles.end - 1).end
    }

    /// Bytes of the activations of a tile, at most.
    fn tile_bytes(&self) -> usize {
        self.column_bytes * self.m.div_ceil(self.tiles)
    }
}

/// What a task computes of a product: the rows of some groups times the columns of some tiles.
pub(crate) struct Part<'a> {
    product: Product<'a>,
    groups: Range<usize>,
    tiles: Range<usize>,
    out: Tile<'a, f32>,
}

impl Part<'_> {
    /// Writes column `column` of row group `group`.
    #[inline(always)]
    fn write<I: DotIsa>(&mut self, isa: I, group: usize, column: usize, values: I::F32) {
        let first = group * I::LANES;
        if first + I::LANES <= self.product.p {
            isa.store_f32(self.out.part(column, first..first + I::LANES), values);
        } else {
            let mut rows = [0.0; MAX_LANES];
            isa.store_f32(&mut rows, values);
            let rows = &rows[..self.product.p - first];
            self.out.part(column, first..self.product.p).copy_from_slice(rows);
        }
    }
}

/// Computes a product by kernels that prepared its weight and said how its activations are stored.
pub(crate) fn multiply(kernels: &dyn Kernels, product: Product<'_>, out: &mut [f32], par: &dyn Par) {
    let Product { m, p, tiles, .. } = product;
    if m == 0 || p == 0 {
        return;
    }
    // The tasks have what they share in one place, next to each other, which another core reads at once.
    let (groups, lanes, out) = (p.div_ceil(kernels.lanes()), kernels.lanes(), Tiles::new(out, p));
    // SAFETY: below, a task has a tile and a group together with no other, and is called once.
    let part_of = move |groups: Range<usize>, tiles: Range<usize>| unsafe {
        let rows = groups.start * lanes..p.min(groups.end * lanes);
        let out = out.tile(product.columns(&tiles), rows);
        Part { product, groups, tiles, out }
    };
    let path = path(kernels, m);
    if path == Path::Gemv {
        let tasks = (groups * product.group_bytes / TASK_WEIGHTS).clamp(1, most_tasks(par)).min(groups);
        return par.par_for(tasks, &move |task, _| kernels.stream(part_of(part(groups, tasks, task), 0..1)));
    }
    let bands = tiles.div_ceil(kernels.band_tiles(product.tile_bytes()));
    let sets = groups.div_ceil(kernels.tile_groups());
    let worth = (groups * product.group_bytes / TASK_WEIGHTS).max(1);
    let cuts = most_tasks(par).div_ceil(bands).min(sets).min(worth);
    par.par_for(bands * cuts, &move |task, _| {
        let groups = groups_of(kernels, groups, part(sets, cuts, task % cuts));
        // No task has more tiles than a band, since there are so many bands.
        let part = part_of(groups, part(tiles, bands, task / cuts));
        match path {
            Path::Slabs => kernels.tiles(part),
            _ => kernels.stream(part),
        }
    });
}

/// The row groups of some sets of as many as a tile takes, of `groups` in all.
fn groups_of(kernels: &dyn Kernels, groups: usize, sets: Range<usize>) -> Range<usize> {
    let first = |set: usize| groups.min(set * kernels.tile_groups());
    first(sets.start)..first(sets.end)
}

/// Tasks that leave no thread idle for long when another is slower.
fn most_tasks(par: &dyn Par) -> usize {
    match par.threads() {
        0 | 1 => 1,
        threads => 8 * threads,
    }
}
