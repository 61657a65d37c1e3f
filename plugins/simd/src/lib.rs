//! The instruction sets that bitquilt has code for, and what is computed with them.
//!
//! - [`Isa`] is the one list of them: their names, the features that each stands for, whether this machine has them, and in which
//!   order code for one serves where another was chosen. It is the only place that asks a processor what it can do.
//! - A [`Token`] is a value of a type for each set; that it exists is proof that the machine has the features. [`Token::vectorize`] runs
//!   code that is compiled with them.
//! - [`Simd`] are sixteen floats at a time, for each token that has them: [`AnySimd::run`] runs a [`Body`].
//! - Other crates extend tokens by traits of their own: [`instructions!`] writes methods whose bodies are instructions, [`dispatch!`] takes
//!   in a file for each set and writes the choice of a token when a program runs.

#![allow(
    clippy::macro_metavars_in_unsafe,
    reason = "who uses `instructions!` writes `unsafe`, and why that is sound"
)]

mod detect;
mod dispatch;
mod isa;
mod lanes;
mod memory;
mod scalar;
mod sets;
mod token;

pub use detect::is_amd;
pub use isa::{Isa, IsaError};
pub use lanes::{Body, LANES, Simd};
pub use memory::{prefetch, prefetch_line, touch};
pub use scalar::Scalar;
pub use token::*;

dispatch! {
    /// Sixteen floats at a time, of an instruction set that this machine has.
    pub enum AnySimd runs Body by std::convert::identity {
        avx2 on "x86_64": Avx2;
        avx512 on "x86_64": Avx512;
        neon on "aarch64": Neon;
        // Plain Rust that fuses multiplication and addition, as all but `Scalar` do.
        + #[cfg(feature = "testing")] Fused(Scalar<true>);
    }
}
