//! `matmul` with a constant matrix: the dense op of the host, with its second operand prepared once.

use bitquilt_plugin_api::{
    DType, Error, Executor, KernelKey, KernelProvider, NodeView, PrepareContext, Prepared, Result, Selector,
    Support, TensorType, WorkerScratch, bytemuck,
};

use crate::formats::{named, row_step, serving};
use bitquilt_kernels::{Isa, Lent, PackedWeight, may_serve, prepared, priority};

/// The kernels' name for single precision.
const F32: &str = "f32";

/// A provider for each instruction set but the plainest, which the host's own kernel outdoes.
pub(crate) fn providers() -> impl Iterator<Item = ConstantMatrix> {
    let fast = |isa: &Isa| *isa != Isa::Scalar && serving(F32, *isa) == *isa;
    Isa::ALL.into_iter().filter(fast).map(ConstantMatrix)
}

/// Serves `matmul(x, y)` on one instruction set where `y` is a constant `[k, n]`.
pub(crate) struct ConstantMatrix(Isa);

/// The extents of a matrix of f32, if that is what it is.
fn matrix(tensor: &TensorType) -> Option<[usize; 2]> {
    match (&tensor.shape[..], tensor.dtype()) {
        ([rows, columns], Some(DType::F32)) => Some([rows.fixed()?, columns.fixed()?]),
        _ => None,
    }
}

impl KernelProvider for ConstantMatrix {
    fn key(&self) -> KernelKey {
        KernelKey::new("matmul", Selector::Dense, self.0.name()).priority(priority(self.0))
    }

    fn supports(&self, node: &NodeView<'_>) -> Support {
        if let Support::No(reason) = may_serve(node, self.0) {
            return Support::No(reason);
        }
        if !node.is_constant(1) {
            return Support::no("`y` is not a constant");
        }
        match (matrix(&node.inputs()[1]), row_step(F32)) {
            (None, _) => Support::no("`y` is not one matrix"),
            (Some([k, n]), _) if k == 0 || n == 0 => Support::no("`y` is empty"),
            (Some([k, _]), Some(step)) if !k.is_multiple_of(step) => {
                Support::no(format!("columns of {k} values are no multiple of {step}"))
            }
            _ => Support::Yes,
        }
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let constant = cx.constant(1).ok_or_else(|| Error::failed("`y` is not a constant"))?;
        let [k, n] = matrix(&cx.inputs()[1]).ok_or_else(|| Error::failed("`y` is not one matrix"))?;
        let rows = transposed(constant.values()?, k, n, cx.executor());
        let (bytes, par) = (bytemuck::cast_slice(&rows), Lent(cx.executor()));
        let kernels = named(F32).map_err(Error::failed)?;
        let packed = PackedWeight::pack(kernels, self.0, k, n, bytes, &par, |bytes| cx.memory(bytes));
        Ok(prepared(packed.map_err(Error::failed)?, self.0))
    }
}

/// The transpose of `values`, a matrix `[k, n]`.
fn transposed(values: &[f32], k: usize, n: usize, executor: Executor<'_>) -> Vec<f32> {
    /// Rows and columns that are copied at a time, so that both are in a cache.
    const BLOCK: usize = 32;
    let mut rows = vec![0.0; values.len()];
    executor.par_chunks_mut(&mut rows, BLOCK * k, WorkerScratch::none(), |task, rows, _| {
        for first in (0..k).step_by(BLOCK) {
            for (column, row) in (task * BLOCK..).zip(rows.chunks_exact_mut(k)) {
                for i in first..k.min(first + BLOCK) {
                    row[i] = values[i * n + column];
                }
            }
        }
    });
    rows
}
