//! A BERT sentence encoder as files hold it, and at work: a sentence in, its embedding out.

use std::path::Path;

use bitquilt::checkpoint::{Checkpoint, CheckpointError};
use bitquilt::file;
use bitquilt::registry::Registry;
use bitquilt::text::Brief;
use bitquilt::{InferenceSession, State, TensorDict, TensorView};
use serde::Deserialize;

use super::graph::{self, EMBEDDING, POSITIONS, TOKENS};

/// Any error, as a sentence.
pub type AnyError = Box<dyn std::error::Error>;

/// The hyper-parameters, by the names of Hugging Face's `config.json`, which has others, too.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Values in a token's embedding.
    pub hidden_size: usize,
    /// Values between the two halves of a feed-forward block.
    pub intermediate_size: usize,
    /// Layers.
    pub num_hidden_layers: usize,
    /// Heads.
    pub num_attention_heads: usize,
    /// Added to the variance in each norm.
    pub layer_norm_eps: f32,
    /// Tokens of a sentence, at most.
    pub max_position_embeddings: usize,
    /// Rows of the table of words.
    pub vocab_size: usize,
    /// The activation between the halves of a feed-forward block.
    pub hidden_act: String,
}

/// The most bytes of a `config.json`.
const LARGEST: u64 = 1 << 20;

impl Config {
    /// Reads a `config.json`.
    pub fn read(path: &Path) -> Result<Self, AnyError> {
        let wrong = |problem: String| format!("{}: {problem}", path.display());
        let text = file::read_text(path, LARGEST)
            .map_err(|error| format!("{error}; the encoder's config.json was expected there"))?;
        let config: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        if config.hidden_act != "gelu" {
            let found = Brief(&config.hidden_act);
            return Err(wrong(format!("its activation is `{found}`; this example runs `gelu`")).into());
        }
        let (width, heads) = (config.hidden_size, config.num_attention_heads);
        if heads == 0 || !width.is_multiple_of(heads) {
            return Err(wrong(format!("its width {width} cannot be split evenly among {heads} heads")).into());
        }
        Ok(config)
    }
}

/// The weights that the graph takes, of a safetensors file.
pub fn weights(path: &Path, config: &Config, registry: &Registry) -> Result<TensorDict, AnyError> {
    let file = Checkpoint::open(path)?;
    let mut weights = TensorDict::new();
    for (name, shape) in graph::weights(config) {
        let tensor = file.tensor(&name, registry).map_err(|error| match error {
            CheckpointError::Missing { .. } => format!("{}: {error}; is it a BERT encoder?", path.display()),
            other => other.to_string(),
        })?;
        if tensor.shape() != shape {
            let (path, found) = (path.display(), tensor.tensor_type());
            return Err(
                format!("{path}, tensor `{name}`: it is {found}; the configuration wants {shape:?}").into()
            );
        }
        weights.insert(name, tensor);
    }
    Ok(weights)
}

/// A loaded encoder.
pub struct Encoder {
    state: State,
    longest: usize,
}

impl Encoder {
    /// Loads the graph of these weights.
    pub fn load(session: &InferenceSession, config: &Config, weights: &TensorDict) -> Result<Self, AnyError> {
        let graph = graph::build(session.registry(), config, weights)?;
        Ok(Self { state: session.load(&graph)?.new_state()?, longest: config.max_position_embeddings })
    }

    /// The embedding of a sentence's tokens: f32 of length 1, `[width]`.
    pub fn embed(&mut self, tokens: &[u32]) -> Result<&[f32], AnyError> {
        if tokens.is_empty() || tokens.len() > self.longest {
            let (found, longest) = (tokens.len(), self.longest);
            return Err(format!("a sentence has {found} tokens; 1 to {longest} were expected").into());
        }
        let tokens: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
        let positions: Vec<i32> = (0..tokens.len() as i32).collect();
        let shape = [tokens.len()];
        let inputs = [
            (TOKENS, TensorView::dense(&shape, &tokens)),
            (POSITIONS, TensorView::dense(&shape, &positions)),
        ];
        Ok(self.state.run(inputs)?.get(EMBEDDING)?)
    }
}

/// The cosine of the angle between two vectors.
pub fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}
