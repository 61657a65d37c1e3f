//! Splitting the work of a kernel.

use bitquilt_plugin_api::{Executor, WorkerScratch};

/// The work of one task, in values copied: less than that is not worth another thread.
pub(super) const TASK_WORK: usize = 16 * 1024;

/// Calls `body(first, piece)` for pieces that cover `output`, in parallel if there is enough work for more than one.
///
/// A piece is a whole number of units of `unit` values, and begins at value `first`. A value costs as much as copying `cost`.
pub(super) fn for_each_piece<T: Send>(
    executor: Executor<'_>,
    output: &mut [T],
    unit: usize,
    cost: usize,
    body: impl Fn(usize, &mut [T]) + Sync,
) {
    let piece = piece_len(unit, cost);
    executor.par_chunks_mut(output, piece, WorkerScratch::none(), |index, values, _| {
        body(index * piece, values);
    });
}

/// The values of a task: a whole number of units, at least one.
pub(super) fn piece_len(unit: usize, cost: usize) -> usize {
    let unit = unit.max(1);
    TASK_WORK.div_ceil(unit.saturating_mul(cost.max(1))) * unit
}
