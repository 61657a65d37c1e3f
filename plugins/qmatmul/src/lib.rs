//! Ops over quantized weights: `qmatmul`, a matrix product, and `qgather`, rows of a table.
//!
//! Both serve every registered encoding: the generic path decodes a tile of the weight at a time and multiplies in f32, with one
//! order of sums whatever the number of threads or of rows of `x`.

mod f32_kernel;
mod gather;
mod generic;
mod op;

use bitquilt_plugin_api::Plugin;

/// The plugin: the ops and their kernels.
pub fn plugin() -> Plugin {
    Plugin::new("qmatmul", env!("CARGO_PKG_VERSION"))
        .op(op::QMatmul)
        .kernel(generic::Generic)
        .simple_op(gather::QGather)
}
