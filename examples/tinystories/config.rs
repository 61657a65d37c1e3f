//! A Llama model's hyper-parameters, and which weights follow from them.

use std::collections::BTreeMap;

use bitquilt::TensorDict;
use bitquilt::text::Brief;
use serde::{Deserialize, Serialize};

use super::yarn::Yarn;

/// The hyper-parameters of a model of the Llama architecture.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Values in a token's embedding.
    pub width: usize,
    /// Values between the two halves of a feed-forward block.
    pub hidden: usize,
    /// Layers.
    pub layers: usize,
    /// Heads of the queries.
    pub heads: usize,
    /// Heads of the keys and values; a divisor of `heads`.
    pub kv_heads: usize,
    /// Values of a head.
    pub head: usize,
    /// Tokens that the model knows.
    pub vocabulary: usize,
    /// Tokens that the model was trained to look back on.
    pub context: usize,
    /// Added to the mean square in each norm.
    pub eps: f32,
    /// How many values of a head turn with the position.
    pub rope_dims: usize,
    /// The base of the rotation's frequencies.
    pub rope_theta: f64,
    /// What positions are multiplied by.
    pub rope_scale: f64,
    /// How the context was stretched, if it was by YaRN.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yarn: Option<Yarn>,
}

/// No dimension of a model is larger: products of two of them stay far from overflowing.
const MAX_DIM: usize = 1 << 24;

impl Config {
    /// Whether the numbers make a model; if not, a sentence.
    pub fn check(&self) -> Result<(), String> {
        for (name, value) in [
            ("width", self.width),
            ("feed-forward size", self.hidden),
            ("number of layers", self.layers),
            ("number of heads", self.heads),
            ("number of key/value heads", self.kv_heads),
            ("head size", self.head),
            ("vocabulary", self.vocabulary),
            ("context", self.context),
        ] {
            if value == 0 || value > MAX_DIM {
                return Err(format!("its {name} is {value}; 1 to {MAX_DIM} was expected"));
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            let (heads, kv_heads) = (self.heads, self.kv_heads);
            return Err(format!("its {heads} heads cannot share {kv_heads} key/value heads evenly"));
        }
        if !self.rope_dims.is_multiple_of(2) || self.rope_dims > self.head {
            let (dims, head) = (self.rope_dims, self.head);
            return Err(format!(
                "{dims} values of a head turn with the position; an even number of at most {head} was expected"
            ));
        }
        let numbers = [f64::from(self.eps), self.rope_theta, self.rope_scale];
        if numbers.iter().any(|number| !number.is_finite() || *number <= 0.0) {
            let Self { eps, rope_theta, rope_scale, .. } = self;
            return Err(format!(
                "its eps is {eps}, rope base {rope_theta} and rope scale {rope_scale}; positive numbers were expected"
            ));
        }
        if let Some(yarn) = &self.yarn {
            yarn.check()?;
            // Attention's scale stands for the magnitude of the values that turn, which must be all.
            if self.rope_dims != self.head {
                let (dims, head) = (self.rope_dims, self.head);
                return Err(format!(
                    "its rope scaling is `yarn` and {dims} of the {head} values of a head turn; this example runs it where all do"
                ));
            }
        }
        Ok(())
    }

    /// Values in all heads of the queries.
    pub fn query_width(&self) -> usize {
        self.heads * self.head
    }

    /// Values in all heads of the keys, and of the values.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head
    }

    /// Names (those of GGUF files) and shapes of a layer's weights. A matrix is `[outputs, inputs]`.
    pub fn layer_weights(&self, layer: usize) -> [(String, Vec<usize>); 9] {
        let &Self { width, hidden, .. } = self;
        let (queries, kv) = (self.query_width(), self.kv_width());
        [
            ("attn_norm", vec![width]),
            ("attn_q", vec![queries, width]),
            ("attn_k", vec![kv, width]),
            ("attn_v", vec![kv, width]),
            ("attn_output", vec![width, queries]),
            ("ffn_norm", vec![width]),
            ("ffn_gate", vec![hidden, width]),
            ("ffn_up", vec![hidden, width]),
            ("ffn_down", vec![width, hidden]),
        ]
        .map(|(part, shape)| (layer_weight(layer, part), shape))
    }

    /// Whether `weights` has every weight of the model in its shape, and no other; if not, a sentence.
    pub fn check_weights(&self, weights: &TensorDict) -> Result<(), String> {
        let matrix = vec![self.vocabulary, self.width];
        let mut expected = BTreeMap::from([
            (EMBEDDING.to_owned(), matrix.clone()),
            (OUTPUT_NORM.to_owned(), vec![self.width]),
        ]);
        for layer in 0..self.layers {
            for (name, shape) in self.layer_weights(layer) {
                // Before more names are made: the weights of this layer are there.
                check_weight(weights, &name, &shape)?;
                expected.insert(name, shape);
            }
        }
        for (name, shape) in [(CLASSIFIER, matrix), (ROPE_FACTORS, vec![self.rope_dims / 2])] {
            if weights.contains(name) {
                expected.insert(name.to_owned(), shape);
            }
        }
        expected.iter().try_for_each(|(name, shape)| check_weight(weights, name, shape))?;
        match weights.names().find(|name| !expected.contains_key(*name)) {
            Some(name) => {
                Err(format!("the graph of this example has no place for the tensor `{}`", Brief(name)))
            }
            None => Ok(()),
        }
    }
}

/// The embedding of each token, `[vocabulary, width]`.
pub const EMBEDDING: &str = "token_embd.weight";
/// The scales of the last norm.
pub const OUTPUT_NORM: &str = "output_norm.weight";
/// The classifier, `[vocabulary, width]`; the embedding serves where it is missing.
pub const CLASSIFIER: &str = "output.weight";
/// Divisors of the rotation's frequencies, as Llama 3 has them.
pub const ROPE_FACTORS: &str = "rope_freqs.weight";

/// The name of a layer's weight.
pub fn layer_weight(layer: usize, part: &str) -> String {
    format!("blk.{layer}.{part}.weight")
}

fn check_weight(weights: &TensorDict, name: &str, shape: &[usize]) -> Result<(), String> {
    let tensor = weights.require(name).map_err(|error| error.to_string())?;
    if tensor.shape() != shape {
        return Err(format!(
            "tensor `{name}` is {}; the hyper-parameters want the shape {shape:?}",
            tensor.tensor_type()
        ));
    }
    Ok(())
}
