//! How much each column of a model's weights matters: the mean square of what it is multiplied with, on a text.

use bitquilt::quantize::importance::{Chunks, ImportanceMatrix};

use crate::perplexity::{ScoreError, windows};
use crate::runner::{FeedError, Runner};

/// Records the importance of a model's weights in windows of a text, of which the first `most` tokens are taken; `dataset` is what the text
/// is called. Every token of a window is fed, and logits are computed for each, so that the classifier counts as many rows as the rest.
/// `progress` is told the tokens of each window.
///
/// # Errors
/// If the text has fewer than two tokens, or an activation is not finite.
pub fn record(
    runner: &mut Runner,
    tokens: &[i32],
    window: usize,
    most: usize,
    dataset: &str,
    mut progress: impl FnMut(usize),
) -> Result<ImportanceMatrix, ScoreError> {
    runner.set_record_importance(true);
    let mut count = 0;
    for window in windows(tokens, window, most) {
        runner.restart();
        runner.feed_all::<FeedError>(window, |_| Ok(()))?;
        progress(window.len());
        count += 1;
    }
    let mut importance = runner.importance().unwrap_or_default();
    runner.set_record_importance(false);
    if count == 0 {
        return Err(ScoreError::Short { found: tokens.len().min(most), least: 2 });
    }
    importance.set_source(dataset, Chunks { count, size: window as u64 });
    Ok(importance)
}
