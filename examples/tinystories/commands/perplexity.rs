//! `perplexity`

use bitquilt::file;
use bitquilt_models::arguments::{PrecisionArguments, ScoringArguments};
use bitquilt_models::perplexity::{Ranking, Stage, windows};
use bitquilt_models::text::LARGEST;
use bitquilt_models::tokenizer::Tokenizer;
use clap::Args;

use super::Done;
use super::load::{ModelArguments, Progress, warn};

/// The arguments of `perplexity`.
#[derive(Args)]
pub struct PerplexityArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    precision: PrecisionArguments,
    #[command(flatten)]
    scoring: ScoringArguments,
}

/// Prints a table: recipe, bits a weight, perplexity, divergence from the model with its weights as f32.
pub fn perplexity(arguments: &PerplexityArguments) -> Done {
    let scoring = &arguments.scoring;
    let text = file::read_text(&scoring.text, LARGEST)?;
    let session = arguments.model.session()?;
    let mut model = arguments.model.open(&session)?;
    let tokens = Tokenizer::new(&model.take_vocabulary()?)?.encode_for_model(&text, true, warn)?;
    let window = scoring.window as usize;
    model.beyond("--window", window).into_iter().for_each(warn);
    let mut progress = Progress::new(Stage::Preparing);
    let mut observe = |stage, done, of| progress.set_stage(stage, done, of);
    let options = arguments.precision.options(window);
    let mut ranking = Ranking::of(&model, scoring.recipes()?, &session, &options, &mut observe)?;
    drop((model, progress));
    let windows = windows(&tokens, window, usize::MAX).take(scoring.windows.unwrap_or(usize::MAX));
    ranking.score(windows).map_err(|error| format!("{}: {error}", scoring.text.display()))?;
    println!("{ranking}{} tokens in windows of {window}", ranking.tokens());
    Ok(())
}
