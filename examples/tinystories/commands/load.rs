//! What all commands share: a session, a model, its recipe.

use std::error::Error;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use bitquilt::plugin::{PluginProbe, SearchPath};
use bitquilt::{DType, InferenceSession};
use bitquilt_examples::recipe::{Recipe, Summary};
use bitquilt_examples::tinystories::graph::{self, Options};
use bitquilt_examples::tinystories::model::Llama;
use bitquilt_examples::tinystories::runner::Runner;
use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};

/// Which model, and with what session.
#[derive(Args)]
pub struct ModelArguments {
    /// A GGUF file of the architecture `llama`, a llama2.c checkpoint (.bin), or what `quantize` has saved.
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

/// How a model is run.
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

/// Whether to say where the time goes.
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

/// Which encodings.
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
            eprintln!("plugin refused: {refusal}");
        }
        Ok(session)
    }

    /// The model in the file.
    pub fn open(&self, session: &InferenceSession) -> Result<Llama, Box<dyn Error>> {
        Ok(Llama::open(&self.model, self.tokenizer.as_deref(), session.registry())?)
    }
}

impl RecipeArguments {
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
    /// What the graph of a model is built for.
    pub fn options(&self, model: &Llama) -> Options {
        const DEFAULT_CONTEXT: usize = 2048;
        let context = match self.context {
            Some(context) => context as usize,
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

/// Encodes a model's weights, with a progress bar if that takes long and a terminal looks on.
pub fn apply(
    recipe: &Recipe,
    model: &mut Llama,
    session: &InferenceSession,
) -> Result<Summary, Box<dyn Error>> {
    const LONG: Duration = Duration::from_millis(300);
    let begin = Instant::now();
    let mut bar: Option<ProgressBar> = None;
    let summary = recipe.apply(&mut model.weights, session.registry(), |done, of| {
        if begin.elapsed() < LONG {
            return;
        }
        let style = || {
            // The template is a constant that indicatif knows.
            ProgressStyle::with_template("quantizing {bar:40} {pos}/{len} weights, {eta} left")
                .unwrap_or_else(|_| ProgressStyle::default_bar())
        };
        bar.get_or_insert_with(|| ProgressBar::new(of as u64).with_style(style())).set_position(done as u64);
    });
    if let Some(bar) = bar {
        bar.finish_and_clear();
    }
    Ok(summary?)
}

/// Loads a model's graph.
pub fn load(model: &Llama, session: &InferenceSession, options: &Options) -> Result<Runner, Box<dyn Error>> {
    let graph = graph::build(session.registry(), &model.config, &model.weights, options)?;
    let loaded = session.load(&graph)?;
    Ok(Runner::new(&loaded, options.context, model.config.vocabulary)?)
}
