//! The graph of a decoder.
//!
//! It has three inputs: `tokens`, i32 `[seq]`; `positions`, i32 `[seq]`, where in the text they are; `rows`, i32 `[rows]`, after which of
//! them the logits are wanted. The output is `logits`, f32 `[rows, vocabulary]`. What attention looks back on is in states, two a layer. So one
//! loaded model serves a prompt of any length and one token at a time.

use std::sync::Arc;

use bitquilt::registry::Registry;
use bitquilt::{DType, Error, Graph, TensorType, dim};

use crate::blocks::decoder::{DecoderGraph, Options};
use crate::config::{CLASSIFIER, EMBEDDING, OUTPUT_NORM};
use crate::model::DecoderModel;

/// The input that says after which tokens logits are wanted.
pub const ROWS: &str = "rows";
/// The output.
pub const LOGITS: &str = "logits";

/// Builds the graph of a model.
pub fn build(registry: &Arc<Registry>, model: &DecoderModel, options: &Options) -> Result<Graph, Error> {
    let DecoderModel { architecture, config, weights, .. } = model;
    let mut decoder = DecoderGraph::new(registry, config, weights, options)?;
    let rows = decoder.base.graph.add_input(ROWS, TensorType::dense(DType::I32, [dim("rows")]))?;
    let embedding = decoder.base.matrix(EMBEDDING)?;

    let mut x = decoder.base.look_up(embedding, decoder.tokens)?;
    for layer in 0..config.layers {
        let attended = architecture.attention(&mut decoder, layer, x)?;
        x = decoder.base.graph.add(x, attended)?;
        if layer + 1 == config.layers {
            // Every token has left its key and value for later ones: from here on only the wanted rows matter.
            x = decoder.base.graph.gather(x, rows, 0)?;
        }
        let fed = architecture.feed_forward(&mut decoder, layer, x)?;
        x = decoder.base.graph.add(x, fed)?;
    }
    let x = decoder.base.rms_norm(x, OUTPUT_NORM, config.eps)?;
    // Many models have one matrix for the embedding and the classifier.
    let classifier = match weights.contains(CLASSIFIER) {
        true => decoder.base.matrix(CLASSIFIER)?,
        false => embedding,
    };
    let logits = decoder.base.product(x, classifier, "classifier")?;
    decoder.base.graph.output_named(LOGITS, logits)?;
    Ok(decoder.base.graph)
}
