//! `generate`, the default

use std::io;
use std::time::Duration;

use bitquilt::quantize::Sizes;
use bitquilt_models::arguments::{RecipeArguments, RunArguments, TalkArguments};
use bitquilt_models::bench::peak_resident;
use bitquilt_models::conversation::Talker;
use bitquilt_models::runner::Runner;
use bitquilt_models::sampler::Sampler;
use bitquilt_models::tokenizer::{Tokenizer, unknown_pieces};
use clap::Args;

use super::Done;
use super::load::{ModelArguments, ProfileArguments, apply, load, warn};

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
    #[command(flatten)]
    talk: TalkArguments,
}

/// Continues a text on standard output; all else goes to standard error.
pub fn generate(arguments: &GenerateArguments) -> Done {
    let session = arguments.model.session()?;
    let mut model = arguments.model.open(&session)?;
    if let Some(recipe) = arguments.recipe.recipe()? {
        eprintln!("{}\n", apply(&recipe, &mut model, &session)?);
    }
    let vocabulary = model.take_vocabulary()?;
    let mut conversation = arguments.talk.conversation(&vocabulary)?;
    let options = arguments.run.options(&model, 0, warn);
    // The tokenizer is made while the weights are prepared.
    let (tokenizer, runner) = std::thread::scope(|scope| {
        let tokenizer = scope.spawn(|| Tokenizer::new(&vocabulary));
        let runner = load(&model, &session, &options);
        (tokenizer.join(), runner)
    });
    let (tokenizer, mut runner) = (tokenizer.map_err(|_| "the tokenizer failed")??, runner?);
    let (sizes, vocabulary_size) = (Sizes::of(&model.weights), model.config.vocabulary);
    drop(model);

    let mut sampler = Sampler::new(arguments.talk.sampling.sampling(), vocabulary_size);
    let most = arguments.talk.sampling.tokens();
    let begin = |runner: &mut Runner| arguments.profile.begin(runner);
    let mut talker = Talker { runner: &mut runner, tokenizer: &tokenizer, sampler: &mut sampler };
    let answer = conversation.say(&arguments.prompt, &mut talker, io::stdout().lock(), most, begin)?;
    println!();
    unknown_pieces(answer.unknown).into_iter().for_each(warn);
    if let Some(reason) = answer.cut(most, runner.context()) {
        eprintln!("\n({reason})");
    }

    let rate = |tokens: usize, time: Duration| tokens as f64 / time.as_secs_f64().max(1e-9);
    let generation = &answer.generation;
    eprint!(
        "\nprefill {} tokens, {:.1} tokens/s; decode {} tokens, {:.1} tokens/s",
        answer.fed,
        rate(answer.fed, generation.prefill),
        generation.decoded,
        rate(generation.decoded, generation.decode)
    );
    if let Some(bytes) = peak_resident() {
        eprint!("; peak memory {:.1} MB", bytes as f64 / 1e6);
    }
    eprintln!("; {} threads\n{sizes}", session.threads());
    arguments.profile.end(&runner)
}
