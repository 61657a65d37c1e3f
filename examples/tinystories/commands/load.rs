//! The parts that all commands share: a session, a model, its recipe.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitquilt::checkpoint::Checkpoint;
use bitquilt::plugin::{PluginProbe, SearchPath};
use bitquilt::quantize::{Recipe, Summary};
use bitquilt::text::Passage;
use bitquilt::{InferenceSession, file};
use bitquilt_models::blocks::decoder::Options;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::perplexity::Stage;
use bitquilt_models::runner::Runner;
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};

use super::Done;

/// The arguments that choose a model and a session.
#[derive(Args)]
pub struct ModelArguments {
    /// A GGUF file of a language model, a llama2.c checkpoint (.bin), or what `quantize` has saved.
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// The tokenizer.bin of a llama2.c checkpoint, if it is not beside it.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// A directory of plugins to load; may be given several times.
    #[arg(long, value_name = "DIR")]
    plugin_dir: Vec<PathBuf>,
    /// Threads of a run; all of the machine's if it is not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// The arguments that ask for a profile.
#[derive(Args)]
pub struct ProfileArguments {
    /// Prints how long each op took, without the prompt.
    #[arg(long)]
    profile: bool,
    /// Writes a trace of the runs, without the prompt, that chrome://tracing and Perfetto show.
    #[arg(long, value_name = "FILE.json")]
    trace: Option<PathBuf>,
}

impl ProfileArguments {
    /// Begins to note, if it was asked for.
    pub fn begin(&self, runner: &mut Runner) {
        if self.profile || self.trace.is_some() {
            runner.set_profile(true);
        }
    }

    /// Prints and writes what was noted.
    pub fn end(&self, runner: &Runner) -> Result<(), Box<dyn Error>> {
        let Some(profile) = runner.profile() else { return Ok(()) };
        if self.profile {
            eprintln!("\n{profile}");
        }
        if let Some(path) = &self.trace {
            profile.write_trace(path)?;
        }
        Ok(())
    }
}

impl ModelArguments {
    /// The session. Plugins that are refused are reported.
    pub fn session(&self) -> Result<InferenceSession, Box<dyn Error>> {
        let mut builder = InferenceSession::builder();
        if let Some(threads) = self.threads {
            builder = builder.threads(threads.into());
        }
        if !self.plugin_dir.is_empty() {
            builder = builder.search_path(SearchPath::program(&self.plugin_dir)).probe(PluginProbe::new()?);
        }
        // What cannot be opened is said where the model is read.
        if let Ok(checkpoint) = Checkpoint::open(&self.model) {
            builder = builder.encodings_of(&checkpoint);
        }
        let session = builder.build()?;
        for refusal in session.refusals() {
            eprintln!("plugin refused: {}", Passage(&refusal.to_string()));
        }
        Ok(session)
    }

    /// The files that a model is read from.
    pub fn files(&self) -> impl Iterator<Item = &Path> {
        std::iter::once(&self.model).chain(&self.tokenizer).map(PathBuf::as_path)
    }

    /// The model in the file.
    pub fn open(&self, session: &InferenceSession) -> Result<DecoderModel, Box<dyn Error>> {
        Ok(DecoderModel::open(&self.model, self.tokenizer.as_deref(), session.registry())?)
    }
}

/// Warns on standard error.
pub fn warn(warning: String) {
    eprintln!("warning: {warning}");
}

/// A progress bar that appears if work takes long and a terminal looks on, and goes with the work.
pub struct Progress {
    stage: Stage,
    begin: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    /// One of a stage.
    pub fn new(stage: Stage) -> Self {
        Self { stage, begin: Instant::now(), bar: None }
    }

    /// Goes over to another stage, if it is one.
    pub fn set_stage(&mut self, stage: Stage, done: usize, of: usize) {
        if self.stage != stage {
            *self = Self::new(stage);
        }
        self.set(done, of);
    }

    fn set(&mut self, done: usize, of: usize) {
        const LONG: Duration = Duration::from_millis(300);
        if self.begin.elapsed() >= LONG {
            let template = match self.stage {
                Stage::Quantizing => "quantizing {bar:40} {pos}/{len} weights, {eta} left",
                Stage::Preparing => "preparing {bar:40} {bytes}/{total_bytes}, {eta} left",
            };
            let new = || {
                // Templates are constants that indicatif knows.
                let style = ProgressStyle::with_template(template);
                ProgressBar::new(of as u64).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
            };
            self.bar.get_or_insert_with(new).set_position(done as u64);
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// An error if a file that is to be written is one of those that are read.
pub fn check_not_read<'a>(path: &Path, mut sources: impl Iterator<Item = &'a Path>) -> Done {
    match sources.any(|source| file::is_same(path, source)) {
        true => {
            Err(format!("{}: it is read, too, and would be lost; name another file", path.display()).into())
        }
        false => Ok(()),
    }
}

/// Encodes a model's weights.
pub fn apply(
    recipe: &Recipe,
    model: &mut DecoderModel,
    session: &InferenceSession,
) -> Result<Summary, Box<dyn Error>> {
    let mut progress = Progress::new(Stage::Quantizing);
    Ok(recipe.apply(&mut model.weights, session.registry(), |done, of| progress.set(done, of))?)
}

/// Loads a model's graph.
pub fn load(
    model: &DecoderModel,
    session: &InferenceSession,
    options: &Options,
) -> Result<Runner, Box<dyn Error>> {
    let mut progress = Progress::new(Stage::Preparing);
    Ok(Runner::load(session, model, options, |done, of| progress.set(done, of))?)
}
