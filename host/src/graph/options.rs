//! What ops with many parameters are told.

use super::Value;

/// How [`Graph::rope`](super::Graph::rope) turns heads: pair `i` of `dims / 2`, at position `p`, by
/// `scale * p / (theta^(2 * i / dims) * factors[i])` radians.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rope {
    /// Which values make a pair.
    pub pairing: RopePairing,
    /// The base of the frequencies.
    pub theta: f64,
    /// How many values of a head turn, the first ones; all, if it is not given.
    pub dims: Option<usize>,
    /// What positions are multiplied by; less than 1 stretches a context.
    pub scale: f64,
    /// Divisors of the frequencies, f32 `[dims / 2]`, as Llama 3 has them.
    pub factors: Option<Value>,
}

/// Which values of a head make a pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RopePairing {
    /// Values `2 * i` and `2 * i + 1`: GPT-J, llama2.c, and the `llama` architecture of GGUF.
    #[default]
    Interleaved,
    /// Values `i` and `i + dims / 2`: GPT-NeoX, and Hugging Face's Llama weights.
    Half,
}

impl Default for Rope {
    fn default() -> Self {
        Self { pairing: RopePairing::Interleaved, theta: 10_000.0, dims: None, scale: 1.0, factors: None }
    }
}

/// What [`Graph::attention`](super::Graph::attention) attends to.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Attention {
    /// Whether a query sees no key after its own position. Without `positions` the last query sees all keys.
    pub causal: bool,
    /// The queries' positions among the keys, i64 or i32: a scalar, that of the first, or `[seq]`, that of each. Only if `causal`.
    pub positions: Option<Value>,
    /// What broadcasts to `[.., heads, seq, keys]`: f32 that is added to the scaled products, or bool, true where a key is seen.
    pub mask: Option<Value>,
    /// What products are multiplied with; `1 / sqrt(n)`, if it is not given.
    pub scale: Option<f32>,
}
