//! The instruction sets that bitquilt has code for.
//!
//! [`Isa`] is the one list of them: their names, the features that each stands for, whether this machine has them, and in which order
//! code for one serves where another was chosen. It is the only place that asks a processor what it can do.

mod detect;
mod isa;

pub use detect::is_amd;
pub use isa::{Isa, IsaError};
