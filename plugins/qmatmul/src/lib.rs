//! Ops over quantized weights: `qmatmul`, a matrix product, and `qgather`, rows of a table.
//!
//! Both serve every registered encoding: the generic path (`generic.rs`) decodes a tile of the weight at a time and multiplies in f32.
//! Encodings with kernels of their own ([`encodings`]) go through `fast.rs`: [`PackedWeight::pack`] prepares a weight for an
//! instruction set when a graph is loaded, [`ActivationFormat::store`] quantizes the activations once for all weights that take
//! them, [`PackedWeight::multiply`] multiplies.
//!
//! Whatever the path, an element of the product has one order of sums: its bits do not depend on the number of threads or on the
//! other rows of `x`.

mod activation;
mod arch;
mod dense;
mod drive;
mod f32_kernel;
mod fast;
mod gather;
mod generic;
mod kernels;
mod memory;
mod op;
mod pack;
mod par;
pub mod roofline;
mod unpack;
mod widen;

use bitquilt_plugin_api::Plugin;

pub use activation::ActivationFormat;
pub use bitquilt_simd::{Isa, IsaError};
pub use kernels::{KernelError, activations, block, encodings, row_step, serving};
pub use pack::PackedWeight;
pub use par::{Par, Serial};

/// The plugin: the ops and their kernels, and kernels of the host's `matmul` for a constant matrix.
pub fn plugin() -> Plugin {
    let plugin = Plugin::new("qmatmul", env!("CARGO_PKG_VERSION"))
        .op(op::QMatmul)
        .kernel(generic::Generic)
        .simple_op(gather::QGather);
    let plugin = fast::providers().fold(plugin, Plugin::kernel);
    dense::providers().fold(plugin, Plugin::kernel)
}
