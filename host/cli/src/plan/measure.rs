//! What a plan is measured on.

use std::path::{Path, PathBuf};

use bitquilt::checkpoint::Checkpoint;
use bitquilt::quantize::allocation::{Origin, Subject};
use bitquilt::quantize::compare::inputs;
use bitquilt::{Graph, InferenceSession};
use bitquilt_models::model::DecoderModel;
use bitquilt_models::subject::subject;
use bitquilt_models::text::{RANDOM, measured_tokens};
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
        with: impl FnOnce(&Subject<'_>, &Origin) -> miette::Result<R>,
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
            let source = directory.display().to_string();
            let origin = Origin { model: name.clone(), source, count: sets.len() };
            return with(&Subject::of_graph(name, &graph, sets), &origin);
        }
        if self.inputs.is_some() {
            return Err(miette!("--inputs is for saved graphs, and {name} is none: give --text FILE"));
        }
        let model =
            DecoderModel::open(input, self.tokenizer.as_deref(), session.registry()).into_diagnostic()?;
        let (window, most, text) = (self.window as usize, self.tokens as usize, self.text.as_deref());
        let tokens = measured_tokens(&model, input, text, window, most, warn).into_diagnostic()?;
        model.beyond("--window", window.min(tokens.len())).into_iter().for_each(warn);
        let source = text.map_or_else(|| RANDOM.to_owned(), |text| text.display().to_string());
        let origin = Origin { model: name.clone(), source, count: tokens.len() };
        let subject = subject(name, &model, session, &tokens, window, most).into_diagnostic()?;
        with(&subject, &origin)
    }
}
