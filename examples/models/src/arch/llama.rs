//! Llama: Touvron et al., "LLaMA: Open and Efficient Foundation Language Models", 2023. GGUF files have its queries and keys in the order
//! in which neighbours turn together.

use bitquilt::{Error, RopePairing, Value};

use crate::architecture::{Architecture, LayerWeight};
use crate::blocks::decoder::DecoderGraph;
use crate::blocks::{attention, feed_forward};
use crate::config::Config;

/// The architecture `llama`.
pub struct Llama;

impl Architecture for Llama {
    fn name(&self) -> &'static str {
        "llama"
    }

    fn layer_weights(&self, config: &Config) -> Vec<LayerWeight> {
        [attention::weights(config), feed_forward::weights(config)].concat()
    }

    fn attention(&self, graph: &mut DecoderGraph<'_>, layer: usize, x: Value) -> Result<Value, Error> {
        let x = graph.norm(layer, "attn_norm.weight", x)?;
        let heads = graph.project(layer, x)?;
        let heads = graph.rope(heads, RopePairing::Interleaved)?;
        graph.attend(layer, heads)
    }

    fn feed_forward(&self, graph: &mut DecoderGraph<'_>, layer: usize, x: Value) -> Result<Value, Error> {
        let x = graph.norm(layer, "ffn_norm.weight", x)?;
        graph.gated_feed_forward(layer, x)
    }
}
