//! The tokens that a model is measured on: a text's, or some that are drawn.

use std::path::{Path, PathBuf};

use bitquilt::file::{self, FileError};

use crate::model::{DecoderModel, NoTokenizer};
use crate::perplexity::ScoreError;
use crate::tokenizer::{Tokenizer, TokenizerError};
use crate::vocabulary::Vocabulary;

/// The most bytes of a text.
pub const LARGEST: u64 = 1 << 30;

/// What tokens that are drawn are called.
pub const RANDOM: &str = "random tokens";

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// The text was not read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The model has no vocabulary.
    #[error("{}: {error}", .model.display())]
    NoTokenizer {
        /// The model's file.
        model: PathBuf,
        /// What is to be done.
        error: NoTokenizer,
    },
    /// The vocabulary makes no tokenizer, or the text no tokens.
    #[error("{}: {error}", .path.display())]
    Tokenizer {
        /// The model's file, or the text's.
        path: PathBuf,
        /// Why.
        error: TokenizerError,
    },
    /// The text is too short.
    #[error("{}: {error}", .text.display())]
    Short {
        /// The text's file.
        text: PathBuf,
        /// How many tokens it needs.
        error: ScoreError,
    },
}

/// The tokens of the text in a file, in UTF-8, for the model at `model`. `warn` is told if parts of it have none.
pub fn tokens(
    text: &Path,
    model: &Path,
    vocabulary: Option<&Vocabulary>,
    warn: impl FnOnce(String),
) -> Result<Vec<i32>, TextError> {
    let contents = file::read_text(text, LARGEST)?;
    let no_tokenizer = || TextError::NoTokenizer { model: model.to_owned(), error: NoTokenizer };
    let failed = |path: &Path| {
        let path = path.to_owned();
        |error| TextError::Tokenizer { path, error }
    };
    let tokenizer = Tokenizer::new(vocabulary.ok_or_else(no_tokenizer)?).map_err(failed(model))?;
    tokenizer.encode_for_model(&contents, true, warn).map_err(failed(text))
}

/// The tokens that encodings are chosen on: the first `most` of a text, which has a window of them at least, or as many that are drawn, the
/// same each time. `path` is the model's file.
pub fn measured_tokens(
    model: &DecoderModel,
    path: &Path,
    text: Option<&Path>,
    window: usize,
    most: usize,
    warn: impl FnOnce(String),
) -> Result<Vec<i32>, TextError> {
    let Some(text) = text else { return Ok(random_tokens(model.config.vocabulary, most)) };
    let mut tokens = tokens(text, path, model.vocabulary.as_ref(), warn)?;
    let least = window.min(most);
    if tokens.len() < least {
        let error = ScoreError::Short { found: tokens.len(), least };
        return Err(TextError::Short { text: text.to_owned(), error });
    }
    tokens.truncate(most);
    Ok(tokens)
}

/// Those of a linear congruential generator, of which the upper bits count.
fn random_tokens(vocabulary: usize, count: usize) -> Vec<i32> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A vocabulary is counted by an i32.
        ((state >> 33) % vocabulary.max(1) as u64) as i32
    };
    (0..count).map(|_| next()).collect()
}
