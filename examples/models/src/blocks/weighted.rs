//! A graph that is being built from named weights.

use std::sync::Arc;

use bitquilt::registry::Registry;
use bitquilt::{Error, Graph, TensorDict, Value, dim};

/// The input of tokens.
pub const TOKENS: &str = "tokens";
/// The input of their positions.
pub const POSITIONS: &str = "positions";

/// A graph that is being built, and the weights that its constants are taken from, with their names. A weight that is encoded stays so; the encoding
/// decides which kernel multiplies by it.
pub struct WeightedGraph<'a> {
    /// The graph.
    pub graph: Graph,
    weights: &'a TensorDict,
    /// The `precision` of `qmatmul`.
    precision: &'a str,
}

impl<'a> WeightedGraph<'a> {
    /// An empty graph; `precision` is `qmatmul`'s attribute: `fast` or `exact`.
    pub fn new(registry: &Arc<Registry>, weights: &'a TensorDict, precision: &'a str) -> Result<Self, Error> {
        Ok(Self { graph: Graph::new(registry, [])?, weights, precision })
    }

    /// A weight as it is.
    pub fn constant(&mut self, name: &str) -> Result<Value, Error> {
        Ok(self.graph.constant_named(name, self.weights.require(name)?)?)
    }

    /// A matrix. One whose dtype is an encoding, too, is taken as encoded.
    pub fn matrix(&mut self, name: &str) -> Result<Value, Error> {
        let tensor = self.graph.registry().as_encoded(self.weights.require(name)?);
        Ok(self.graph.constant_named(name, &tensor)?)
    }

    /// `x` times the transpose of the matrix `weight`.
    pub fn linear(&mut self, x: Value, weight: &str) -> Result<Value, Error> {
        let matrix = self.matrix(weight)?;
        self.product(x, matrix, weight)
    }

    /// `x` times the transpose of the matrix `NAME.weight`, and the vector `NAME.bias`.
    pub fn linear_with_bias(&mut self, x: Value, name: &str) -> Result<Value, Error> {
        let product = self.linear(x, &format!("{name}.weight"))?;
        let bias = self.constant(&format!("{name}.bias"))?;
        Ok(self.graph.add(product, bias)?)
    }

    /// `x` times the transpose of a matrix; `name` is the node's.
    pub fn product(&mut self, x: Value, matrix: Value, name: &str) -> Result<Value, Error> {
        let graph = &mut self.graph;
        if graph.tensor_type(matrix).encoding().is_none() {
            let transposed = graph.transpose(matrix, &[1, 0])?;
            return Ok(graph.node("matmul", [x, transposed]).named(name).value()?);
        }
        Ok(graph.node("qmatmul", [x, matrix]).named(name).attribute("precision", self.precision).value()?)
    }

    /// The rows of a table.
    pub fn look_up(&mut self, table: Value, rows: Value) -> Result<Value, Error> {
        match self.graph.tensor_type(table).encoding() {
            Some(_) => Ok(self.graph.qgather(table, rows)?),
            None => Ok(self.graph.gather(table, rows, 0)?),
        }
    }

    /// Each row divided by its root mean square, times the vector `weight`.
    pub fn rms_norm(&mut self, x: Value, weight: &str, eps: f32) -> Result<Value, Error> {
        let weight = self.constant(weight)?;
        Ok(self.graph.rms_norm(x, weight, eps)?)
    }

    /// Each row with the mean 0 and the variance 1, times the vector `NAME.weight`, and `NAME.bias`.
    pub fn layer_norm(&mut self, x: Value, name: &str, eps: f32) -> Result<Value, Error> {
        let weight = self.constant(&format!("{name}.weight"))?;
        let bias = self.constant(&format!("{name}.bias"))?;
        Ok(self.graph.layer_norm(x, weight, Some(bias), eps)?)
    }

    /// `[seq, heads * head]` as `[seq, heads, head]`.
    pub fn split_heads(&mut self, x: Value, heads: usize, head: usize) -> Result<Value, Error> {
        Ok(self.graph.reshape(x, [dim("seq"), dim(heads), dim(head)])?)
    }

    /// `[seq, heads, head]` as `[seq, width]`.
    pub fn join_heads(&mut self, x: Value, width: usize) -> Result<Value, Error> {
        Ok(self.graph.reshape(x, [dim("seq"), dim(width)])?)
    }
}
