//! The language model that a command runs.

use std::fmt::Display;
use std::path::{Path, PathBuf};

use bitquilt::text::Passage;
use bitquilt::{InferenceSession, file};
use bitquilt_models::arguments::ScoringArguments;
use bitquilt_models::model::{DecoderModel, NoTokenizer};
use bitquilt_models::tokenizer::Tokenizer;
use bitquilt_models::vocabulary::Vocabulary;
use clap::Args;
use miette::{IntoDiagnostic, miette};

use crate::session::SessionArguments;

/// The arguments that choose a model.
#[derive(Args)]
pub struct ModelArguments {
    /// A GGUF file of a language model, a llama2.c checkpoint (.bin), or what `bitquilt quantize` made of a GGUF file.
    #[arg(value_name = "MODEL")]
    model: PathBuf,
    /// The tokenizer.bin of a llama2.c checkpoint, if it is not beside it.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
}

impl ModelArguments {
    /// The session for the model, whose declared encodings it has.
    pub fn session(&self, session: &SessionArguments) -> miette::Result<InferenceSession> {
        session.build_for(&[&self.model])
    }

    /// The file.
    pub fn path(&self) -> &PathBuf {
        &self.model
    }

    /// The model.
    pub fn open(&self, session: &InferenceSession) -> miette::Result<DecoderModel> {
        DecoderModel::open(&self.model, self.tokenizer.as_deref(), session.registry()).into_diagnostic()
    }
}

/// The tokens of the text in a file, for the model at `path`.
pub fn text_tokens(text: &Path, path: &Path, vocabulary: Option<&Vocabulary>) -> miette::Result<Vec<i32>> {
    let contents = file::read_text(text, ScoringArguments::LARGEST_TEXT).into_diagnostic()?;
    let at_model = |error: &dyn Display| miette!("{}: {error}", path.display());
    let vocabulary = vocabulary.ok_or_else(|| at_model(&NoTokenizer))?;
    let tokenizer = Tokenizer::new(vocabulary).map_err(|error| at_model(&error))?;
    let tokens = tokenizer.encode_for_model(&contents, true, warn);
    tokens.map_err(|error| miette!("{}: {error}", text.display()))
}

/// Warns of what a library says.
pub fn warn(warning: String) {
    tracing::warn!("{}", Passage(&warning));
}
