//! Qwen3: Yang et al., "Qwen3 Technical Report", 2025. Each head of the queries and keys is normed before its halves turn together; there
//! are no biases.

use bitquilt::{Error, RopePairing, Value};

use crate::architecture::{Architecture, LayerWeight};
use crate::blocks::decoder::DecoderGraph;
use crate::blocks::{attention, feed_forward};
use crate::config::Config;

/// The architecture `qwen3`.
pub struct Qwen3;

impl Architecture for Qwen3 {
    fn name(&self) -> &'static str {
        "qwen3"
    }

    fn layer_weights(&self, config: &Config) -> Vec<LayerWeight> {
        [attention::weights(config), attention::head_norms(config), feed_forward::weights(config)].concat()
    }

    fn attention(&self, graph: &mut DecoderGraph<'_>, layer: usize, x: Value) -> Result<Value, Error> {
        let x = graph.norm(layer, "attn_norm.weight", x)?;
        let heads = graph.project(layer, x)?;
        let heads = graph.norm_heads(layer, heads)?;
        let heads = graph.rope(heads, RopePairing::Half)?;
        graph.attend(layer, heads)
    }

    fn feed_forward(&self, graph: &mut DecoderGraph<'_>, layer: usize, x: Value) -> Result<Value, Error> {
        let x = graph.norm(layer, "ffn_norm.weight", x)?;
        graph.gated_feed_forward(layer, x)
    }
}
