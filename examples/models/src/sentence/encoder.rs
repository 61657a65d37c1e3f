//! A BERT sentence encoder as files hold it, and at work: a sentence's tokens in, its embedding out.

use std::path::Path;

use bitquilt::checkpoint::{Checkpoint, CheckpointError};
use bitquilt::registry::Registry;
use bitquilt::{Error, InferenceSession, State, Tensor, TensorDict};

use super::config::EncoderConfig;
use super::error::EncoderError;
use crate::arch::bert::{self, EMBEDDING};
use crate::blocks::weighted::{POSITIONS, TOKENS};

/// The weights that the graph takes, of a safetensors file.
pub fn weights(path: &Path, config: &EncoderConfig, registry: &Registry) -> Result<TensorDict, EncoderError> {
    let file = Checkpoint::open(path)?;
    let mut weights = TensorDict::new();
    for (name, shape) in bert::weights(config) {
        let tensor = file.tensor(&name, registry).map_err(|error| match error {
            CheckpointError::Missing { .. } => {
                EncoderError::contents(path, format!("{error}; is it a BERT encoder?"))
            }
            other => other.into(),
        })?;
        if tensor.shape() != shape {
            let (path, found) = (path.to_owned(), tensor.tensor_type().to_string());
            return Err(EncoderError::Shape { path, name, found, expected: shape });
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
    pub fn load(
        session: &InferenceSession,
        config: &EncoderConfig,
        weights: &TensorDict,
    ) -> Result<Self, EncoderError> {
        let graph = bert::build(session.registry(), config, weights)?;
        let model = session.load(&graph).map_err(Error::from)?;
        Ok(Self { state: model.new_state()?, longest: config.max_position_embeddings })
    }

    /// The embedding of a sentence's tokens: f32 of length 1, `[width]`.
    pub fn embed(&mut self, tokens: &[u32]) -> Result<&[f32], EncoderError> {
        if tokens.is_empty() || tokens.len() > self.longest {
            return Err(EncoderError::Tokens { found: tokens.len(), longest: self.longest });
        }
        let inputs = sentence_inputs(tokens)?;
        Ok(self.state.run(inputs.each_ref().map(|(name, tensor)| (*name, tensor)))?.get(EMBEDDING)?)
    }
}

/// What the graph takes for a sentence: its tokens and their positions, i32 `[tokens]`.
pub fn sentence_inputs(tokens: &[u32]) -> Result<[(&'static str, Tensor); 2], Error> {
    let positions: Vec<i32> = (0..tokens.len() as i32).collect();
    let tokens: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
    Ok([
        (TOKENS, Tensor::new([tokens.len()], tokens)?),
        (POSITIONS, Tensor::new([positions.len()], positions)?),
    ])
}

/// The cosine of the angle between two vectors.
pub fn cosine(left: &[f32], right: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    dot(left, right) / (dot(left, left) * dot(right, right)).sqrt()
}
