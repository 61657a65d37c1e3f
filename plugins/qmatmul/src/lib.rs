//! Ops over quantized weights: `qmatmul`, a matrix product, and `qgather`, rows of a table.
//!
//! Both serve every registered encoding. What multiplies is made of the kernel kit, [`bitquilt_kernels`], and of nothing that others
//! cannot use:
//!
//! | weights | where |
//! |---|---|
//! | of the GGML encodings | `formats/`, a file and a line each |
//! | of declared encodings | `declared/` |
//! | of encodings that unpack their blocks into codes, scales and minima | `unpacked.rs` |
//! | dense constants | `dense.rs` |
//! | of other encodings, decoded once when a graph is loaded | `decode.rs` |
//! | of other encodings, a tile of the weight decoded at a time | `generic.rs` |

mod declared;
mod decode;
mod dense;
mod described;
mod formats;
mod gather;
mod generic;
mod matrix;
mod op;
mod tiling;
mod unpacked;

use bitquilt_kernels::EncodingKernels;
use bitquilt_plugin_api::Plugin;

pub use declared::declared;
pub use described::DescribedProvider;
pub use formats::{activations, all, block, encodings, named, row_step, serving};

/// The plugin: the ops and their kernels, and kernels of the host's `matmul` for a constant matrix.
pub fn plugin() -> Plugin {
    let plugin = Plugin::new("qmatmul", env!("CARGO_PKG_VERSION"))
        .op(op::QMatmul)
        .kernel(generic::Generic)
        .kernel(decode::DecodeOnce)
        .simple_op(gather::QGather);
    plugin
        .kernels(all().cloned().flat_map(EncodingKernels::providers))
        .kernels(dense::providers())
        .kernels(DescribedProvider::all())
}
