//! `perplexity`

use std::error::Error;
use std::path::PathBuf;

use bitquilt::file;
use bitquilt::text::Columns;
use bitquilt_examples::recipe::{Recipe, Sizes};
use bitquilt_examples::tinystories::model::Llama;
use bitquilt_examples::tinystories::runner::{FeedError, Runner};
use bitquilt_examples::tinystories::scores::{Scores, log_softmax};
use bitquilt_examples::tinystories::tokenizer::Tokenizer;
use clap::Args;

use super::Done;
use super::load::{ModelArguments, RunArguments, apply, encode, load, warn_beyond};

/// What `perplexity` takes.
#[derive(Args)]
pub struct PerplexityArguments {
    #[command(flatten)]
    model: ModelArguments,
    #[command(flatten)]
    run: RunArguments,
    /// The text, in UTF-8.
    #[arg(long, value_name = "FILE")]
    text: PathBuf,
    /// Tokens of a window. The windows follow each other; the first token of each is only given.
    #[arg(long, value_name = "N", default_value_t = 512, value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    window: u32,
    /// Windows to take, at most.
    #[arg(long, value_name = "N")]
    windows: Option<usize>,
    /// An encoding for every matrix; may be given several times.
    #[arg(long, value_name = "NAME")]
    encoding: Vec<String>,
    /// A recipe; may be given several times.
    #[arg(long, value_name = "FILE.toml")]
    recipe: Vec<PathBuf>,
    /// With --encoding: the encoding of matrices whose rows are no multiple of its blocks.
    #[arg(long, value_name = "NAME", requires = "encoding")]
    fallback: Option<String>,
}

/// The most bytes of a text.
const LARGEST: u64 = 1 << 30;

const HEADINGS: [&str; 4] = ["recipe", "bits/weight", "perplexity", "KL to f32"];

/// A model with a recipe's weights.
struct Candidate {
    name: String,
    bits: f64,
    runner: Runner,
    scores: Scores,
}

/// Prints a table: recipe, bits a weight, perplexity, divergence from the model with its weights as f32.
pub fn perplexity(arguments: &PerplexityArguments) -> Done {
    let text = file::read_text(&arguments.text, LARGEST)?;
    let session = arguments.model.session()?;
    let model = arguments.model.open(&session)?;
    let vocabulary = model.vocabulary.as_ref().ok_or("the model has no tokenizer; give --tokenizer")?;
    let tokens = encode(&Tokenizer::new(vocabulary)?, &text, true)?;

    let mut options = arguments.run.options(&model);
    options.context = arguments.window as usize;
    warn_beyond("--window", options.context, &model);
    let mut candidate =
        |name: String, recipe: Option<Recipe>, precision: &str| -> Result<_, Box<dyn Error>> {
            let mut model =
                Llama { config: model.config.clone(), weights: model.weights.clone(), vocabulary: None };
            if let Some(recipe) = recipe {
                apply(&recipe, &mut model, &session).map_err(|error| format!("{name}: {error}"))?;
            }
            options.precision = precision.to_owned();
            let bits = Sizes::of(&model.weights).bits_per_weight();
            Ok(Candidate { name, bits, runner: load(&model, &session, &options)?, scores: Scores::default() })
        };
    let precision = arguments.run.options(&model).precision;
    let mut candidates = vec![
        candidate("f32".to_owned(), Some(Recipe::uniform("f32", None)?), "exact")?,
        candidate("as the file has it".to_owned(), None, &precision)?,
    ];
    for encoding in &arguments.encoding {
        let recipe = Recipe::uniform(encoding, arguments.fallback.as_deref())?;
        candidates.push(candidate(encoding.clone(), Some(recipe), &precision)?);
    }
    for path in &arguments.recipe {
        candidates.push(candidate(path.display().to_string(), Some(Recipe::read(path)?), &precision)?);
    }

    let windows = tokens.chunks(arguments.window as usize).filter(|window| window.len() > 1);
    for window in windows.take(arguments.windows.unwrap_or(usize::MAX)) {
        score(&mut candidates, window)?;
    }
    if candidates[0].scores.tokens() == 0 {
        return Err(format!("{} has fewer than two tokens", arguments.text.display()).into());
    }
    let rows = candidates.iter().map(|Candidate { name, bits, scores, .. }| {
        let (perplexity, divergence) = (scores.perplexity(), scores.divergence());
        [name.clone(), format!("{bits:.2}"), format!("{perplexity:.4}"), format!("{divergence:.6}")]
    });
    let rows: Vec<_> = rows.collect();
    let columns = Columns::new(1, HEADINGS, &rows);
    println!("{}", columns.line(&HEADINGS));
    rows.iter().for_each(|row| println!("{}", columns.line(row)));
    println!("{} tokens in windows of {}", candidates[0].scores.tokens(), arguments.window);
    Ok(())
}

/// Adds the tokens of a window to the scores of every candidate; the first is what the others are compared with.
fn score(candidates: &mut [Candidate], window: &[i32]) -> Result<(), FeedError> {
    let (given, expected) = (&window[..window.len() - 1], &window[1..]);
    candidates.iter_mut().for_each(|candidate| candidate.runner.restart());
    // Pieces of the window, so that the logits of all candidates need be held for a piece alone.
    const PIECE: usize = 64;
    let mut reference = vec![Vec::new(); PIECE];
    let mut predicted = Vec::new();
    for (given, expected) in given.chunks(PIECE).zip(expected.chunks(PIECE)) {
        for (index, candidate) in candidates.iter_mut().enumerate() {
            let Candidate { runner, scores, .. } = candidate;
            runner.feed_all(given, |logits| {
                for (row, (logits, token)) in
                    logits.chunks_exact(logits.len() / given.len()).zip(expected).enumerate()
                {
                    if index == 0 {
                        log_softmax(logits, &mut reference[row]);
                        scores.add(*token as usize, &reference[row], &reference[row]);
                    } else {
                        log_softmax(logits, &mut predicted);
                        scores.add(*token as usize, &predicted, &reference[row]);
                    }
                }
                Ok::<(), FeedError>(())
            })?;
        }
    }
    Ok(())
}
