//! The standard ops: dense tensor arithmetic, shapes, attention, states, and decoding. A file an op or a family.
//!
//! They are written against the plugin interface alone and register like any plugin's.

mod append;
mod arithmetic;
mod attention;
mod cast;
mod check;
mod dequantize;
mod gather;
mod gemm;
mod greatest;
mod layer_norm;
mod math;
mod matmul;
mod norm;
mod parallel;
mod positions;
mod reduce;
mod reshape;
mod rms_norm;
mod rope;
mod slice;
mod softmax;
#[cfg(test)]
mod testing;
mod transpose;
mod unary;
mod vectorized;
mod walk;

use bitquilt_plugin_api::Plugin;

use arithmetic::Arithmetic;
use reduce::Reduce;
use unary::Unary;
use vectorized::Vectorized;

pub(crate) use cast::first_overflow;

/// The plugin `standard`.
pub(crate) fn plugin() -> Plugin {
    let mut plugin = Plugin::new("standard", env!("CARGO_PKG_VERSION"))
        .op(attention::AttentionOp)
        .kernel(attention::AttentionOp)
        .op(gather::Gather)
        .kernel(gather::Gather)
        .op(greatest::TopK)
        .kernel(greatest::TopK)
        .op(layer_norm::LayerNorm)
        .kernel(layer_norm::LayerNorm)
        .op(reshape::Reshape)
        .op(rms_norm::RmsNorm)
        .kernel(rms_norm::RmsNorm)
        .op(rope::RopeOp)
        .kernel(rope::RopeOp)
        .op(slice::Concat)
        .kernel(slice::Concat)
        .op(slice::Slice)
        .kernel(slice::Slice)
        .op(softmax::Softmax)
        .kernel(softmax::Softmax)
        .op(transpose::Transpose)
        .kernel(transpose::Transpose)
        .simple_op(dequantize::Dequantize);
    plugin = vectorized(plugin, append::Append);
    plugin = vectorized(plugin, cast::Cast);
    plugin = vectorized(plugin, greatest::Argmax);
    plugin = vectorized(plugin, matmul::Matmul);
    plugin = Arithmetic::ALL.into_iter().fold(plugin, vectorized);
    plugin = Unary::ALL.into_iter().fold(plugin, vectorized);
    for op in Reduce::ALL {
        plugin = plugin.op(op).kernel(op);
    }
    plugin
}

fn vectorized<O: Vectorized>(plugin: Plugin, op: O) -> Plugin {
    plugin.op(op).kernel(vectorized::Provider(op))
}

#[cfg(test)]
mod tests {
    use bitquilt_plugin_api::{Attributes, DType, TensorType};
    use bitquilt_plugin_kit::Conformance;

    #[test]
    fn every_promise_to_a_host_is_kept() {
        let ops = Conformance::of(super::plugin()).and_then(|ops| ops.beside(bitquilt_ggml::plugin()));
        let x = TensorType::f32([2, 3, 4, 8]);
        let pairing = |text: &str| Attributes::new().with("pairing", text);
        let positions = TensorType::dense(DType::I64, [0usize; 0]);
        ops.unwrap().example("rope", [x, positions], pairing("half")).assert();
    }
}
