//! `bitquilt perplexity`

use bitquilt::file;
use bitquilt_models::arguments::{PrecisionArguments, ScoringArguments};
use bitquilt_models::perplexity::{Ranking, windows};
use bitquilt_models::scores::Scores;
use bitquilt_models::text::LARGEST;
use bitquilt_models::tokenizer::Tokenizer;
use clap::Args;
use miette::{IntoDiagnostic, miette};
use serde_json::{Value, json};

use crate::model::{ModelArguments, warn};
use crate::output::{print, print_json};
use crate::session::SessionArguments;

/// Says how well a language model predicts a text, as its file has it and with other encodings.
///
/// A row is a recipe: the bits that a weight takes, the perplexity of the text, and the mean Kullback-Leibler divergence of the predictions
/// from those of the first row, in nats a token. The first row is the model with the weights of its file decoded to f32, and multiplied
/// without any rounding of activations.
#[derive(Args)]
pub struct PerplexityArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    precision: PrecisionArguments,
    #[command(flatten)]
    scoring: ScoringArguments,
    /// Prints JSON: an array with {"recipe", "bits", "perplexity", "kl", "top1"} for each row.
    #[arg(long)]
    json: bool,
}

impl PerplexityArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let scoring = &self.scoring;
        let at_text = |error: &dyn std::fmt::Display| miette!("{}: {error}", scoring.text.display());
        let text = file::read_text(&scoring.text, LARGEST).into_diagnostic()?;
        let recipes = scoring.recipes().into_diagnostic()?;
        let session = self.model.session(session)?;
        let mut model = self.model.open(&session)?;
        let vocabulary = model.take_vocabulary();
        let vocabulary = vocabulary.map_err(|error| miette!("{}: {error}", self.model.path().display()))?;
        let tokenizer = Tokenizer::new(&vocabulary).into_diagnostic()?;
        let tokens = tokenizer.encode_for_model(&text, true, warn).map_err(|error| at_text(&error))?;
        drop((tokenizer, vocabulary));
        let window = scoring.window as usize;
        model.beyond("--window", window).into_iter().for_each(warn);
        let options = self.precision.options(window);
        let ranking = Ranking::of(&model, recipes, &session, &options, &mut |_, _, _| {});
        let mut ranking = ranking.into_diagnostic()?;
        drop(model);
        let windows = windows(&tokens, window, usize::MAX).take(scoring.windows.unwrap_or(usize::MAX));
        ranking.score(windows).map_err(|error| at_text(&error))?;
        if self.json {
            return print_json(&ranking.models().map(row).collect::<Vec<_>>());
        }
        print(format_args!("{ranking}{} tokens in windows of {window}\n", ranking.tokens()))
    }
}

fn row((recipe, bits, scores): (&str, f64, &Scores)) -> Value {
    json!({
        "recipe": recipe, "bits": bits, "perplexity": scores.perplexity(), "kl": scores.divergence(), "top1": scores.top1(),
    })
}
