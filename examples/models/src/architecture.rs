//! An architecture of decoders: the weights of a layer, and the computation with them.

use bitquilt::{Error, Value};

use crate::blocks::decoder::DecoderGraph;
use crate::config::Config;

/// A weight of a layer: its name without the layer, such as `attn_q.weight`, and its shape. A matrix is `[outputs, inputs]`.
pub type LayerWeight = (&'static str, Vec<usize>);

/// An architecture of decoders. Every layer adds to each token's values `x` first what attention gives and then what its
/// feed-forward block gives.
pub trait Architecture: Sync {
    /// Its name in the metadata `general.architecture` of GGUF files, before whose other keys it stands, too.
    fn name(&self) -> &'static str;

    /// The weights of each layer.
    fn layer_weights(&self, config: &Config) -> Vec<LayerWeight>;

    /// The sum that attention adds to `x`, `[seq, width]`.
    fn attention(&self, graph: &mut DecoderGraph<'_>, layer: usize, x: Value) -> Result<Value, Error>;

    /// The sum that the feed-forward block adds to `x`, `[rows, width]`.
    fn feed_forward(&self, graph: &mut DecoderGraph<'_>, layer: usize, x: Value) -> Result<Value, Error>;
}
