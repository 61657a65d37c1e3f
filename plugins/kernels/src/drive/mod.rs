//! How a product is cut into tasks.
//!
//! With few columns, some row groups are streamed, and unpacked in registers, for one tile of columns after the other. With more, a
//! *slab* of some values of these groups is unpacked into the first-level cache, and multiplied with one tile after the other; the
//! columns of a task are as many as a cache keeps the activations of.
//!
//! An element of the result is a sum over the strips in their order, whichever path it takes.

use std::ops::Range;

use crate::{
    activation::{ActivationFormat, SendPtr, tile_columns},
    arch::DotIsa,
    par::{Par, part},
};

mod block;
pub(crate) mod floats;
pub(crate) mod strips;

/// The most columns in a tile, on any instruction set.
const MAX_TILE_COLUMNS: usize = 6;

/// Bytes of weight that make a task worth its start.
const TASK_WEIGHTS: usize = 32 << 10;

/// How far ahead of its use a weight is asked for, in bytes: what a core waits for at a time, and as much again.
const PREFETCH: usize = 8192;

/// What the drivers need of one encoding on one instruction set.
pub(crate) trait Kernels: Sync {
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
    /// Prepares a group of at most [`lanes`](Self::lanes) encoded rows of `n` values; `dst` is zeroed.
    fn pack_group(&self, n: usize, rows: &[u8], dst: &mut [u8]);
    /// Multiplies the rows of `groups` with the columns of `tiles`, unpacking in registers.
    ///
    /// # Safety
    /// The machine has the instruction set, and the product is as [`Product`] says.
    unsafe fn stream(&self, product: Product, groups: Range<usize>, tiles: Range<usize>);
    /// Multiplies the rows of `groups` with the columns of `tiles`, no more than [`band_tiles`](Self::band_tiles) says, unpacking
    /// into memory.
    ///
    /// # Safety
    /// As for [`stream`](Self::stream).
    unsafe fn tiles(&self, product: Product, groups: Range<usize>, tiles: Range<usize>);
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
///
/// `weight` is readable for `group_bytes` for each group of rows, `activations` for what `format` says of `m` columns
/// of `n` values, and `out` is writable for `m * p` values, and aliased by nobody.
#[derive(Clone, Copy)]
pub(crate) struct Product {
    pub(crate) weight: *const u8,
    pub(crate) group_bytes: usize,
    pub(crate) activations: *const u8,
    pub(crate) format: ActivationFormat,
    pub(crate) out: *mut f32,
    pub(crate) n: usize,
    pub(crate) m: usize,
    pub(crate) p: usize,
}

impl Product {
    /// Where row group `group` starts.
    ///
    /// # Safety
    /// The weight has that group.
    #[inline(always)]
    unsafe fn group(&self, group: usize) -> *const u8 {
        // SAFETY: the caller vouches for the group.
        unsafe { self.weight.add(group * self.group_bytes) }
    }

    /// The columns of a tile, and where its activations start.
    ///
    /// # Safety
    /// The product has that tile.
    #[inline(always)]
    unsafe fn tile(&self, tile: usize) -> (Range<usize>, *const u8) {
        let columns = tile_columns(self.m, self.format.tiles(self.m), tile);
        // SAFETY: the caller vouches for the tile, and its activations follow those of the columns before it.
        let start = unsafe { self.activations.add(columns.start * self.format.column_bytes(self.n)) };
        (columns, start)
    }

    /// Writes column `column` of row group `group`.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; the product has the column and the group, and no other task writes them.
    #[inline(always)]
    unsafe fn write<I: DotIsa>(&self, group: usize, column: usize, values: I::F32) {
        let first = group * I::LANES;
        // SAFETY: the caller vouches for the column and the group.
        let out = unsafe { self.out.add(column * self.p + first) };
        if first + I::LANES <= self.p {
            // SAFETY: the column has all rows of the group.
            unsafe { I::store_f32(out, values) };
        } else {
            let mut rows = [0.0; crate::arch::MAX_LANES];
            // SAFETY: there is room for all lanes; the column has the rows before `p`.
            unsafe {
                I::store_f32(rows.as_mut_ptr(), values);
                out.copy_from_nonoverlapping(rows.as_ptr(), self.p - first);
            }
        }
    }
}

/// Computes a product.
///
/// # Safety
/// The machine has the instruction set of the kernels, and the product is as [`Product`] says.
pub(crate) unsafe fn multiply(kernels: &dyn Kernels, product: Product, par: &dyn Par) {
    let Product { n, m, p, format, .. } = product;
    if m == 0 || p == 0 {
        return;
    }
    let groups = p.div_ceil(kernels.lanes());
    let shared = Shared(product, SendPtr(product.out));
    let path = path(kernels, m);
    if path == Path::Gemv {
        let tasks = (groups * product.group_bytes / TASK_WEIGHTS).clamp(1, most_tasks(par)).min(groups);
        return par.par_for(tasks, &|task, _| {
            // SAFETY: the caller's contract is this one's; a group is in one task.
            unsafe { kernels.stream(shared.product(), part(groups, tasks, task), 0..1) };
        });
    }
    let tiles = format.tiles(m);
    let tile_bytes = format.column_bytes(n) * m.div_ceil(tiles);
    let bands = tiles.div_ceil(kernels.band_tiles(tile_bytes));
    let sets = groups.div_ceil(kernels.tile_groups());
    let worth = (groups * product.group_bytes / TASK_WEIGHTS).max(1);
    let cuts = most_tasks(par).div_ceil(bands).min(sets).min(worth);
    par.par_for(bands * cuts, &|task, _| {
        let groups = groups_of(kernels, groups, part(sets, cuts, task % cuts));
        let tiles = part(tiles, bands, task / cuts);
        // SAFETY: the caller's contract is this one's; a task has a tile and a group together with no other,
        // and no task has more tiles than a band, since there are so many bands.
        unsafe {
            match path {
                Path::Slabs => kernels.tiles(shared.product(), groups, tiles),
                _ => kernels.stream(shared.product(), groups, tiles),
            }
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

/// A product that tasks share.
struct Shared(Product, SendPtr<f32>);

// SAFETY: tasks read what the product points to, and write disjoint parts of its output.
unsafe impl Sync for Shared {}

impl Shared {
    fn product(&self) -> Product {
        Product { out: self.1.get(), ..self.0 }
    }
}
