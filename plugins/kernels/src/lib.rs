//! The kernel kit: what fast products with quantized weights are made of.
//!
//! A kernel is an encoding times an instruction set. An encoding says how the fields of its blocks become codes, scales and minima
//! (`Unpack`, a file each in `formats/`; `Widen` where its values are floats), an instruction set how codes are multiplied with
//! activations ([`DotIsa`], a file each in `arch/`); the drivers in `drive/` are written once for all of them.
//!
//! What an op needs of it:
//!
//! | step | what |
//! |---|---|
//! | which kernels there are | [`encodings`], [`block`], [`row_step`], [`serving`] |
//! | when a graph is loaded, a weight is prepared for an instruction set | [`PackedWeight::pack`] |
//! | activations are quantized once for all weights that take them | [`activations`], [`ActivationFormat::store`] |
//! | a product | [`PackedWeight::multiply`] |
//! | a product of what has no kernels here, once it is decoded | [`F32Kernel`] |
//! | the caller's threads | [`Par`] |
//!
//! An element of a product has one order of sums: its bits do not depend on the number of threads, on the other rows of `x`, or on
//! which rows of the weight are beside its own.

mod activation;
mod arch;
mod drive;
mod error;
mod f32_kernel;
mod form;
mod formats;
mod kernels;
mod pack;
mod par;
mod provider;
mod unpack;
mod widen;

pub use activation::ActivationFormat;
pub use arch::{AnyDot, Body, CodeSource, DotIsa, MAX_LANES, OwnKernels, STEP};
pub use bitquilt_simd::{Isa, IsaError};
pub use error::KernelError;
pub use f32_kernel::F32Kernel;
pub use form::{
    BlockForm, Form, IntegerForm, MAX_STRIPS, STRIP_CODES, STRIP_LEN, ScaledForm, StripForm, WholeForm,
};
pub use formats::{activations, all, block, encodings, named, row_step, serving};
pub use kernels::EncodingKernels;
pub use pack::PackedWeight;
pub use par::{Par, Serial};
pub use provider::{Lent, Precision, Provider, QMATMUL, may_serve, prepared, priority, qmatmul};
pub use unpack::{Header, Strip, Unpack, fields};
