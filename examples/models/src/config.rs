//! The hyper-parameters of a decoder, and the names of its weights, which are those of GGUF files.

use serde::{Deserialize, Serialize};

use crate::yarn::Yarn;

/// The hyper-parameters of a decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The number of values in a token's embedding.
    pub width: usize,
    /// The number of values between the two halves of a feed-forward block.
    pub hidden: usize,
    /// The number of layers.
    pub layers: usize,
    /// The number of heads of the queries.
    pub heads: usize,
    /// The number of heads of the keys and values; a divisor of `heads`.
    pub kv_heads: usize,
    /// The number of values of a head.
    pub head: usize,
    /// The number of tokens that the model knows.
    pub vocabulary: usize,
    /// The number of tokens that the model was trained to look back on.
    pub context: usize,
    /// Added to the mean square in each norm.
    pub eps: f32,
    /// The number of values of a head that are rotated by the position.
    pub rope_dims: usize,
    /// The base of the rotation's frequencies.
    pub rope_theta: f64,
    /// The factor of positions.
    pub rope_scale: f64,
    /// The stretching of the context, if that is YaRN's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub yarn: Option<Yarn>,
}

/// No dimension of a model is larger: products of two of them stay far from overflowing.
const MAX_DIM: usize = 1 << 24;

impl Config {
    /// Checks that the numbers make a model; the error is a sentence.
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
                    "its rope scaling is `yarn` and {dims} of the {head} values of a head turn; this library runs it where all do"
                ));
            }
        }
        Ok(())
    }

    /// The number of values in all heads of the queries.
    pub fn query_width(&self) -> usize {
        self.heads * self.head
    }

    /// The number of values in all heads of the keys, and of the values.
    pub fn kv_width(&self) -> usize {
        self.kv_heads * self.head
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

/// The name of a layer's tensor, such as `attn_q.weight`.
pub fn layer_tensor(layer: usize, part: &str) -> String {
    format!("blk.{layer}.{part}")
}
