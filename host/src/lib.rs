//! A runtime for static tensor graphs whose weights may each be quantized in a different encoding.
//!
//! ```
//! use bitquilt::{Graph, InferenceSession, Tensor, TensorType};
//!
//! let session = InferenceSession::builder().build()?;
//! let mut graph = Graph::new(session.registry(), [TensorType::f32([32, 64])])?;
//! let weight = graph.quantize("q4_0", &Tensor::full([32, 64], 0.15f32))?; // [p, n]: transposed
//! let product = graph.qmatmul(graph.input(0), weight)?;
//! graph.output(product)?;
//!
//! let model = session.load(&graph)?;
//! let results = model.execute([("input0", &Tensor::full([32, 64], 0.5f32))])?;
//! assert!((results.get::<f32>("output0")?[0] - 4.8).abs() < 0.01);
//! # Ok::<(), bitquilt::Error>(())
//! ```
//!
//! # The way of the data
//!
//! | step | where |
//! |---|---|
//! | a checkpoint's bytes, mapped and validated, become named tensors | [`checkpoint`] |
//! | a program's, a library's or the built-in encodings, ops and kernels are registered | [`plugin`], [`registry`], [`plugin_api`] |
//! | tensors are encoded: [`RegisteredEncoding::quantize`](registry::RegisteredEncoding::quantize), [`Graph::quantize`] | `encoding/` |
//! | nodes are added to a [`Graph`], each type inferred and checked | `graph/` |
//! | [`InferenceSession::load`] orders, folds what is constant, prepares kernels, and lets go of what they took over | `compile/` |
//! | a [`State`] lays out its arena once for each binding of the symbols | `plan/` |
//! | [`State::run`] calls one kernel after the other; each borrows the host's threads | `run/` |
//!
//! The standard ops (`ops/`) are written against [`plugin_api`] like any plugin's. What a plugin author needs is there, and in no
//! other place.

pub mod checkpoint;
mod compile;
mod encoding;
mod error;
pub mod file;
mod graph;
pub mod interrupt;
mod lent;
mod memory;
mod model;
mod ops;
mod plan;
pub mod plugin;
pub mod quantize;
pub mod registry;
mod run;
mod session;
mod similar;
mod state;
mod tensor;
pub mod text;

pub use bitquilt_declared as declared;
pub use bitquilt_plugin_api as plugin_api;
pub use bitquilt_plugin_api::{
    Attribute, Attributes, Bindings, DType, Dim, Element, EncodingSpec, F8E4M3, F8E5M2, Importance, Plugin,
    Scalar, TensorType, TensorView, dim,
};
pub use bitquilt_simd::{Isa, IsaError};
pub use checkpoint::{CheckpointError, TensorDict};
pub use compile::{ExplainedNode, ExplainedOutput, Explanation, LoadError};
pub use encoding::{Indices, QuantizeError, QuantizeWarning, Quantized, RowLoss, SquaredError};
pub use error::Error;
pub use graph::{
    Attention, Cut, Graph, GraphError, GraphOutline, NodeBuilder, NodeProblem, OutlineNode, OutlineOutput,
    OutlinePort, Rope, RopePairing, Value,
};
pub use model::Model;
pub use plan::RunError;
pub use quantize::{NamePattern, PatternError};
pub use run::profile::{Profile, ProfiledNode, ProfiledOp};
pub use session::{GraphLoader, InferenceSession, SessionBuilder, SessionError};
pub use state::{OwnedResults, Results, State};
pub use tensor::{Tensor, TensorError};

/// The plugins that a session with this instruction set has.
fn builtin_plugins(isa: Isa) -> Vec<Plugin> {
    vec![ops::plugin(), bitquilt_ggml::plugin_for(isa), bitquilt_qmatmul::plugin()]
}

/// The README's examples are tests.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
struct Readme;
