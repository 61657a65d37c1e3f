//! A runtime for static tensor graphs whose weights may each be quantized in a different encoding.

mod encoding;
mod executor;
mod graph;
mod memory;
pub mod plugin;
mod tensor;

pub use bitquilt_plugin_api as plugin_api;
pub use bitquilt_plugin_api::{
    Attribute, Attributes, Bindings, DType, Dim, Element, EncodingSpec, Importance, Plugin, Scalar,
    TensorType, dim,
};
pub use encoding::QuantizeError;
pub use graph::{Graph, GraphError, NodeBuilder, NodeProblem, Value};
pub use tensor::{Tensor, TensorError};
