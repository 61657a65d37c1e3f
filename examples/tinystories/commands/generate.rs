//! `generate`, the default

use std::io;
use std::time::Duration;

use bitquilt::quantize::Sizes;
use bitquilt_models::chat::{self, Message};
use bitquilt_models::generate::continue_text;
use bitquilt_models::runner::Runner;
use bitquilt_models::sampler::{Sampler, Sampling};
use bitquilt_models::stream::TextStream;
use bitquilt_models::tokenizer::Tokenizer;
use bitquilt_models::vocabulary::Vocabulary;
use clap::Args;

use super::Done;
use super::load::{ModelArguments, ProfileArguments, RecipeArguments, RunArguments, apply, encode, load};
use super::memory::peak_resident;

/// The arguments of `generate`.
#[derive(Args)]
pub struct GenerateArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    profile: ProfileArguments,
    /// The text to continue, or, for a model with a chat template, to answer.
    #[arg(long, default_value = "Once upon a time")]
    prompt: String,
    /// What the model is told to be, for a model with a chat template.
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// Continues the prompt as it is, without the model's chat template.
    #[arg(long, conflicts_with = "system")]
    raw: bool,
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

/// The number of the last tokens that are made less likely.
const RECENT: usize = 64;

/// Continues a text on standard output; all else goes to standard error.
pub fn generate(arguments: &GenerateArguments) -> Done {
    let session = arguments.model.session()?;
    let mut model = arguments.model.open(&session)?;
    if let Some(recipe) = arguments.recipe.recipe()? {
        eprintln!("{}\n", apply(&recipe, &mut model, &session)?);
    }
    let vocabulary = model.vocabulary.take().ok_or("the model has no tokenizer; give --tokenizer")?;
    let options = arguments.run.options(&model);
    // The tokenizer is made while the weights are prepared.
    let (tokenizer, runner) = std::thread::scope(|scope| {
        let tokenizer = scope.spawn(|| Tokenizer::new(&vocabulary));
        let runner = load(&model, &session, &options);
        (tokenizer.join(), runner)
    });
    let (tokenizer, mut runner) = (tokenizer.map_err(|_| "the tokenizer failed")??, runner?);
    let (sizes, vocabulary_size) = (Sizes::of(&model.weights), model.config.vocabulary);
    drop(model);

    let (prompt, answers) = prompt(arguments, &vocabulary)?;
    drop(vocabulary);
    // Templates write out the token that begins a text, where there is one.
    let prompt = encode(&tokenizer, &prompt, !answers)?;
    let temperature = if arguments.greedy { 0.0 } else { arguments.temperature };
    let GenerateArguments { top_k, top_p, seed, repetition_penalty, .. } = *arguments;
    let sampling = Sampling { temperature, top_k, top_p, seed, repetition_penalty, recent: RECENT };
    let mut sampler = Sampler::new(sampling, vocabulary_size);
    let mut stream = TextStream::new(io::stdout().lock(), tokenizer.adds_space());
    if !answers {
        prompt.iter().try_for_each(|token| stream.push(tokenizer.bytes(*token as u32)))?;
    }
    let room = runner.context().saturating_sub(prompt.len()) + 1;
    let most = arguments.tokens.min(room);
    let begin = |runner: &mut Runner| arguments.profile.begin(runner);
    let generation = continue_text(&mut runner, &prompt, &tokenizer, &mut sampler, &mut stream, most, begin)?;
    stream.push(b"\n")?;
    drop(stream.finish()?);
    if !generation.ended {
        match most < arguments.tokens {
            true => {
                eprintln!("\n(the context of {} tokens is full; --context makes it longer)", runner.context())
            }
            false => eprintln!("\n(stopped after {most} tokens; -n gives more)"),
        }
    }

    let rate = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
    eprint!(
        "\nprefill {} tokens, {:.1} tokens/s; decode {} tokens, {:.1} tokens/s",
        prompt.len(),
        rate(prompt.len(), generation.prefill),
        generation.decoded,
        rate(generation.decoded, generation.decode)
    );
    if let Some(bytes) = peak_resident() {
        eprint!("; peak memory {:.1} MB", bytes as f64 / 1e6);
    }
    eprintln!("; {} threads\n{sizes}", session.threads());
    arguments.profile.end(&runner)
}

/// The text that the model sees, and whether it is a conversation.
fn prompt(
    arguments: &GenerateArguments,
    vocabulary: &Vocabulary,
) -> Result<(String, bool), Box<dyn std::error::Error>> {
    let template = vocabulary.chat_template.as_ref().filter(|_| !arguments.raw);
    let Some(template) = template else {
        return match &arguments.system {
            Some(_) => Err("the model has no chat template; --system needs one".into()),
            None => Ok((arguments.prompt.clone(), false)),
        };
    };
    let system = arguments.system.iter().map(|text| Message::new("system", text));
    let messages: Vec<Message> = system.chain([Message::new("user", &arguments.prompt)]).collect();
    let text = chat::render(template, vocabulary, &messages)
        .map_err(|error| format!("the model's chat template: {error}; --raw does without it"))?;
    Ok((text, true))
}
