//! The hyper-parameters of a BERT encoder.

use std::path::Path;

use bitquilt::file;
use bitquilt::text::Brief;
use serde::Deserialize;

use super::error::EncoderError;

/// The hyper-parameters, by the names of Hugging Face's `config.json`, which has others, too.
#[derive(Clone, Debug, Deserialize)]
pub struct EncoderConfig {
    /// The number of values in a token's embedding.
    pub hidden_size: usize,
    /// The number of values between the two halves of a feed-forward block.
    pub intermediate_size: usize,
    /// The number of layers.
    pub num_hidden_layers: usize,
    /// The number of heads.
    pub num_attention_heads: usize,
    /// Added to the variance in each norm.
    pub layer_norm_eps: f32,
    /// The number of tokens of a sentence, at most.
    pub max_position_embeddings: usize,
    /// The number of rows of the table of words.
    pub vocab_size: usize,
    /// The activation between the halves of a feed-forward block.
    pub hidden_act: String,
}

/// The most bytes of a `config.json`.
const LARGEST: u64 = 1 << 20;

impl EncoderConfig {
    /// Reads a `config.json`.
    pub fn read(path: &Path) -> Result<Self, EncoderError> {
        let wrong = |problem: String| EncoderError::contents(path, problem);
        let text = file::read_text(path, LARGEST).map_err(EncoderError::Config)?;
        let config: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if config.hidden_act != "gelu" {
            let found = Brief(&config.hidden_act);
            return Err(wrong(format!("its activation is `{found}`; this library runs `gelu`")));
        }
        let (width, heads) = (config.hidden_size, config.num_attention_heads);
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(wrong(format!("its width {width} cannot be split evenly among {heads} heads")));
        }
        Ok(config)
    }
}
