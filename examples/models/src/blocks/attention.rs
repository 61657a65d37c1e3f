//! Attention of decoders, with grouped heads: several heads of the queries share one of the keys and values. Keys and values of all tokens
//! before are in states, two a layer.

use bitquilt::{Attention, Error, Rope, RopePairing, TensorType, Value};

use super::decoder::DecoderGraph;
use crate::config::Config;

/// The queries, keys and values of a layer, each `[seq, heads, head]`; keys and values have fewer heads.
#[derive(Clone, Copy, Debug)]
pub struct Heads {
    /// The queries, which say what each token looks for.
    pub queries: Value,
    /// The keys, by which tokens are found.
    pub keys: Value,
    /// The values, which tokens that are found give.
    pub values: Value,
}

/// The weights of a layer's attention: its norm and four matrices.
pub fn weights(config: &Config) -> Vec<(&'static str, Vec<usize>)> {
    let (width, queries, kv) = (config.width, config.query_width(), config.kv_width());
    vec![
        ("attn_norm.weight", vec![width]),
        ("attn_q.weight", vec![queries, width]),
        ("attn_k.weight", vec![kv, width]),
        ("attn_v.weight", vec![kv, width]),
        ("attn_output.weight", vec![width, queries]),
    ]
}

/// The biases of a layer's queries, keys and values.
pub fn biases(config: &Config) -> Vec<(&'static str, Vec<usize>)> {
    let (queries, kv) = (config.query_width(), config.kv_width());
    vec![("attn_q.bias", vec![queries]), ("attn_k.bias", vec![kv]), ("attn_v.bias", vec![kv])]
}

/// The scales of the norms of each head of a layer's queries and keys.
pub fn head_norms(config: &Config) -> Vec<(&'static str, Vec<usize>)> {
    vec![("attn_q_norm.weight", vec![config.head]), ("attn_k_norm.weight", vec![config.head])]
}

impl DecoderGraph<'_> {
    /// The queries, keys and values of `x`: its products with the transposes of `attn_q`, `attn_k` and `attn_v`.
    pub fn project(&mut self, layer: usize, x: Value) -> Result<Heads, Error> {
        let queries = self.linear(layer, "attn_q.weight", x)?;
        let keys = self.linear(layer, "attn_k.weight", x)?;
        let values = self.linear(layer, "attn_v.weight", x)?;
        self.split(queries, keys, values)
    }

    /// The same as [`Self::project`], plus the biases.
    pub fn project_with_biases(&mut self, layer: usize, x: Value) -> Result<Heads, Error> {
        let queries = self.linear_with_bias(layer, "attn_q", x)?;
        let keys = self.linear_with_bias(layer, "attn_k", x)?;
        let values = self.linear_with_bias(layer, "attn_v", x)?;
        self.split(queries, keys, values)
    }

    fn split(&mut self, queries: Value, keys: Value, values: Value) -> Result<Heads, Error> {
        let &Config { heads, kv_heads, head, .. } = self.config;
        Ok(Heads {
            queries: self.base.split_heads(queries, heads, head)?,
            keys: self.base.split_heads(keys, kv_heads, head)?,
            values: self.base.split_heads(values, kv_heads, head)?,
        })
    }

    /// The RMS norm of each head of the queries and keys, scaled by `attn_q_norm` and `attn_k_norm`: Henry et al., "Query-Key Normalization
    /// for Transformers", 2020.
    pub fn norm_heads(&mut self, layer: usize, heads: Heads) -> Result<Heads, Error> {
        Ok(Heads {
            queries: self.norm(layer, "attn_q_norm.weight", heads.queries)?,
            keys: self.norm(layer, "attn_k_norm.weight", heads.keys)?,
            values: heads.values,
        })
    }

    /// Queries and keys turned by the tokens' positions: Su et al., "RoFormer: Enhanced Transformer with Rotary Position Embedding", 2021.
    pub fn rope(&mut self, heads: Heads, pairing: RopePairing) -> Result<Heads, Error> {
        let rope = Rope {
            pairing,
            theta: self.config.rope_theta,
            dims: Some(self.config.rope_dims),
            scale: self.config.rope_scale,
            factors: self.rope_factors,
        };
        let graph = &mut self.base.graph;
        Ok(Heads {
            queries: graph.rope(heads.queries, self.positions, rope)?,
            keys: graph.rope(heads.keys, self.positions, rope)?,
            values: heads.values,
        })
    }

    /// The attention of each token to itself and those before it, times the transpose of `attn_output`.
    pub fn attend(&mut self, layer: usize, heads: Heads) -> Result<Value, Error> {
        let &Config { kv_heads, head, .. } = self.config;
        let graph = &mut self.base.graph;
        let cache = TensorType::dense(self.options.cache, [self.options.context, kv_heads, head]);
        let key_cache = graph.state(format!("keys.{layer}"), cache.clone())?;
        let value_cache = graph.state(format!("values.{layer}"), cache)?;
        let key_cache = graph.append(key_cache, heads.keys, self.positions)?;
        let value_cache = graph.append(value_cache, heads.values, self.positions)?;
        // YaRN multiplies queries and keys by its magnitude, and so their product by its square.
        let yarn = self.config.yarn.as_ref();
        let scale = yarn.map(|yarn| (yarn.magnitude().powi(2) / (head as f64).sqrt()) as f32);
        let causal =
            Attention { causal: true, positions: Some(self.positions), scale, ..Attention::default() };
        let attended = graph.attention(heads.queries, key_cache, value_cache, causal)?;
        let attended = self.base.join_heads(attended, self.config.query_width())?;
        self.linear(layer, "attn_output.weight", attended)
    }
}
