//! The graph of a decoder that is being built: what all its layers share.

use std::sync::Arc;

use bitquilt::registry::Registry;
use bitquilt::{DType, Error, Tensor, TensorDict, TensorType, Value, dim};

use super::weighted::{POSITIONS, TOKENS, WeightedGraph};
use crate::config::{Config, ROPE_FACTORS, layer_tensor};

/// The choices that a graph is built with.
#[derive(Clone, Debug, PartialEq)]
pub struct Options {
    /// The number of tokens that the caches have room for.
    pub context: usize,
    /// The dtype of the caches: f32 or f16.
    pub cache: DType,
    /// The `precision` of `qmatmul`: `fast` or `exact`.
    pub precision: String,
}

impl Options {
    /// With products that are exact, or quantize activations where that is faster. Without another dtype the caches then hold f32, or f16.
    pub fn new(context: usize, is_exact: bool, cache: Option<DType>) -> Self {
        let (precision, own) = if is_exact { ("exact", DType::F32) } else { ("fast", DType::F16) };
        Self { context, cache: cache.unwrap_or(own), precision: precision.to_owned() }
    }
}

/// The graph of a decoder that is being built.
pub struct DecoderGraph<'a> {
    /// The graph and its weights.
    pub base: WeightedGraph<'a>,
    /// The hyper-parameters.
    pub config: &'a Config,
    /// The choices that it is built with.
    pub options: &'a Options,
    /// The tokens, i32 `[seq]`.
    pub tokens: Value,
    /// The tokens' positions in the text, i32 `[seq]`.
    pub positions: Value,
    /// The divisors of the rotation's frequencies, f32 `[rope_dims / 2]`.
    pub(super) rope_factors: Option<Value>,
}

impl<'a> DecoderGraph<'a> {
    /// A graph that has inputs and no layers.
    pub fn new(
        registry: &Arc<Registry>,
        config: &'a Config,
        weights: &'a TensorDict,
        options: &'a Options,
    ) -> Result<Self, Error> {
        let mut base = WeightedGraph::new(registry, weights, &options.precision)?;
        let tokens = base.graph.add_input(TOKENS, TensorType::dense(DType::I32, [dim("seq")]))?;
        let positions = base.graph.add_input(POSITIONS, TensorType::dense(DType::I32, [dim("seq")]))?;
        let factors = rope_factors(config, weights)?;
        let rope_factors = factors.map(|factors| base.graph.constant(&factors)).transpose()?;
        Ok(Self { base, config, options, tokens, positions, rope_factors })
    }

    /// The RMS norm of `x` that a layer's tensor `part` scales.
    pub fn norm(&mut self, layer: usize, part: &str, x: Value) -> Result<Value, Error> {
        self.base.rms_norm(x, &layer_tensor(layer, part), self.config.eps)
    }

    /// `x` times the transpose of a layer's matrix `part`.
    pub fn linear(&mut self, layer: usize, part: &str, x: Value) -> Result<Value, Error> {
        self.base.linear(x, &layer_tensor(layer, part))
    }

    /// `x` times the transpose of a layer's matrix `PART.weight`, and its `PART.bias`.
    pub fn linear_with_bias(&mut self, layer: usize, part: &str, x: Value) -> Result<Value, Error> {
        self.base.linear_with_bias(x, &layer_tensor(layer, part))
    }
}

/// The divisors of the rotation's frequencies, if there are any: the file's, those of YaRN, or their products.
fn rope_factors(config: &Config, weights: &TensorDict) -> Result<Option<Tensor>, Error> {
    let listed = weights.get(ROPE_FACTORS);
    let Some(yarn) = &config.yarn else { return Ok(listed.cloned()) };
    let mut factors = yarn.divisors(config.rope_dims, config.rope_theta);
    if let Some(listed) = listed {
        factors.iter_mut().zip(listed.values::<f32>()?).for_each(|(factor, listed)| *factor *= listed);
    }
    Ok(Some(Tensor::new([factors.len()], factors)?))
}
