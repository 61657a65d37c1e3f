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
//! Rules are for [weights](is_weight): norms, biases and the like are small and stay, and so do the weights that a list `exclude` of globs
//! matches. `keep` leaves a weight as it is; `f32`, `f16` and `bf16` decode or cast it; every other name is that of a registered encoding,
//! a plugin's too.
//!
//! # Importance
//!
//! Errors do not cost alike in all columns of a weight: an [`ImportanceMatrix`](importance::ImportanceMatrix), which is recorded in runs, says
//! how much each matters.
//!
//! # Files
//!
//! A [`Rewrite`] makes a checkpoint of another, tensor by tensor, so that memory is bounded by the largest of them:
//!
//! ```
//! use bitquilt::quantize::{Recipe, Rewrite};
//! use bitquilt::{InferenceSession, Tensor, TensorDict, checkpoint};
//!
//! # let directory = tempfile::tempdir()?;
//! # let (input, output) = (directory.path().join("in.safetensors"), directory.path().join("out.gguf"));
//! let mut model = TensorDict::new();
//! model.insert("up", Tensor::full([4, 64], 0.5f32));
//! model.insert("norm", Tensor::full([64], 1f32));
//! checkpoint::save(&model, &input)?;
//!
//! let session = InferenceSession::builder().build()?;
//! let rewrite = Rewrite::open(&input, &output)?;
//! let plan = Recipe::uniform("q8_0", None)?.plan(&rewrite.types(), session.registry())?;
//! let report = rewrite.quantize(&plan, session.registry(), &TensorDict::new(), &mut |_event| {})?;
//! assert_eq!(report.weights[0].to.to_string(), "q8_0");
//! assert!(report.weights[0].error.relative_rms() < 0.01);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod allocation;
pub mod compare;
pub mod importance;
mod importance_use;
mod pattern;
mod plan;
mod recipe;
mod recorder;
mod report;
mod rewrite;
mod summary;
mod weight;

pub use importance_use::PlanImportance;
pub use pattern::{NamePattern, PatternError};
pub use plan::{Conversion, Plan};
pub use recipe::{Recipe, RecipeError, Target};
pub use recorder::ImportanceRecorder;
pub use report::{Report, WeightReport};
pub use rewrite::{Event, Rewrite, RewriteError};
pub use summary::{Sizes, Summary};
pub use weight::{WEIGHTS, is_dense_weight, is_weight};
