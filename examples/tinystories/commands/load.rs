//! The parts that all commands share: a session, a model, its recipe.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use bitquilt::plugin::{PluginProbe, SearchPath};
use bitquilt::quantize::{Recipe, Summary};
use bitquilt::text::Passage;
use bitquilt::{DType, InferenceSession, file};
use bitquilt_models::blocks::decoder::Options;
use bitquilt_models::graph;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::runner::Runner;
use bitquilt_models::tokenizer::{Tokenizer, TokenizerError};
use clap::{Args, ValueEnum};
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

/// The arguments that say how a model is run.
#[derive(Args)]
pub struct RunArguments {
    /// Tokens that the model can look back on; by default what it was trained for, and at most 2048.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    context: Option<u32>,
    /// What the key/value caches hold; by default f16, and f32 with --precision exact.
    #[arg(long, value_enum)]
    kv: Option<Cache>,
    /// Whether activations may be quantized for faster products.
    #[arg(long, value_enum, default_value = "fast")]
    precision: Precision,
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

/// The arguments that choose encodings.
#[derive(Args)]
pub struct RecipeArguments {
    /// Encodes every matrix so, such as q4_0; without this or a recipe weights stay as the file has them.
    #[arg(long, value_name = "NAME", conflicts_with = "recipe")]
    encoding: Option<String>,
    /// Encodes each matrix as the rules of a TOML file say.
    #[arg(long, value_name = "FILE.toml")]
    recipe: Option<PathBuf>,
    /// With --encoding: the encoding of matrices whose rows are no multiple of its blocks.
    #[arg(long, value_name = "NAME", requires = "encoding")]
    fallback: Option<String>,
}

/// The dtypes of caches.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Cache {
    F32,
    F16,
}

/// The precisions of `qmatmul`.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Precision {
    Fast,
    Exact,
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

impl RecipeArguments {
    /// The recipe's file.
    pub fn file(&self) -> Option<&Path> {
        self.recipe.as_deref()
    }

    /// The recipe, if there is one.
    pub fn recipe(&self) -> Result<Option<Recipe>, Box<dyn Error>> {
        Ok(match (&self.encoding, &self.recipe) {
            (Some(encoding), _) => Some(Recipe::uniform(encoding, self.fallback.as_deref())?),
            (None, Some(path)) => Some(Recipe::read(path)?),
            (None, None) => None,
        })
    }
}

impl RunArguments {
    /// The choices that the graph of a model is built with.
    pub fn options(&self, model: &DecoderModel) -> Options {
        const DEFAULT_CONTEXT: usize = 2048;
        let context = match self.context {
            Some(context) => {
                warn_beyond("--context", context as usize, model);
                context as usize
            }
            None => model.config.context.min(DEFAULT_CONTEXT),
        };
        let cache = match (self.kv, self.precision) {
            (Some(Cache::F32), _) | (None, Precision::Exact) => DType::F32,
            (Some(Cache::F16), _) | (None, Precision::Fast) => DType::F16,
        };
        let precision = match self.precision {
            Precision::Fast => "fast",
            Precision::Exact => "exact",
        };
        Options { context, cache, precision: precision.to_owned() }
    }
}

/// Warns where a model is to look back on more tokens than it was trained for.
pub fn warn_beyond(option: &str, context: usize, model: &DecoderModel) {
    let trained = model.config.context;
    if context > trained {
        eprintln!(
            "warning: {option} is {context}, and the model was trained for {trained} tokens: what it predicts beyond them means little"
        );
    }
}

/// The tokens of a text; a warning where a part of it has none.
pub fn encode(tokenizer: &Tokenizer, text: &str, begins: bool) -> Result<Vec<i32>, TokenizerError> {
    let tokens = tokenizer.encode(text, begins)?;
    match tokenizer.count_unknown(&tokens) {
        0 => {}
        count => eprintln!(
            "warning: the model's vocabulary has no tokens for {count} pieces of the text; it sees its sign for the unknown instead"
        ),
    }
    Ok(tokens.iter().map(|id| *id as i32).collect())
}

/// A progress bar that appears if work takes long and a terminal looks on, and goes with the work.
struct Progress {
    template: &'static str,
    begin: Instant,
    bar: Option<ProgressBar>,
}

impl Progress {
    fn new(template: &'static str) -> Self {
        Self { template, begin: Instant::now(), bar: None }
    }

    fn set(&mut self, done: usize, of: usize) {
        const LONG: Duration = Duration::from_millis(300);
        if self.begin.elapsed() >= LONG {
            let template = self.template;
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
    let mut progress = Progress::new("quantizing {bar:40} {pos}/{len} weights, {eta} left");
    Ok(recipe.apply(&mut model.weights, session.registry(), |done, of| progress.set(done, of))?)
}

/// Loads a model's graph.
pub fn load(
    model: &DecoderModel,
    session: &InferenceSession,
    options: &Options,
) -> Result<Runner, Box<dyn Error>> {
    let graph = graph::build(session.registry(), model, options)?;
    let mut progress = Progress::new("preparing {bar:40} {bytes}/{total_bytes}, {eta} left");
    let loaded = session.load_with_progress(&graph, |done, of| progress.set(done, of))?;
    drop(progress);
    Ok(Runner::new(&loaded, options.context, model.config.vocabulary)?)
}
