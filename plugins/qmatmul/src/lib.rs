//! Ops over quantized weights: `qmatmul`, a matrix product, and `qgather`, rows of a table.
//!
//! Both serve every registered encoding: the generic path (`generic.rs`) decodes a tile of the weight at a time and multiplies in f32.
//! Encodings with kernels of their own go through them, dense matrices that are constants through `dense.rs`; all of these are made of the kernel
//! kit, [`bitquilt_kernels`].

mod dense;
mod gather;
mod generic;
mod op;

use bitquilt_kernels::EncodingKernels;
use bitquilt_plugin_api::Plugin;

/// The plugin: the ops and their kernels, and kernels of the host's `matmul` for a constant matrix.
pub fn plugin() -> Plugin {
    let plugin = Plugin::new("qmatmul", env!("CARGO_PKG_VERSION"))
        .op(op::QMatmul)
        .kernel(generic::Generic)
        .simple_op(gather::QGather);
    // f32 is no encoding: `dense.rs` uses its kernels.
    let encodings = bitquilt_kernels::all().filter(|kernels| kernels.encoding() != "f32");
    plugin.kernels(encodings.cloned().flat_map(EncodingKernels::providers)).kernels(dense::providers())
}
