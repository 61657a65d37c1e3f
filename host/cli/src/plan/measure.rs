//! What a plan is measured on.

use std::path::{Path, PathBuf};

use bitquilt::checkpoint::Checkpoint;
use bitquilt::quantize::allocation::Subject;
use bitquilt::quantize::compare::inputs;
use bitquilt::{Graph, InferenceSession, file};
use bitquilt_models::arguments::ScoringArguments;
use bitquilt_models::model::{DecoderModel, NoTokenizer};
use bitquilt_models::perplexity::ScoreError;
use bitquilt_models::subject::subject;
use bitquilt_models::tokenizer::Tokenizer;
use clap::Args;
use miette::{IntoDiagnostic, miette};

use crate::model::warn;

/// The arguments that say what the loss is measured on.
#[derive(Args)]
pub struct MeasureArguments {
    /// A text in UTF-8, on which the predictions of a language model are compared.
    #[arg(long, value_name = "FILE", conflicts_with = "inputs")]
    text: Option<PathBuf>,
    /// Sets of inputs for a saved graph: each file .npz in this directory, and each directory in it of files NAME.npy, is one.
    #[arg(long, value_name = "DIR")]
    inputs: Option<PathBuf>,
    /// Tokens to take, at most.
    #[arg(long, value_name = "N", default_value_t = 384, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    tokens: u32,
    /// Tokens of a window; each window is predicted by itself.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    window: u32,
    /// The tokenizer.bin of a llama2.c checkpoint, if it is not beside it.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
}

/// What the figures are of.
pub struct Source {
    /// The text or the directory, or what stands for it.
    pub name: String,
    /// The tokens, or the sets of inputs.
    pub count: usize,
}

impl MeasureArguments {
    /// The files that are read.
    pub fn files(&self) -> miette::Result<Vec<PathBuf>> {
        let mut files: Vec<PathBuf> = [&self.text, &self.tokenizer].into_iter().flatten().cloned().collect();
        if let Some(directory) = &self.inputs {
            files.extend(inputs::files(directory).into_diagnostic()?);
        }
        Ok(files)
    }

    /// Calls `with` with the subject that a file is, and what it is measured on.
    pub fn with_subject<R>(
        &self,
        input: &Path,
        session: &InferenceSession,
        with: impl FnOnce(&Subject<'_>, &Source) -> miette::Result<R>,
    ) -> miette::Result<R> {
        let name = input.display().to_string();
        // What is no checkpoint may be a model in another format.
        if Checkpoint::open(input).is_ok_and(|file| Graph::is_in(&file)) {
            let Some(directory) = &self.inputs else {
                return Err(miette!(
                    "{name} is a saved graph: give --inputs DIR, the inputs to measure its outputs on"
                ));
            };
            let graph = Graph::load(input, session.registry()).into_diagnostic()?;
            let sets = inputs::list(directory).into_diagnostic()?;
            let sets =
                sets.iter().map(|set| inputs::read(set)).collect::<Result<Vec<_>, _>>().into_diagnostic()?;
            let source = Source { name: directory.display().to_string(), count: sets.len() };
            return with(&Subject::of_graph(name, &graph, sets), &source);
        }
        if self.inputs.is_some() {
            return Err(miette!("--inputs is for saved graphs, and {name} is none: give --text FILE"));
        }
        let model =
            DecoderModel::open(input, self.tokenizer.as_deref(), session.registry()).into_diagnostic()?;
        let (tokens, source) = self.tokens(&model, &name)?;
        let (window, most) = (self.window as usize, self.tokens as usize);
        let tokens = &tokens[..tokens.len().min(most)];
        model.beyond("--window", window.min(tokens.len())).into_iter().for_each(warn);
        let subject = subject(name, &model, session, tokens, window, most).into_diagnostic()?;
        with(&subject, &Source { name: source, count: tokens.len() })
    }

    /// The tokens, and where they are from.
    fn tokens(&self, model: &DecoderModel, name: &str) -> miette::Result<(Vec<i32>, String)> {
        let Some(text) = &self.text else {
            return Ok((
                random_tokens(model.config.vocabulary, self.tokens as usize),
                "random tokens".to_owned(),
            ));
        };
        let path = text.display();
        let contents = file::read_text(text, ScoringArguments::LARGEST_TEXT).into_diagnostic()?;
        let vocabulary = model.vocabulary.as_ref().ok_or_else(|| miette!("{name}: {NoTokenizer}"))?;
        let tokenizer = Tokenizer::new(vocabulary).map_err(|error| miette!("{name}: {error}"))?;
        let tokens =
            tokenizer.encode_for_model(&contents, true, warn).map_err(|error| miette!("{path}: {error}"))?;
        let least = (self.window as usize).min(self.tokens as usize);
        if tokens.len() < least {
            return Err(miette!("{path}: {}", ScoreError::Short { found: tokens.len(), least }));
        }
        Ok((tokens, path.to_string()))
    }
}

/// Tokens that are the same each time: those of a linear congruential generator, of which the upper bits count.
fn random_tokens(vocabulary: usize, count: usize) -> Vec<i32> {
    let mut state = 1u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // A vocabulary is counted by an i32.
        ((state >> 33) % vocabulary.max(1) as u64) as i32
    };
    (0..count).map(|_| next()).collect()
}
