//! A plugin that brings an encoding of its own and an op that decodes it.
//!
//! - [`Int3`], the encoding `acme.int3`: 3.5 bits a value.
//! - [`WeightedSum`], the op `acme.weighted_sum`: rows of an encoded table, each times a weight, summed. Recommender models and
//!   text classifiers call it an embedding bag.
//!
//! Ops that serve every encoding, such as `qmatmul`, take `acme.int3` as soon as this plugin is loaded. `kernel.rs` makes the products
//! quick: it says how a block unpacks, and the kernel kit has the rest.

mod int3;
mod kernel;
mod weighted_sum;

use bitquilt_plugin_api::{Plugin, export_plugin};
pub use int3::Int3;
pub use weighted_sum::WeightedSum;

/// What the library adds to a host.
pub fn plugin() -> Plugin {
    Plugin::new("acme-int3", env!("CARGO_PKG_VERSION"))
        .encoding(Int3)
        .kernels(bitquilt_kernels::qmatmul::<Int3>("acme.int3"))
        .simple_op(WeightedSum)
}

export_plugin!(plugin);

#[cfg(test)]
mod tests {
    #[test]
    fn every_promise_to_a_host_is_kept() {
        bitquilt_plugin_kit::assert_conforms(crate::plugin());
    }
}
