//! The graph of a BERT sentence encoder: Devlin et al., "BERT", 2019, then the mean over the tokens, of length 1 (Reimers and
//! Gurevych, "Sentence-BERT", 2019).
//!
//! The inputs are `tokens` and `positions`, i32 `[seq]`; the output is `embedding`, f32 `[width]`.

use std::sync::Arc;

use bitquilt::registry::Registry;
use bitquilt::{Attention, DType, Error, Graph, Tensor, TensorDict, TensorType, Value, dim};

use super::encoder::Config;

/// The input of tokens.
pub const TOKENS: &str = "tokens";
/// The input of their positions.
pub const POSITIONS: &str = "positions";
/// The output.
pub const EMBEDDING: &str = "embedding";

const WORDS: &str = "embeddings.word_embeddings.weight";
const PLACES: &str = "embeddings.position_embeddings.weight";
const TYPES: &str = "embeddings.token_type_embeddings.weight";

/// The parts of a layer that are a matrix and a bias, with the rows and columns of the matrix, by Hugging Face's names.
fn linears(config: &Config) -> [(&'static str, usize, usize); 6] {
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
pub fn weights(config: &Config) -> Vec<(String, Vec<usize>)> {
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
pub fn build(registry: &Arc<Registry>, config: &Config, weights: &TensorDict) -> Result<Graph, Error> {
    let mut graph = Graph::new(registry, [])?;
    let tokens = graph.add_input(TOKENS, TensorType::dense(DType::I32, [dim("seq")]))?;
    let positions = graph.add_input(POSITIONS, TensorType::dense(DType::I32, [dim("seq")]))?;
    let mut bert = Bert { graph, config, weights };

    let words = bert.look_up(WORDS, tokens)?;
    let places = bert.look_up(PLACES, positions)?;
    // A single sentence is of type 0 throughout.
    let types = registry.to_f32(weights.require(TYPES)?)?;
    let first = Tensor::new([config.hidden_size], &types.values::<f32>()?[..config.hidden_size])?;
    let kind = bert.graph.constant(&first)?;
    let x = bert.graph.add(words, places)?;
    let x = bert.graph.add(x, kind)?;
    let mut x = bert.norm(x, "embeddings.LayerNorm")?;
    for layer in 0..config.num_hidden_layers {
        let name = |part: &str| format!("encoder.layer.{layer}.{part}");
        let attended = bert.attention(x, &name)?;
        let sum = bert.graph.add(x, attended)?;
        x = bert.norm(sum, &name("attention.output.LayerNorm"))?;
        let hidden = bert.linear(x, &name("intermediate.dense"))?;
        let hidden = bert.graph.gelu(hidden)?;
        let fed = bert.linear(hidden, &name("output.dense"))?;
        let sum = bert.graph.add(x, fed)?;
        x = bert.norm(sum, &name("output.LayerNorm"))?;
    }

    let mut graph = bert.graph;
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
    graph: Graph,
    config: &'a Config,
    weights: &'a TensorDict,
}

impl Bert<'_> {
    /// Attention in which every token sees every other.
    fn attention(&mut self, x: Value, name: &impl Fn(&str) -> String) -> Result<Value, Error> {
        let heads = self.config.num_attention_heads;
        let shape = [dim("seq"), dim(heads), dim(self.config.hidden_size / heads)];
        let mut split = |part: &str| -> Result<Value, Error> {
            let x = self.linear(x, &name(part))?;
            Ok(self.graph.reshape(x, shape.clone())?)
        };
        let queries = split("attention.self.query")?;
        let keys = split("attention.self.key")?;
        let values = split("attention.self.value")?;
        let attended = self.graph.attention(queries, keys, values, Attention::default())?;
        let attended = self.graph.reshape(attended, [dim("seq"), dim(self.config.hidden_size)])?;
        self.linear(attended, &name("attention.output.dense"))
    }

    /// `x` times the transpose of a matrix, and a bias.
    fn linear(&mut self, x: Value, name: &str) -> Result<Value, Error> {
        let matrix = self.constant(&format!("{name}.weight"))?;
        let product = match self.graph.tensor_type(matrix).encoding() {
            Some(_) => self.graph.qmatmul(x, matrix)?,
            None => {
                let transposed = self.graph.transpose(matrix, &[1, 0])?;
                self.graph.matmul(x, transposed)?
            }
        };
        let bias = self.constant(&format!("{name}.bias"))?;
        Ok(self.graph.add(product, bias)?)
    }

    fn norm(&mut self, x: Value, name: &str) -> Result<Value, Error> {
        let weight = self.constant(&format!("{name}.weight"))?;
        let bias = self.constant(&format!("{name}.bias"))?;
        Ok(self.graph.layer_norm(x, weight, Some(bias), self.config.layer_norm_eps)?)
    }

    /// The rows of a table.
    fn look_up(&mut self, table: &str, rows: Value) -> Result<Value, Error> {
        let table = self.constant(table)?;
        match self.graph.tensor_type(table).encoding() {
            Some(_) => Ok(self.graph.qgather(table, rows)?),
            None => Ok(self.graph.gather(table, rows, 0)?),
        }
    }

    fn constant(&mut self, name: &str) -> Result<Value, Error> {
        Ok(self.graph.constant(self.weights.require(name)?)?)
    }
}
