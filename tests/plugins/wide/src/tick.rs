//! An op with an effect.

use std::sync::atomic::{AtomicI64, Ordering};

use bitquilt_plugin_api::{
    DType, InferContext, Kernel, Op, OpSignature, OutputType, Result, RunContext, TensorType,
};

/// `wide.tick()`: counts its runs. A token, and the number of runs of all such nodes before it, i64 `[]`.
#[derive(Default)]
pub struct Tick(AtomicI64);

impl Op for Tick {
    fn signature(&self) -> OpSignature {
        OpSignature::new("wide.tick").optional("label", "").effect("wide.ticks").summary("counts its runs")
    }

    fn infer(&self, _: &InferContext<'_>) -> Result<Vec<OutputType>> {
        Ok(vec![OutputType::token(), TensorType::dense(DType::I64, [0usize; 0]).into()])
    }
}

impl Kernel for Tick {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        cx.output(1)?.into_values::<i64>()?[0] = self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}
