//! The language model that a command runs.

use std::path::PathBuf;

use bitquilt::InferenceSession;
use bitquilt::text::Passage;
use bitquilt_models::model::DecoderModel;
use clap::Args;
use miette::IntoDiagnostic;

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

/// Warns of what a library says.
pub fn warn(warning: String) {
    tracing::warn!("{}", Passage(&warning));
}
