//! Matrix products with quantized weights: the kernels.
//!
//! [`PackedWeight::pack`] prepares a weight for an instruction set, [`ActivationFormat::store`] quantizes the
//! activations, [`PackedWeight::multiply`] multiplies. Which encodings have kernels is [`encodings`].

mod activation;
mod arch;
mod drive;
mod kernels;
mod memory;
mod pack;
mod par;
mod unpack;
mod widen;

pub use activation::ActivationFormat;
pub use arch::Isa;
pub use kernels::{KernelError, activations, block, encodings};
pub use pack::PackedWeight;
pub use par::{Par, Serial};
