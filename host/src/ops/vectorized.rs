//! Ops of which an instruction set is all that is chosen when they are prepared.

use bitquilt_plugin_api::{
    Kernel, KernelKey, KernelProvider, Op, Plugin, PrepareContext, Prepared, Result, RunContext, Selector,
};

use super::check::chosen_simd;
use bitquilt_simd::AnySimd;

/// An op that is computed with an instruction set.
pub(super) trait Vectorized: Op + Copy {
    /// Computes the outputs.
    fn compute(self, simd: AnySimd, cx: &mut RunContext<'_>) -> Result<()>;
}

/// Registers an op that is computed with the session's instruction set.
pub(super) fn register<O: Vectorized>(plugin: Plugin, op: O) -> Plugin {
    plugin.op(op).kernel(Provider(op))
}

/// Serves an op with the session's instruction set.
struct Provider<O>(O);

impl<O: Vectorized> KernelProvider for Provider<O> {
    fn key(&self) -> KernelKey {
        KernelKey::new(self.0.signature().name, Selector::Dense, "plain")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let simd = chosen_simd(cx)?;
        Ok(Prepared::new(VectorizedKernel { op: self.0, simd }).note(simd.isa().name()))
    }
}

struct VectorizedKernel<O> {
    op: O,
    simd: AnySimd,
}

impl<O: Vectorized> Kernel for VectorizedKernel<O> {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        self.op.compute(self.simd, cx)
    }
}
