//! `bench`

use bitquilt::quantize::Sizes;
use bitquilt_models::arguments::{self, RecipeArguments, RunArguments};
use bitquilt_models::bench::{Times, decode, peak_resident, prefill};
use clap::Args;

use super::Done;
use super::load::{ModelArguments, ProfileArguments, apply, load, warn};

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
    #[command(flatten)]
    bench: arguments::BenchArguments,
}

/// Prints the median rates of prefill and decode, and their extremes.
pub fn bench(arguments: &BenchArguments) -> Done {
    let session = arguments.model.session()?;
    let mut model = arguments.model.open(&session)?;
    if let Some(recipe) = arguments.recipe.recipe()? {
        apply(&recipe, &mut model, &session)?;
    }
    let arguments::BenchArguments { prompt, tokens, repetitions } = arguments.bench;
    let options = arguments.run.options(&model, prompt.max(tokens), warn);
    let mut runner = load(&model, &session, &options)?;
    let (sizes, vocabulary) = (Sizes::of(&model.weights), model.config.vocabulary);
    drop(model);
    println!("threads {}, weights {:.2} MB", session.threads(), sizes.bytes() as f64 / 1e6);
    report("prefill", &prefill(&mut runner, vocabulary, prompt, repetitions)?);
    arguments.profile.begin(&mut runner);
    report("decode", &decode(&mut runner, vocabulary, tokens, repetitions)?);
    if let Some(bytes) = peak_resident() {
        println!("peak memory {:.1} MB", bytes as f64 / 1e6);
    }
    arguments.profile.end(&runner)
}

fn report(what: &str, times: &Times) {
    if let Some([median, slowest, fastest]) = times.rates() {
        let tokens = times.tokens();
        println!("{what:8} {tokens} tokens: {median:.1} tokens/s ({slowest:.1} to {fastest:.1})");
    }
}
