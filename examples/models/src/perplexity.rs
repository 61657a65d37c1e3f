//! How well models predict a text, beside each other.

use std::fmt::{self, Display, Formatter};

use bitquilt::quantize::{Recipe, RecipeError, Sizes};
use bitquilt::text::Columns;
use bitquilt::{DType, Error, InferenceSession};

use crate::blocks::decoder::Options;
use crate::model::DecoderModel;
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

/// Why a text is not scored.
#[derive(Debug, thiserror::Error)]
pub enum ScoreError {
    /// It is too short.
    #[error("the text has {found} tokens, {least} at least were expected; give a longer one{}", if *.least > 2 { ", or a smaller window" } else { "" })]
    Short {
        /// The number of its tokens.
        found: usize,
        /// The number that it needs.
        least: usize,
    },
    /// Tokens cannot be fed.
    #[error(transparent)]
    Feed(#[from] FeedError),
    /// A model's logits are no numbers.
    #[error(
        "the logits of model {model} after token {token} are no finite numbers: its weights are damaged, or too large for their dtype or encoding"
    )]
    NotNumbers {
        /// Which model, counted from 0, which is the one that others are compared with.
        model: usize,
        /// The index of the token in the text's window.
        token: usize,
    },
}

/// The parts of a text's tokens that are scored each by itself, of `window` tokens or, the last one, fewer, with two at least. Of the text
/// the first `most` tokens are taken.
pub fn windows(tokens: &[i32], window: usize, most: usize) -> impl Iterator<Item = &[i32]> {
    tokens[..tokens.len().min(most)].chunks(window).filter(|window| window.len() > 1)
}

/// Adds the tokens of a window to the scores of every model; the first model is what the others are compared with. The first token is
/// only given.
///
/// The logits of one model are held for a part of the window alone, and the reference's logarithms.
pub fn score(models: &mut [ScoredModel], window: &[i32]) -> Result<(), ScoreError> {
    /// Pieces of the window.
    const PIECE: usize = 64;
    let Some((_, expected)) = window.split_first() else { return Ok(()) };
    let given = &window[..expected.len()];
    models.iter_mut().for_each(|model| model.runner.restart());
    let mut reference = vec![Vec::new(); PIECE];
    let mut predicted = Vec::new();
    for (piece, (given, expected)) in given.chunks(PIECE).zip(expected.chunks(PIECE)).enumerate() {
        for (index, ScoredModel { runner, scores }) in models.iter_mut().enumerate() {
            runner.feed_all(given, |logits| {
                let rows = logits.chunks_exact(logits.len() / given.len()).zip(expected);
                for (row, (logits, token)) in rows.enumerate() {
                    if !logits.iter().all(|logit| logit.is_finite()) {
                        return Err(ScoreError::NotNumbers { model: index, token: piece * PIECE + row });
                    }
                    if index == 0 {
                        log_softmax(logits, &mut reference[row]);
                        scores.add(*token as usize, &reference[row], &reference[row]);
                    } else {
                        log_softmax(logits, &mut predicted);
                        scores.add(*token as usize, &predicted, &reference[row]);
                    }
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// What takes time before a text is scored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Weights are encoded; counted in weights.
    Quantizing,
    /// Weights are prepared for their kernels; counted in bytes.
    Preparing,
}

/// Why models are not there to be scored.
#[derive(Debug, thiserror::Error)]
pub enum RankingError {
    /// A recipe is not for this model.
    #[error("{recipe}: {source}")]
    Recipe {
        /// What it is called.
        recipe: String,
        /// Why.
        source: RecipeError,
    },
    /// A graph was not loaded.
    #[error(transparent)]
    Load(#[from] Error),
}

/// Models with names, which are scored on the same text. Its text is a table: name, bits a weight, perplexity, divergence from the first.
#[derive(Default)]
pub struct Ranking {
    names: Vec<(String, f64)>,
    models: Vec<ScoredModel>,
}

impl Ranking {
    /// The headings of the table.
    pub const HEADINGS: [&str; 4] = ["recipe", "bits/weight", "perplexity", "KL to f32"];

    /// Adds a model, whose weights take so many bits each. The first is what the others are compared with.
    pub fn add(&mut self, name: impl Into<String>, bits: f64, runner: Runner) {
        self.names.push((name.into(), bits));
        self.models.push(ScoredModel::new(runner));
    }

    /// A model with its weights as f32, with those of its file, and with what recipes make of them; each recipe has a name. `options` are
    /// for all but the first.
    ///
    /// The first is the model of the file, of which every weight is decoded to f32 where it is multiplied, and keys and values are f32.
    pub fn of(
        model: &DecoderModel,
        recipes: Vec<(String, Recipe)>,
        session: &InferenceSession,
        options: &Options,
        progress: &mut dyn FnMut(Stage, usize, usize),
    ) -> Result<Self, RankingError> {
        let mut ranking = Self::default();
        let exact = Options { cache: DType::F32, precision: "exact".to_owned(), ..options.clone() };
        let load =
            |model: &DecoderModel, options: &Options, progress: &mut dyn FnMut(Stage, usize, usize)| {
                Runner::load(session, model, options, |done, of| progress(Stage::Preparing, done, of))
            };
        let bits = |model: &DecoderModel| Sizes::of(&model.weights).bits_per_weight();
        ranking.add("f32", 32.0, load(model, &exact, progress)?);
        ranking.add("as the file has it", bits(model), load(model, options, progress)?);
        for (name, recipe) in recipes {
            let mut model = model.clone();
            let quantizing = |done, of| progress(Stage::Quantizing, done, of);
            if let Err(source) = recipe.apply(&mut model.weights, session.registry(), quantizing) {
                return Err(RankingError::Recipe { recipe: name, source });
            }
            ranking.add(name, bits(&model), load(&model, options, progress)?);
        }
        Ok(ranking)
    }

    /// Scores all models in windows of a text.
    pub fn score<'t>(&mut self, windows: impl Iterator<Item = &'t [i32]>) -> Result<(), ScoreError> {
        for window in windows {
            score(&mut self.models, window)?;
        }
        match self.tokens() {
            0 => Err(ScoreError::Short { found: 0, least: 2 }),
            _ => Ok(()),
        }
    }

    /// The number of tokens that were scored.
    pub fn tokens(&self) -> usize {
        self.models.first().map_or(0, |model| model.scores.tokens())
    }

    /// Name, bits a weight and scores of each model, in the order in which they were added.
    pub fn models(&self) -> impl ExactSizeIterator<Item = (&str, f64, &Scores)> {
        self.names.iter().zip(&self.models).map(|((name, bits), model)| (name.as_str(), *bits, &model.scores))
    }
}

impl Display for Ranking {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let row = |(name, bits, scores): (&str, f64, &Scores)| {
            let (perplexity, divergence) = (scores.perplexity(), scores.divergence());
            [name.to_owned(), format!("{bits:.2}"), format!("{perplexity:.4}"), format!("{divergence:.6}")]
        };
        let rows: Vec<_> = self.models().map(row).collect();
        let columns = Columns::new(1, Self::HEADINGS, &rows);
        writeln!(f, "{}", columns.line(&Self::HEADINGS))?;
        rows.iter().try_for_each(|row| writeln!(f, "{}", columns.line(row)))
    }
}
