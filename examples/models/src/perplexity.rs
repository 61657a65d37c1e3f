//! How well models predict a text, beside each other.

use crate::runner::{FeedError, Runner};
use crate::scores::{Scores, log_softmax};

/// A model and its scores.
pub struct ScoredModel {
    /// The model.
    pub runner: Runner,
    /// Its scores in the windows so far.
    pub scores: Scores,
}

impl ScoredModel {
    /// A model without scores.
    pub fn new(runner: Runner) -> Self {
        Self { runner, scores: Scores::default() }
    }
}

/// Adds the tokens of a window to the scores of every model; the first model is what the others are compared with. The first token is
/// only given.
pub fn score(models: &mut [ScoredModel], window: &[i32]) -> Result<(), FeedError> {
    /// Pieces of the window, so that the logits of all models need be held for a piece alone.
    const PIECE: usize = 64;
    let Some((_, expected)) = window.split_first() else { return Ok(()) };
    let given = &window[..expected.len()];
    models.iter_mut().for_each(|model| model.runner.restart());
    let mut reference = vec![Vec::new(); PIECE];
    let mut predicted = Vec::new();
    for (given, expected) in given.chunks(PIECE).zip(expected.chunks(PIECE)) {
        for (index, ScoredModel { runner, scores }) in models.iter_mut().enumerate() {
            runner.feed_all(given, |logits| {
                let rows = logits.chunks_exact(logits.len() / given.len()).zip(expected);
                for (row, (logits, token)) in rows.enumerate() {
                    if index == 0 {
                        log_softmax(logits, &mut reference[row]);
                        scores.add(*token as usize, &reference[row], &reference[row]);
                    } else {
                        log_softmax(logits, &mut predicted);
                        scores.add(*token as usize, &predicted, &reference[row]);
                    }
                }
                Ok::<(), FeedError>(())
            })?;
        }
    }
    Ok(())
}
