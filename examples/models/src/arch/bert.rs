//! The graph of a BERT sentence encoder: Devlin et al., "BERT", 2019, then the mean over the tokens, of length 1 (Reimers and
//! Gurevych, "Sentence-BERT", 2019).
//!
//! The inputs are `tokens` and `positions`, i32 `[seq]`; the output is `embedding`, f32 `[width]`.

use std::sync::Arc;

use bitquilt::registry::Registry;
use bitquilt::{Attention, DType, Error, Graph, Tensor, TensorDict, TensorType, Value, dim};

use crate::blocks::weighted::{POSITIONS, TOKENS, WeightedGraph};
use crate::sentence::config::EncoderConfig;

/// The output.
pub const EMBEDDING: &str = "embedding";

const WORDS: &str = "embeddings.word_embeddings.weight";
const PLACES: &str = "embeddings.position_embeddings.weight";
const TYPES: &str = "embeddings.token_type_embeddings.weight";

/// The parts of a layer that are a matrix and a bias, with the rows and columns of the matrix, by Hugging Face's names.
fn linears(config: &EncoderConfig) -> [(&'static str, usize, usize); 6] {
    let (width, hidden) = (config.hidden_size, config.intermediate_size);
    [
        ("attention.self.query", width, width),
        ("attention.self.key", width, width),
        ("attention.self.value", width, width),
        ("attention.output.dense", width, width),
        ("intermediate.dense", hidden, width),
        ("output.dense", width, hidden),
    ]
}

/// Name and shape of every weight.
pub fn weights(config: &EncoderConfig) -> Vec<(String, Vec<usize>)> {
    let width = config.hidden_size;
    let mut weights = vec![
        (WORDS.to_owned(), vec![config.vocab_size, width]),
        (PLACES.to_owned(), vec![config.max_position_embeddings, width]),
        (TYPES.to_owned(), vec![2, width]),
    ];
    let mut norms = vec!["embeddings.LayerNorm".to_owned()];
    for layer in 0..config.num_hidden_layers {
        for (part, rows, columns) in linears(config) {
            weights.push((format!("encoder.layer.{layer}.{part}.weight"), vec![rows, columns]));
            weights.push((format!("encoder.layer.{layer}.{part}.bias"), vec![rows]));
        }
        let names = ["attention.output.LayerNorm", "output.LayerNorm"];
        norms.extend(names.map(|name| format!("encoder.layer.{layer}.{name}")));
    }
    for norm in norms {
        weights.extend(["weight", "bias"].map(|part| (format!("{norm}.{part}"), vec![width])));
    }
    weights
}

/// Builds the graph. A weight that is encoded stays so; f32 matrices are multiplied in full precision.
pub fn build(registry: &Arc<Registry>, config: &EncoderConfig, weights: &TensorDict) -> Result<Graph, Error> {
    let mut base = WeightedGraph::new(registry, weights, "fast")?;
    let tokens = base.graph.add_input(TOKENS, TensorType::dense(DType::I32, [dim("seq")]))?;
    let positions = base.graph.add_input(POSITIONS, TensorType::dense(DType::I32, [dim("seq")]))?;

    let words = base.matrix(WORDS)?;
    let words = base.look_up(words, tokens)?;
    let places = base.matrix(PLACES)?;
    let places = base.look_up(places, positions)?;
    // A single sentence is of type 0 throughout.
    let types = registry.to_f32(weights.require(TYPES)?)?;
    let first = Tensor::new([config.hidden_size], &types.values::<f32>()?[..config.hidden_size])?;
    let kind = base.graph.constant(&first)?;
    let x = base.graph.add(words, places)?;
    let x = base.graph.add(x, kind)?;
    let mut bert = Bert { base, config };
    let mut x = bert.norm(x, "embeddings.LayerNorm")?;
    for layer in 0..config.num_hidden_layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let attended = bert.attention(x, &name)?;
        let sum = bert.base.graph.add(x, attended)?;
        x = bert.norm(sum, &name("attention.output.LayerNorm"))?;
        let fed = bert.feed_forward(x, &name)?;
        let sum = bert.base.graph.add(x, fed)?;
        x = bert.norm(sum, &name("output.LayerNorm"))?;
    }

    let mut graph = bert.base.graph;
    let mean = graph.mean(x, 0)?;
    let squares = graph.mul(mean, mean)?;
    let square = graph.sum(squares, 0)?;
    let length = graph.sqrt(square)?;
    let embedding = graph.div(mean, length)?;
    graph.output_named(EMBEDDING, embedding)?;
    Ok(graph)
}

/// A graph being built.
struct Bert<'a> {
    base: WeightedGraph<'a>,
    config: &'a EncoderConfig,
}

impl Bert<'_> {
    /// Attention in which every token sees every other.
    fn attention(&mut self, x: Value, name: &impl Fn(&str) -> String) -> Result<Value, Error> {
        let (width, heads) = (self.config.hidden_size, self.config.num_attention_heads);
        let mut split = |part: &str| -> Result<Value, Error> {
            let x = self.base.linear_with_bias(x, &name(part))?;
            self.base.split_heads(x, heads, width / heads)
        };
        let queries = split("attention.self.query")?;
        let keys = split("attention.self.key")?;
        let values = split("attention.self.value")?;
        let attended = self.base.graph.attention(queries, keys, values, Attention::default())?;
        let attended = self.base.join_heads(attended, width)?;
        self.base.linear_with_bias(attended, &name("attention.output.dense"))
    }

    fn feed_forward(&mut self, x: Value, name: &impl Fn(&str) -> String) -> Result<Value, Error> {
        let hidden = self.base.linear_with_bias(x, &name("intermediate.dense"))?;
        let hidden = self.base.graph.gelu(hidden)?;
        self.base.linear_with_bias(hidden, &name("output.dense"))
    }

    fn norm(&mut self, x: Value, name: &str) -> Result<Value, Error> {
        self.base.layer_norm(x, name, self.config.layer_norm_eps)
    }
}
