//! Which weights of a model are quantized, how, and a checkpoint made of another by it.
//!
//! # Recipes
//!
//! A [`Recipe`] says which weight gets which encoding. As a file:
//!
//! ```toml
//! # For weights whose rows are no multiple of an encoding's block; without it they are an error.
//! fallback = "q8_0"
//!
//! # The first rule whose glob matches a weight's name decides. Weights that no rule matches stay as the file has them.
//! [[rule]]
//! weights = "blk.*.ffn_down.weight"
//! encoding = "q6_k"
//!
//! [[rule]]
//! weights = "{token_embd,output}.weight"
//! encoding = "keep"
//!
//! [[rule]]
//! weights = "*"
//! encoding = "q4_0"
//! ```
//!
//! Rules are for [weights](is_weight): norms, biases and the like are small and stay. `keep` leaves a weight as it is, `f32` decodes it; every other
//! name is that of a registered encoding, a plugin's too.

pub mod compare;
mod pattern;
mod recipe;
mod rewrite;
mod summary;
mod weight;

pub use pattern::{NamePattern, PatternError};
pub use recipe::{Conversion, Plan, Recipe, RecipeError, Target};
pub use rewrite::{Event, Rewrite, RewriteError};
pub use summary::{Sizes, Summary};
pub use weight::{WEIGHTS, is_dense_weight, is_weight};
