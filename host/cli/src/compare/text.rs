//! What models predict for a text.

use std::path::{Path, PathBuf};

use bitquilt::{InferenceSession, TensorDict};
use bitquilt_models::arguments::PrecisionArguments;
use bitquilt_models::loss::{TextLoss, check_same_tokens, text_losses};
use bitquilt_models::model::DecoderModel;
use bitquilt_models::runner::Runner;
use bitquilt_models::text::tokens;
use clap::Args;
use miette::{IntoDiagnostic, miette};

use crate::model::warn;

/// The arguments of the comparison on a text.
#[derive(Args)]
pub struct TextArguments {
    /// A text in UTF-8, on which the predictions of language models of the architectures Llama, Qwen2 and Qwen3 are compared.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Tokens of a window. The windows follow each other; the first token of each is only given.
    #[arg(long, value_name = "N", default_value_t = 512, requires = "text", value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    window: u32,
    /// Tokens of the text to take, at most.
    #[arg(long, value_name = "N", requires = "text", value_parser = clap::value_parser!(u32).range(2..))]
    tokens: Option<u32>,
    /// The tokenizer.bin of a llama2.c checkpoint, if it is not beside it.
    #[arg(long, value_name = "FILE", requires = "text")]
    tokenizer: Option<PathBuf>,
    #[command(flatten)]
    precision: PrecisionArguments,
}

/// Models that are to be compared, and the tokens of the text.
struct Prepared {
    reference: DecoderModel,
    tokens: Vec<i32>,
}

impl TextArguments {
    /// The text, if there is one.
    pub fn file(&self) -> Option<&Path> {
        self.text.as_deref()
    }

    /// What is read.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        [&self.text, &self.tokenizer].into_iter().flatten().map(PathBuf::as_path)
    }

    /// The loss of the model at `other` to the one at `reference`.
    pub fn with_other(
        &self,
        text: &Path,
        reference: &Path,
        other: &Path,
        session: &InferenceSession,
    ) -> miette::Result<Vec<TextLoss>> {
        let other_model = self.open(other, session)?;
        let Prepared { reference, tokens } = self.prepare(text, reference, Some(&other_model), session)?;
        let others = vec![self.load(&other_model, session)?];
        self.losses(text, &reference, others, &tokens, session)
    }

    /// The losses of a model with its weights in encodings.
    pub fn in_encodings(
        &self,
        text: &Path,
        reference: &Path,
        encodings: &[String],
        encode: impl Fn(&String) -> miette::Result<TensorDict>,
        session: &InferenceSession,
    ) -> miette::Result<Vec<TextLoss>> {
        let Prepared { reference, tokens } = self.prepare(text, reference, None, session)?;
        let load = |encoding: &String| {
            let mut model = reference.clone();
            model.weights.extend(encode(encoding)?);
            self.load(&model, session)
        };
        let others = encodings.iter().map(load).collect::<miette::Result<Vec<_>>>()?;
        self.losses(text, &reference, others, &tokens, session)
    }

    fn prepare(
        &self,
        text: &Path,
        reference: &Path,
        other: Option<&DecoderModel>,
        session: &InferenceSession,
    ) -> miette::Result<Prepared> {
        let path = reference;
        let reference = self.open(path, session)?;
        if let Some(other) = other {
            check_same_tokens(&reference, other).into_diagnostic()?;
        }
        let vocabulary = reference.vocabulary.as_ref().or(other.and_then(|it| it.vocabulary.as_ref()));
        let tokens = tokens(text, path, vocabulary, warn).into_diagnostic()?;
        reference.beyond("--window", self.window as usize).into_iter().for_each(warn);
        Ok(Prepared { reference, tokens })
    }

    fn open(&self, path: &Path, session: &InferenceSession) -> miette::Result<DecoderModel> {
        DecoderModel::open(path, self.tokenizer.as_deref(), session.registry()).into_diagnostic()
    }

    fn load(&self, model: &DecoderModel, session: &InferenceSession) -> miette::Result<Runner> {
        let options = self.precision.options(self.window as usize);
        Runner::load(session, model, &options, |_, _| {}).into_diagnostic()
    }

    fn losses(
        &self,
        text: &Path,
        reference: &DecoderModel,
        others: Vec<Runner>,
        tokens: &[i32],
        session: &InferenceSession,
    ) -> miette::Result<Vec<TextLoss>> {
        let reference = self.load(reference, session)?;
        let most = self.tokens.map_or(usize::MAX, |tokens| tokens as usize);
        let losses = text_losses(reference, others, tokens, self.window as usize, most);
        losses.map_err(|error| miette!("{}: {error}", text.display()))
    }
}
