//! Arguments of commands that run models, for the crate `clap`.

use std::path::PathBuf;

use bitquilt::DType;
use bitquilt::quantize::{Recipe, RecipeError};
use clap::{Args, ValueEnum};

use crate::blocks::decoder::Options;
use crate::conversation::{Conversation, ConversationError};
use crate::model::DecoderModel;
use crate::sampler::Sampling;
use crate::vocabulary::Vocabulary;

/// The arguments that say how a model is run.
#[derive(Args)]
pub struct RunArguments {
    /// Tokens that the model can look back on; by default what it was trained for, and at most 2048.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1 << 24))]
    context: Option<u32>,
    #[command(flatten)]
    precision: PrecisionArguments,
}

/// The arguments that say how exact a model is computed.
#[derive(Args)]
pub struct PrecisionArguments {
    /// What the key/value caches hold; by default f16, and f32 with --precision exact.
    #[arg(long, value_enum)]
    kv: Option<Cache>,
    /// Whether activations may be quantized for faster products.
    #[arg(long, value_enum, default_value = "fast")]
    precision: Precision,
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

impl PrecisionArguments {
    /// The choices that a graph with room for `context` tokens is built with.
    pub fn options(&self, context: usize) -> Options {
        let cache = self.kv.map(|cache| match cache {
            Cache::F32 => DType::F32,
            Cache::F16 => DType::F16,
        });
        Options::new(context, matches!(self.precision, Precision::Exact), cache)
    }
}

impl RunArguments {
    /// The choices that the graph of a model is built with, which has room for `least` tokens at least. `warn` is told where the model
    /// was trained for less than was asked for.
    pub fn options(&self, model: &DecoderModel, least: usize, warn: impl FnOnce(String)) -> Options {
        const DEFAULT_CONTEXT: usize = 2048;
        let context = match self.context {
            Some(context) => {
                if let Some(warning) = model.beyond("--context", context as usize) {
                    warn(warning);
                }
                context as usize
            }
            None => model.config.context.min(DEFAULT_CONTEXT),
        };
        self.precision.options(context.max(least))
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

impl RecipeArguments {
    /// The recipe's file.
    pub fn file(&self) -> Option<&std::path::Path> {
        self.recipe.as_deref()
    }

    /// The recipe, if there is one.
    pub fn recipe(&self) -> Result<Option<Recipe>, RecipeError> {
        Ok(match (&self.encoding, &self.recipe) {
            (Some(encoding), _) => Some(uniform(encoding, self.fallback.as_deref())?),
            (None, Some(path)) => Some(Recipe::read(path)?),
            (None, None) => None,
        })
    }
}

/// One encoding for every matrix. A name is no glob, of which something could be wrong but `*`.
fn uniform(encoding: &str, fallback: Option<&str>) -> Result<Recipe, RecipeError> {
    Recipe::uniform(encoding, fallback)
        .map_err(|error| RecipeError::Syntax { origin: encoding.to_owned(), problem: error.to_string() })
}

/// The arguments that choose tokens.
#[derive(Args)]
pub struct SamplingArguments {
    /// Tokens to generate, at most.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 256)]
    tokens: usize,
    /// What logits are divided by: above 1 for more surprise, below for less; 0 is the same as --greedy.
    #[arg(long, value_name = "T", default_value_t = 0.6, value_parser = temperature, allow_negative_numbers = true)]
    temperature: f32,
    /// Only the K most likely tokens are considered; 0 means all.
    #[arg(long, value_name = "K", default_value_t = 40)]
    top_k: usize,
    /// Only the most likely tokens are considered whose probabilities sum up to P.
    #[arg(long, value_name = "P", default_value_t = 0.9, value_parser = probability, allow_negative_numbers = true)]
    top_p: f32,
    /// The seed of the random choices; equal seeds tell equal stories.
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Makes the last 64 tokens less likely: their logits are divided by this if they are positive, and multiplied if not. 1 does not
    /// mind repetition.
    #[arg(long, value_name = "P", default_value_t = 1.1, value_parser = penalty, allow_negative_numbers = true)]
    repetition_penalty: f32,
    /// Takes the most likely token always.
    #[arg(long, conflicts_with_all = ["temperature", "top_k", "top_p", "seed", "repetition_penalty"])]
    greedy: bool,
}

impl SamplingArguments {
    /// The most tokens of an answer.
    pub fn tokens(&self) -> usize {
        self.tokens
    }

    /// How they are chosen.
    pub fn sampling(&self) -> Sampling {
        /// The number of the last tokens that are made less likely.
        const RECENT: usize = 64;
        let temperature = if self.greedy { 0.0 } else { self.temperature };
        let Self { top_k, top_p, seed, repetition_penalty, .. } = *self;
        Sampling { temperature, top_k, top_p, seed, repetition_penalty, recent: RECENT }
    }
}

/// The arguments of a conversation.
#[derive(Args)]
pub struct TalkArguments {
    /// What the model is told to be, for a model with a chat template.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Continues a text as it is, without the model's chat template.
    #[arg(long, conflicts_with = "system")]
    raw: bool,
    /// How tokens are chosen.
    #[command(flatten)]
    pub sampling: SamplingArguments,
}

impl TalkArguments {
    /// A conversation with a model of this vocabulary, in which nothing was said yet.
    pub fn conversation<'v>(
        &self,
        vocabulary: &'v Vocabulary,
    ) -> Result<Conversation<'v>, ConversationError> {
        Conversation::new(vocabulary, self.raw, self.system.as_deref())
    }
}

/// A number to divide by, or 0.
fn temperature(text: &str) -> Result<f32, String> {
    let finite = |value: &f32| (0.0..f32::INFINITY).contains(value);
    text.parse().ok().filter(finite).ok_or_else(|| "a finite number of at least 0 was expected".to_owned())
}

/// A probability.
fn probability(text: &str) -> Result<f32, String> {
    let fits = |value: &f32| (0.0..=1.0).contains(value);
    text.parse().ok().filter(fits).ok_or_else(|| "a number from 0 to 1 was expected".to_owned())
}

/// A number to divide by, of which 1 does nothing.
fn penalty(text: &str) -> Result<f32, String> {
    let fits = |value: &f32| (1.0..=10.0).contains(value);
    text.parse().ok().filter(fits).ok_or_else(|| "a number from 1 to 10 was expected".to_owned())
}

/// The arguments that say what is scored, with which encodings.
#[derive(Args)]
pub struct ScoringArguments {
    /// The text, in UTF-8.
    #[arg(long, value_name = "FILE")]
    pub text: PathBuf,
    /// Tokens of a window. The windows follow each other; the first token of each is only given.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    pub window: u32,
    /// Windows to take, at most.
    #[arg(long, value_name = "N")]
    pub windows: Option<usize>,
    /// An encoding for every matrix; may be given several times.
    #[arg(long, value_name = "NAME")]
    pub encoding: Vec<String>,
    /// A recipe; may be given several times.
    #[arg(long, value_name = "FILE.toml")]
    pub recipe: Vec<PathBuf>,
    /// With --encoding: the encoding of matrices whose rows are no multiple of its blocks.
    #[arg(long, value_name = "NAME", requires = "encoding")]
    pub fallback: Option<String>,
}

impl ScoringArguments {
    /// The recipes, and what each is called.
    pub fn recipes(&self) -> Result<Vec<(String, Recipe)>, RecipeError> {
        let uniform =
            |encoding: &String| Ok((encoding.clone(), uniform(encoding, self.fallback.as_deref())?));
        let read = |path: &PathBuf| Ok((path.display().to_string(), Recipe::read(path)?));
        self.encoding.iter().map(uniform).chain(self.recipe.iter().map(read)).collect()
    }
}

/// The arguments that say what is measured.
#[derive(Args)]
pub struct BenchArguments {
    /// Tokens of the prompt.
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    pub prompt: usize,
    /// Tokens decoded one by one, from an empty context.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128)]
    pub tokens: usize,
    /// Repetitions, after one that is not counted.
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    pub repetitions: usize,
}
