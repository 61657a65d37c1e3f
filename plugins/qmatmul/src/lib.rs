//! Ops over quantized weights: `qmatmul`, a matrix product, and `qgather`, rows of a table.
//!
//! Both serve every registered encoding: the generic path (`generic.rs`) decodes a tile of the weight at a time and multiplies in f32.
//! Encodings with kernels of their own go through `fast.rs`, dense matrices that are constants through `dense.rs`; the kernels are
//! those of [`bitquilt_kernels`].

mod dense;
mod fast;
mod gather;
mod generic;
mod op;

use bitquilt_plugin_api::Plugin;

/// The plugin: the ops and their kernels, and kernels of the host's `matmul` for a constant matrix.
pub fn plugin() -> Plugin {
    let plugin = Plugin::new("qmatmul", env!("CARGO_PKG_VERSION"))
        .op(op::QMatmul)
        .kernel(generic::Generic)
        .simple_op(gather::QGather);
    let plugin = fast::providers().fold(plugin, Plugin::kernel);
    dense::providers().fold(plugin, Plugin::kernel)
}
