//! The feed-forward block of decoders.

use bitquilt::{Error, Value};

use super::decoder::DecoderGraph;
use crate::config::Config;

/// The weights of a layer's feed-forward block: its norm and three matrices.
pub fn weights(config: &Config) -> Vec<(&'static str, Vec<usize>)> {
    let &Config { width, hidden, .. } = config;
    vec![
        ("ffn_norm.weight", vec![width]),
        ("ffn_gate.weight", vec![hidden, width]),
        ("ffn_up.weight", vec![hidden, width]),
        ("ffn_down.weight", vec![width, hidden]),
    ]
}

impl DecoderGraph<'_> {
    /// `down(silu(gate(x)) * up(x))`: Shazeer, "GLU Variants Improve Transformer", 2020.
    pub fn gated_feed_forward(&mut self, layer: usize, x: Value) -> Result<Value, Error> {
        let gate = self.linear(layer, "ffn_gate.weight", x)?;
        let up = self.linear(layer, "ffn_up.weight", x)?;
        let gate = self.base.graph.silu(gate)?;
        let hidden = self.base.graph.mul(gate, up)?;
        self.linear(layer, "ffn_down.weight", hidden)
    }
}
