//! The standard ops: dense tensor arithmetic, shapes, attention, states, and decoding. A file an op or a family.
//!
//! They are written against the plugin interface alone and register like any plugin's.

mod check;
mod gemm;
mod math;
mod norm;
mod parallel;
mod positions;
#[cfg(test)]
mod testing;
mod vectorized;
mod walk;

use bitquilt_plugin_api::Plugin;

pub(crate) use cast::first_overflow;
pub(crate) use check::axis_index;

/// Takes in the files of ops, and registers what each has.
macro_rules! ops {
    ($($file:ident),* $(,)?) => {
        $(mod $file;)*

        /// The plugin `standard`.
        pub(crate) fn plugin() -> Plugin {
            let plugin = Plugin::new("standard", env!("CARGO_PKG_VERSION"));
            $(let plugin = $file::register(plugin);)*
            plugin
        }
    };
}

ops! {
    append, arithmetic, attention, cast, dequantize, gather, greatest, layer_norm, matmul, reduce, reshape, rms_norm, rope, slice, softmax,
    transpose, unary,
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
