//! The kernel kit: fast products with weights of an encoding of your own.
//!
//! A kernel is an encoding times an instruction set. An encoding says how its blocks become codes, scales and minima ([`Unpack`]), an
//! instruction set how codes are multiplied with activations ([`DotIsa`], a file each in `arch/`); the drivers in `drive/` are written
//! once for all of them. The built-in encodings use nothing else. For blocks of an f16 scale and 32 codes of 4 bits, two a byte:
//!
//! ```
//! use bitquilt_kernels::fields::{FieldReader, FieldWriter, words};
//! use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};
//! use bitquilt_plugin_api::half::f16;
//!
//! #[derive(Clone, Copy, Default)]
//! struct Int4;
//!
//! impl Unpack for Int4 {
//!     // Strips of 32 values with one scale, no minimum, and codes of 4 bits.
//!     type Form = StripForm<1, 0, 4>;
//!     const STRIP_BYTES: usize = 18;
//!
//!     fn block(&self) -> (usize, usize) {
//!         (32, 18)
//!     }
//!
//!     // A value is `(code - 8) * scale`.
//!     fn offset(&self) -> i32 {
//!         8
//!     }
//!
//!     // Runs once for each block, when a graph is loaded.
//!     fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
//!         let codes: Vec<[u8; 2]> = block[2..].iter().map(|byte| [byte & 15, byte >> 4]).collect();
//!         record.half(f16::from_le_bytes([block[0], block[1]]));
//!         record.nibbles(words(codes.as_flattened()));
//!     }
//!
//!     // Reads what `pack` wrote, for as many rows as a register has lanes. Loops alone: the body of a closure that is handed to a
//!     // function, such as `map` of an array, is not compiled for the instruction set.
//!     #[inline(always)]
//!     fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _: &Header<I>) -> Strip<I> {
//!         let scale = fields.half();
//!         Strip::scaled(fields.isa, fields.nibbles(), scale)
//!     }
//! }
//!
//! let plugin = bitquilt_plugin_api::Plugin::new("my", "1.0.0").kernels(bitquilt_kernels::qmatmul::<Int4>("my.int4"));
//! ```
//!
//! [`qmatmul`] makes providers of that op for every instruction set, from one row of `x` to many. Where `precision` is `exact` they
//! leave the node to the kernel that decodes.
//!
//! What an op of one's own needs of the kit:
//!
//! | step | what |
//! |---|---|
//! | the kernels of an encoding | [`EncodingKernels`] |
//! | when a graph is loaded, a weight is prepared for an instruction set | [`PackedWeight::pack`] |
//! | activations are quantized once for all weights that take them | [`EncodingKernels::activations`], [`ActivationFormat::store`] |
//! | a product | [`PackedWeight::multiply`] |
//! | the same of a weight that stays as it is encoded | [`CompactWeight`] |
//! | a product of what has no kernels, once it is decoded | [`F32Kernel`] |
//! | the caller's threads | [`Par`] |
//!
//! An element of a product has one order of sums: its bits do not depend on the number of threads, on the other rows of `x`, or on
//! which rows of the weight are beside its own.

mod activation;
mod arch;
mod choice;
mod compact;
mod decoded;
mod drive;
mod error;
mod f32_kernel;
mod form;
mod kernels;
mod pack;
mod par;
mod provider;
mod unpack;
mod widen;

pub use activation::ActivationFormat;
pub use arch::{AnyDot, Body, CodeSource, DotIsa, MAX_LANES, OwnKernels, STEP};
pub use bitquilt_simd::{Isa, IsaError};
pub use choice::{Preparation, chosen};
pub use compact::CompactWeight;
pub use error::KernelError;
pub use f32_kernel::F32Kernel;
pub use form::{
    BlockForm, Form, IntegerForm, MAX_STRIPS, STRIP_CODES, STRIP_LEN, ScaledForm, StripForm, WholeForm,
};
pub use kernels::EncodingKernels;
pub use pack::{PackedWeight, RowSource};
pub use par::{Par, Serial};
pub use provider::{Lent, Precision, Provider, QMATMUL, may_serve, prepared, priority, qmatmul, supports};
pub use unpack::{Header, Strip, Unpack, fields};
