//! The instruction sets that bitquilt has code for, and what is computed with them.
//!
//! - [`Isa`] is the one list of them: their names, the features that each stands for, whether this machine has them, and in which
//!   order code for one serves where another was chosen. It is the only place that asks a processor what it can do.
//! - A [`Token`] is a value of a type for each set; that it exists is proof that the machine has the features. [`Token::vectorize`] runs
//!   code that is compiled with them.
//! - [`Simd`] are sixteen floats at a time, for each token that has them: [`AnySimd::run`] runs a [`Body`].
//! - Other crates extend tokens by traits of their own: [`instructions!`] writes methods whose bodies are instructions, [`dispatch!`] the
//!   choice of a token when a program runs.

#![allow(
    clippy::macro_metavars_in_unsafe,
    reason = "who uses `instructions!` writes `unsafe`, and why that is sound"
)]

mod detect;
mod dispatch;
mod isa;
mod lanes;
mod memory;
mod token;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

pub use detect::is_amd;
pub use isa::{Isa, IsaError};
pub use lanes::{Body, LANES, Simd};
pub use memory::{prefetch, prefetch_line, touch};
pub use scalar::Scalar;
pub use token::{Run, Token};

#[cfg(target_arch = "x86_64")]
pub use avx2::{Avx2, AvxVnni};
#[cfg(target_arch = "x86_64")]
pub use avx512::{Avx512, Avx512Bf16, Avx512Vnni};
#[cfg(target_arch = "aarch64")]
pub use neon::{Neon, NeonDotprod};

dispatch! {
    /// Sixteen floats at a time, of an instruction set that this machine has.
    pub enum AnySimd runs Body by std::convert::identity {
        Scalar(Scalar<false>),
        #[cfg(target_arch = "x86_64")]
        Avx2(Avx2),
        #[cfg(target_arch = "x86_64")]
        Avx512(Avx512),
        #[cfg(target_arch = "aarch64")]
        Neon(Neon),
        // Plain Rust that fuses multiplication and addition, as all but `Scalar` do.
        + #[cfg(feature = "testing")] Fused(Scalar<true>),
    }
}
