//! Products with a weight that stays as it is encoded: each task prepares some row groups at a time in its worker's memory, and multiplies
//! them with all columns before it goes on to the next. What is multiplied and summed is what it would be of a prepared weight.

use std::ops::Range;

use bitquilt_plugin_api::{Tiles, WorkerScratch};

use super::{Kernels, Part, Path, Product, most_tasks, path};
use crate::par::{Par, part};

/// Bytes that each worker needs for rows of `n` values.
pub(crate) fn scratch_bytes(kernels: &dyn Kernels, n: usize) -> usize {
    kernels.tile_groups().saturating_mul(kernels.group_bytes(n))
}

/// Computes a product with encoded rows; what `product` says of a prepared weight is not read. A worker has
/// [`scratch_bytes`].
pub(crate) fn multiply(
    kernels: &dyn Kernels,
    product: Product<'_>,
    encoded: &[u8],
    scratch: &WorkerScratch<'_>,
    out: &mut [f32],
    par: &dyn Par,
) {
    let Product { m, p, .. } = product;
    if m == 0 || p == 0 {
        return;
    }
    let path = path(kernels, m);
    // One column is multiplied with one group after the other.
    let of_set = if path == Path::Gemv { 1 } else { kernels.tile_groups() };
    let groups = p.div_ceil(kernels.lanes());
    let sets = groups.div_ceil(of_set);
    let tasks = sets.min(most_tasks(par));
    let out = Tiles::new(out, p);
    par.par_for(tasks, &move |task, worker| {
        // SAFETY: tasks of one worker run one after the other.
        let memory = unsafe { scratch.worker(worker) };
        for set in part(sets, tasks, task) {
            let groups = set * of_set..groups.min((set + 1) * of_set);
            let rows = groups.start * kernels.lanes()..p.min(groups.end * kernels.lanes());
            prepare(kernels, product, encoded, rows.clone(), memory);
            let product = Product { weight: memory, first_group: groups.start, ..product };
            for tiles in bands(kernels, &product) {
                // SAFETY: a set is in one task, a task runs once, and its bands are multiplied one after the other.
                let out = unsafe { out.tile(product.columns(&tiles), rows.clone()) };
                let part = Part { product, groups: groups.clone(), tiles, out };
                match path {
                    Path::Slabs => kernels.tiles(part),
                    _ => kernels.stream(part),
                }
            }
        }
    });
}

/// Prepares the row groups of some rows.
fn prepare(
    kernels: &dyn Kernels,
    product: Product<'_>,
    encoded: &[u8],
    rows: Range<usize>,
    memory: &mut [u8],
) {
    let row_bytes = encoded.len() / product.p;
    let encoded = &encoded[rows.start * row_bytes..rows.end * row_bytes];
    let groups = memory.chunks_exact_mut(product.group_bytes);
    for (rows, group) in encoded.chunks(kernels.lanes() * row_bytes).zip(groups) {
        group.fill(0);
        kernels.pack_group(product.n, rows, group);
    }
}

/// The tiles of columns, as many at a time as a call of the kernels should take.
fn bands(kernels: &dyn Kernels, product: &Product<'_>) -> impl Iterator<Item = Range<usize>> + use<> {
    let tiles = product.tiles;
    let bands = tiles.div_ceil(kernels.band_tiles(product.tile_bytes()));
    (0..bands).map(move |band| part(tiles, bands, band))
}
