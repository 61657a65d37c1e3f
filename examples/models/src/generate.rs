//! Continuing a text.

use std::io;
use std::time::{Duration, Instant};

use crate::runner::{FeedError, Runner};
use crate::sampler::{NotNumbers, Sampler};
use crate::stream::TextStream;
use crate::tokenizer::Tokenizer;

/// How a text was continued, and how long that took.
#[derive(Clone, Copy, Debug)]
pub struct Generation {
    /// The time in which the prompt was fed.
    pub prefill: Duration,
    /// The number of tokens that were fed one by one after it.
    pub decoded: usize,
    /// The time in which those were fed.
    pub decode: Duration,
    /// Whether the model ended the text.
    pub ended: bool,
}

/// Why a text is not continued.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// Tokens cannot be fed.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// No token can be chosen.
    #[error(transparent)]
    Sample(#[from] NotNumbers),
    /// The text cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Feeds a prompt, then each token that is chosen, until the model ends the text or `most` tokens are written; `prefilled` is called
/// between the two.
pub fn continue_text(
    runner: &mut Runner,
    prompt: &[i32],
    tokenizer: &Tokenizer,
    sampler: &mut Sampler,
    stream: &mut TextStream<impl io::Write>,
    most: usize,
    prefilled: impl FnOnce(&mut Runner),
) -> Result<Generation, GenerateError> {
    let begin = Instant::now();
    let mut token = sampler.sample(runner.feed(prompt)?)?;
    let mut generation =
        Generation { prefill: begin.elapsed(), decoded: 0, decode: Duration::ZERO, ended: false };
    prefilled(runner);
    let begin = Instant::now();
    for told in 1..=most {
        if tokenizer.is_stop(token) {
            generation.ended = true;
            break;
        }
        stream.push(tokenizer.bytes(token))?;
        if told < most {
            token = sampler.sample(runner.feed(&[token as i32])?)?;
            generation.decoded += 1;
        }
    }
    generation.decode = begin.elapsed();
    Ok(generation)
}
