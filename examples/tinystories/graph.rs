//! The graph of a Llama model.
//!
//! It has three inputs: `tokens`, i32 `[seq]`; `positions`, i32 `[seq]`, where in the text they are; `rows`, i32 `[rows]`, after which of
//! them the logits are wanted. The output is `logits`, f32 `[rows, vocabulary]`. What attention looks back on is in states, two a layer. So one
//! loaded model serves a prompt of any length and one token at a time.

use std::sync::Arc;

use bitquilt::registry::Registry;
use bitquilt::{
    Attention, DType, Element, Error, Graph, Rope, RopePairing, Tensor, TensorDict, TensorType, Value, dim,
};

use super::config::{CLASSIFIER, Config, EMBEDDING, OUTPUT_NORM, ROPE_FACTORS, layer_weight};

/// The input of tokens.
pub const TOKENS: &str = "tokens";
/// The input of their positions.
pub const POSITIONS: &str = "positions";
/// The input that says after which tokens logits are wanted.
pub const ROWS: &str = "rows";
/// The output.
pub const LOGITS: &str = "logits";

/// What a graph is built for.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// Tokens that the caches have room for.
    pub context: usize,
    /// The dtype of the caches: f32 or f16.
    pub cache: DType,
    /// The `precision` of `qmatmul`: `fast` or `exact`.
    pub precision: String,
}

/// Builds the graph of a model. A weight that is encoded stays so; the encoding decides which kernel multiplies by it.
pub fn build(
    registry: &Arc<Registry>,
    config: &Config,
    weights: &TensorDict,
    options: &Options,
) -> Result<Graph, Error> {
    let mut graph = Graph::new(registry, [])?;
    let tokens = graph.add_input(TOKENS, TensorType::dense(DType::I32, [dim("seq")]))?;
    let positions = graph.add_input(POSITIONS, TensorType::dense(DType::I32, [dim("seq")]))?;
    let rows = graph.add_input(ROWS, TensorType::dense(DType::I32, [dim("rows")]))?;
    let factors = rope_factors(config, weights)?.map(|factors| graph.constant(&factors)).transpose()?;
    let embedding = constant(&mut graph, weights, EMBEDDING)?;
    let mut llama = Llama { graph, config, weights, options, positions, factors };

    let mut x = llama.look_up(embedding, tokens)?;
    for layer in 0..config.layers {
        let normed = llama.norm(x, &layer_weight(layer, "attn_norm"))?;
        let attended = llama.attention(layer, normed)?;
        x = llama.graph.add(x, attended)?;
        if layer + 1 == config.layers {
            // Every token has left its key and value for later ones: from here on only the wanted rows matter.
            x = llama.graph.gather(x, rows, 0)?;
        }
        let normed = llama.norm(x, &layer_weight(layer, "ffn_norm"))?;
        let fed = llama.feed_forward(layer, normed)?;
        x = llama.graph.add(x, fed)?;
    }
    let x = llama.norm(x, OUTPUT_NORM)?;
    // Many models have one matrix for the embedding and the classifier.
    let classifier = match weights.contains(CLASSIFIER) {
        true => constant(&mut llama.graph, weights, CLASSIFIER)?,
        false => embedding,
    };
    let logits = llama.multiply(x, classifier, "classifier")?;
    llama.graph.output_named(LOGITS, logits)?;
    Ok(llama.graph)
}

/// A graph being built.
struct Llama<'a> {
    graph: Graph,
    config: &'a Config,
    weights: &'a TensorDict,
    options: &'a Options,
    positions: Value,
    factors: Option<Value>,
}

impl Llama<'_> {
    /// Attention with grouped heads: several heads of the queries share one of the keys and values.
    fn attention(&mut self, layer: usize, x: Value) -> Result<Value, Error> {
        let &Config { heads, kv_heads, head, .. } = self.config;
        let queries = self.linear(x, &layer_weight(layer, "attn_q"))?;
        let keys = self.linear(x, &layer_weight(layer, "attn_k"))?;
        let values = self.linear(x, &layer_weight(layer, "attn_v"))?;

        let graph = &mut self.graph;
        let queries = graph.reshape(queries, [dim("seq"), dim(heads), dim(head)])?;
        let keys = graph.reshape(keys, [dim("seq"), dim(kv_heads), dim(head)])?;
        let values = graph.reshape(values, [dim("seq"), dim(kv_heads), dim(head)])?;
        let rope = Rope {
            pairing: RopePairing::Interleaved,
            theta: self.config.rope_theta,
            dims: Some(self.config.rope_dims),
            scale: self.config.rope_scale,
            factors: self.factors,
        };
        let queries = graph.rope(queries, self.positions, rope)?;
        let keys = graph.rope(keys, self.positions, rope)?;

        let cache = TensorType::dense(self.options.cache, [self.options.context, kv_heads, head]);
        let key_cache = graph.state(format!("keys.{layer}"), cache.clone())?;
        let value_cache = graph.state(format!("values.{layer}"), cache)?;
        let key_cache = graph.append(key_cache, keys, self.positions)?;
        let value_cache = graph.append(value_cache, values, self.positions)?;
        // YaRN multiplies queries and keys by its magnitude, and so their product by its square.
        let yarn = self.config.yarn.as_ref();
        let scale = yarn.map(|yarn| (yarn.magnitude().powi(2) / (head as f64).sqrt()) as f32);
        let causal =
            Attention { causal: true, positions: Some(self.positions), scale, ..Attention::default() };
        let attended = graph.attention(queries, key_cache, value_cache, causal)?;
        let attended = graph.reshape(attended, [dim("seq"), dim(self.config.query_width())])?;
        self.linear(attended, &layer_weight(layer, "attn_output"))
    }

    /// `down(silu(gate(x)) * up(x))`.
    fn feed_forward(&mut self, layer: usize, x: Value) -> Result<Value, Error> {
        let gate = self.linear(x, &layer_weight(layer, "ffn_gate"))?;
        let up = self.linear(x, &layer_weight(layer, "ffn_up"))?;
        let gate = self.graph.silu(gate)?;
        let hidden = self.graph.mul(gate, up)?;
        self.linear(hidden, &layer_weight(layer, "ffn_down"))
    }

    fn norm(&mut self, x: Value, weight: &str) -> Result<Value, Error> {
        let scales = self.graph.constant(self.weights.require(weight)?)?;
        Ok(self.graph.rms_norm(x, scales, self.config.eps)?)
    }

    /// `x` times the transpose of a weight.
    fn linear(&mut self, x: Value, weight: &str) -> Result<Value, Error> {
        let matrix = constant(&mut self.graph, self.weights, weight)?;
        self.multiply(x, matrix, weight)
    }

    fn multiply(&mut self, x: Value, matrix: Value, name: &str) -> Result<Value, Error> {
        let graph = &mut self.graph;
        if graph.tensor_type(matrix).encoding().is_none() {
            let transposed = graph.transpose(matrix, &[1, 0])?;
            return Ok(graph.node("matmul", [x, transposed]).named(name).value()?);
        }
        let precision = self.options.precision.as_str();
        Ok(graph.node("qmatmul", [x, matrix]).named(name).attribute("precision", precision).value()?)
    }

    /// The rows of a table.
    fn look_up(&mut self, table: Value, rows: Value) -> Result<Value, Error> {
        match self.graph.tensor_type(table).encoding() {
            Some(_) => Ok(self.graph.qgather(table, rows)?),
            None => Ok(self.graph.gather(table, rows, 0)?),
        }
    }
}

/// What the frequencies of the rotation are divided by, if they are: the file's factors, those of YaRN, or both.
fn rope_factors(config: &Config, weights: &TensorDict) -> Result<Option<Tensor>, Error> {
    let listed = weights.get(ROPE_FACTORS);
    let Some(yarn) = &config.yarn else { return Ok(listed.cloned()) };
    let mut factors = yarn.divisors(config.rope_dims, config.rope_theta);
    if let Some(listed) = listed {
        factors.iter_mut().zip(listed.values::<f32>()?).for_each(|(factor, listed)| *factor *= listed);
    }
    Ok(Some(Tensor::new([factors.len()], factors)?))
}

/// A weight as a constant. Matrices of f16 and bf16 become encoded: those are encodings, too.
fn constant(graph: &mut Graph, weights: &TensorDict, name: &str) -> Result<Value, Error> {
    let tensor = weights.require(name)?;
    match tensor.element() {
        Element::Dense(dtype @ (DType::F16 | DType::BF16)) => {
            let encoding = graph.registry().require_encoding(&dtype.to_string())?.spec().clone();
            Ok(graph.constant(&Tensor::from_encoded(&encoding, tensor.shape(), tensor.bytes())?)?)
        }
        _ => Ok(graph.constant(tensor)?),
    }
}
