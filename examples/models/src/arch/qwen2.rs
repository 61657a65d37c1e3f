//! Qwen2: Yang et al., "Qwen2 Technical Report", 2024. Queries, keys and values have biases, and the halves of a head turn together.

use bitquilt::{Error, RopePairing, Value};

use crate::architecture::{Architecture, LayerWeight};
use crate::blocks::decoder::DecoderGraph;
use crate::blocks::{attention, feed_forward};
use crate::config::Config;

/// The architecture `qwen2`.
pub struct Qwen2;

impl Architecture for Qwen2 {
    fn name(&self) -> &'static str {
        "qwen2"
    }

    fn layer_weights(&self, config: &Config) -> Vec<LayerWeight> {
        [attention::weights(config), attention::biases(config), feed_forward::weights(config)].concat()
    }

    fn attention(&self, graph: &mut DecoderGraph<'_>, layer: usize, x: Value) -> Result<Value, Error> {
        let x = graph.norm(layer, "attn_norm.weight", x)?;
        let heads = graph.project_with_biases(layer, x)?;
        let heads = graph.rope(heads, RopePairing::Half)?;
        graph.attend(layer, heads)
    }

    fn feed_forward(&self, graph: &mut DecoderGraph<'_>, layer: usize, x: Value) -> Result<Value, Error> {
        let x = graph.norm(layer, "ffn_norm.weight", x)?;
        graph.gated_feed_forward(layer, x)
    }
}
