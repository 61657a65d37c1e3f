//! A runtime for static tensor graphs whose weights may each be quantized in a different encoding.

pub mod checkpoint;
mod compile;
mod encoding;
mod error;
mod executor;
mod graph;
mod memory;
mod ops;
pub mod plugin;
mod run;
mod session;
mod state;
mod tensor;

pub use bitquilt_plugin_api as plugin_api;
pub use bitquilt_plugin_api::{
    Attribute, Attributes, Bindings, DType, Dim, Element, EncodingSpec, Importance, Plugin, Scalar,
    TensorType, TensorView, dim,
};
pub use checkpoint::{CheckpointError, TensorDict};
pub use compile::{ExplainedNode, ExplainedOutput, Explanation, LoadError};
pub use encoding::QuantizeError;
pub use error::Error;
pub use graph::{Graph, GraphError, NodeBuilder, NodeProblem, Value};
pub use session::{InferenceSession, Model, RunError, SessionBuilder, SessionError};
pub use state::{OwnedResults, Results, State};
pub use tensor::{Tensor, TensorError};

/// The plugins that every session has.
fn builtin_plugins() -> Vec<Plugin> {
    vec![ops::plugin(), bitquilt_ggml::plugin(), bitquilt_qmatmul::plugin()]
}
