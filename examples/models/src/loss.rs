//! What a model has lost to another of the same tokens, on a text.

use bitquilt::text::Brief;

use crate::model::DecoderModel;
use crate::perplexity::{ScoreError, ScoredModel, score, windows};
use crate::runner::Runner;
use crate::scores::Divergences;

/// What a model has lost to a reference.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TextLoss {
    /// The divergences of its predictions from the reference's, in nats.
    pub kl: Divergences,
    /// The part of the tokens for which the best prediction is the reference's.
    pub top1: f64,
    /// The perplexity of the reference.
    pub reference_perplexity: f64,
    /// That of the model.
    pub perplexity: f64,
}

/// Scores a reference and other models in windows of a text, of which the first `most` tokens are taken: the loss of each of the others.
///
/// # Errors
/// If the text is shorter than a window, or a model's logits are no numbers.
pub fn text_losses(
    reference: Runner,
    others: Vec<Runner>,
    tokens: &[i32],
    window: usize,
    most: usize,
) -> Result<Vec<TextLoss>, ScoreError> {
    if tokens.len() < window {
        return Err(ScoreError::Short { found: tokens.len(), least: window });
    }
    let mut models: Vec<ScoredModel> =
        std::iter::once(reference).chain(others).map(ScoredModel::new).collect();
    for window in windows(tokens, window, most) {
        score(&mut models, window)?;
    }
    let too_few = || ScoreError::Short { found: tokens.len().min(most), least: 2 };
    let (reference, others) = models.split_first().ok_or_else(too_few)?;
    let loss = |model: &ScoredModel| {
        Ok(TextLoss {
            kl: model.scores.divergences().ok_or_else(too_few)?,
            top1: model.scores.top1(),
            reference_perplexity: reference.scores.perplexity(),
            perplexity: model.scores.perplexity(),
        })
    };
    others.iter().map(loss).collect()
}

/// Two models do not have the same tokens.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("the two models do not have the same tokens, and cannot be compared on a text: {0}")]
pub struct OtherTokens(String);

/// Checks that two models have the same tokens, as far as it is known what they are.
pub fn check_same_tokens(reference: &DecoderModel, other: &DecoderModel) -> Result<(), OtherTokens> {
    let (expected, found) = (reference.config.vocabulary, other.config.vocabulary);
    if expected != found {
        return Err(OtherTokens(format!("one has {expected}, and the other {found}")));
    }
    let (Some(expected), Some(found)) = (&reference.vocabulary, &other.vocabulary) else { return Ok(()) };
    let mut pairs = expected.tokens.iter().zip(&found.tokens).enumerate();
    match pairs.find(|(_, (expected, found))| expected != found) {
        Some((id, (expected, found))) => {
            let (expected, found) = (Brief(expected), Brief(found));
            Err(OtherTokens(format!("token {id} is \"{expected}\" in one, and \"{found}\" in the other")))
        }
        None => Ok(()),
    }
}
