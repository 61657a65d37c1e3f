//! `bench`

use std::time::{Duration, Instant};

use bitquilt::quantize::Sizes;
use bitquilt_models::runner::{FeedError, Runner};
use clap::Args;

use super::Done;
use super::load::{ModelArguments, ProfileArguments, RecipeArguments, RunArguments, apply, load};
use super::memory::peak_resident;

/// The arguments of `bench`.
#[derive(Args)]
pub struct BenchArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    recipe: RecipeArguments,
    #[command(flatten)]
    run: RunArguments,
    #[command(flatten)]
    profile: ProfileArguments,
    /// Tokens of the prompt.
    #[arg(short, long, value_name = "N", default_value_t = 512)]
    prompt: usize,
    /// Tokens decoded one by one, from an empty context.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 128)]
    tokens: usize,
    /// Repetitions, after one that is not counted.
    #[arg(short, long, value_name = "N", default_value_t = 5)]
    repetitions: usize,
}

/// Prints the median rates of prefill and decode, and their extremes.
pub fn bench(arguments: &BenchArguments) -> Done {
    let session = arguments.model.session()?;
    let mut model = arguments.model.open(&session)?;
    if let Some(recipe) = arguments.recipe.recipe()? {
        apply(&recipe, &mut model, &session)?;
    }
    let mut options = arguments.run.options(&model);
    options.context = options.context.max(arguments.prompt).max(arguments.tokens);
    let mut runner = load(&model, &session, &options)?;
    let (sizes, vocabulary) = (Sizes::of(&model.weights), model.config.vocabulary);
    drop(model);
    // Any tokens will do; these are spread over the vocabulary.
    let tokens =
        |count: usize| (0..count).map(|index| (index * 7919 % vocabulary) as i32).collect::<Vec<_>>();
    let (prompt, told) = (tokens(arguments.prompt), tokens(arguments.tokens));
    let prefill =
        |runner: &mut Runner| if prompt.is_empty() { Ok(()) } else { runner.feed(&prompt).map(drop) };
    let decode = |runner: &mut Runner| told.iter().try_for_each(|token| runner.feed(&[*token]).map(drop));
    println!("threads {}, weights {:.2} MB", session.threads(), sizes.bytes() as f64 / 1e6);
    report("prefill", prompt.len(), &times(arguments.repetitions, &mut runner, prefill)?);
    arguments.profile.begin(&mut runner);
    report("decode", told.len(), &times(arguments.repetitions, &mut runner, decode)?);
    if let Some(bytes) = peak_resident() {
        println!("peak memory {:.1} MB", bytes as f64 / 1e6);
    }
    arguments.profile.end(&runner)
}

/// The times of some repetitions, in order of length.
fn times(
    repetitions: usize,
    runner: &mut Runner,
    run: impl Fn(&mut Runner) -> Result<(), FeedError>,
) -> Result<Vec<Duration>, FeedError> {
    let mut times = Vec::with_capacity(repetitions);
    for repetition in 0..=repetitions {
        runner.restart();
        let begin = Instant::now();
        run(runner)?;
        if repetition > 0 {
            times.push(begin.elapsed());
        }
    }
    times.sort();
    Ok(times)
}

fn report(what: &str, tokens: usize, times: &[Duration]) {
    let rate = |time: &Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
    if let (Some(first), Some(last)) = (times.first(), times.last()) {
        let (median, slowest, fastest) = (rate(&times[times.len() / 2]), rate(last), rate(first));
        println!("{what:8} {tokens} tokens: {median:.1} tokens/s ({slowest:.1} to {fastest:.1})");
    }
}
