//! `perplexity`

use std::error::Error;
use std::path::PathBuf;

use bitquilt::file;
use bitquilt::quantize::{Recipe, Sizes};
use bitquilt::text::Columns;
use bitquilt_models::perplexity::{ScoredModel, score};
use bitquilt_models::tokenizer::Tokenizer;
use clap::Args;

use super::Done;
use super::load::{ModelArguments, RunArguments, apply, encode, load, warn_beyond};

/// The arguments of `perplexity`.
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

/// Prints a table: recipe, bits a weight, perplexity, divergence from the model with its weights as f32.
pub fn perplexity(arguments: &PerplexityArguments) -> Done {
    let text = file::read_text(&arguments.text, LARGEST)?;
    let session = arguments.model.session()?;
    let mut model = arguments.model.open(&session)?;
    let vocabulary = model.vocabulary.take().ok_or("the model has no tokenizer; give --tokenizer")?;
    let tokens = encode(&Tokenizer::new(&vocabulary)?, &text, true)?;
    drop(vocabulary);

    let mut options = arguments.run.options(&model);
    options.context = arguments.window as usize;
    warn_beyond("--window", options.context, &model);
    let precision = options.precision.clone();
    // The names of the candidates and the bits of their weights beside their scores; the first is what the others are compared with.
    let (mut labels, mut models) = (Vec::new(), Vec::new());
    let mut add = |name: String, recipe: Option<Recipe>, precision: &str| -> Result<(), Box<dyn Error>> {
        let mut model = model.clone();
        if let Some(recipe) = recipe {
            apply(&recipe, &mut model, &session).map_err(|error| format!("{name}: {error}"))?;
        }
        options.precision = precision.to_owned();
        labels.push((name, Sizes::of(&model.weights).bits_per_weight()));
        models.push(ScoredModel::new(load(&model, &session, &options)?));
        Ok(())
    };
    add("f32".to_owned(), Some(Recipe::uniform("f32", None)?), "exact")?;
    add("as the file has it".to_owned(), None, &precision)?;
    for encoding in &arguments.encoding {
        let recipe = Recipe::uniform(encoding, arguments.fallback.as_deref())?;
        add(encoding.clone(), Some(recipe), &precision)?;
    }
    for path in &arguments.recipe {
        add(path.display().to_string(), Some(Recipe::read(path)?), &precision)?;
    }

    let windows = tokens.chunks(arguments.window as usize).filter(|window| window.len() > 1);
    for window in windows.take(arguments.windows.unwrap_or(usize::MAX)) {
        score(&mut models, window)?;
    }
    let scored = models[0].scores.tokens();
    if scored == 0 {
        return Err(format!("{} has fewer than two tokens", arguments.text.display()).into());
    }
    let rows = labels.iter().zip(&models).map(|((name, bits), ScoredModel { scores, .. })| {
        let (perplexity, divergence) = (scores.perplexity(), scores.divergence());
        [name.clone(), format!("{bits:.2}"), format!("{perplexity:.4}"), format!("{divergence:.6}")]
    });
    let rows: Vec<_> = rows.collect();
    let columns = Columns::new(1, HEADINGS, &rows);
    println!("{}", columns.line(&HEADINGS));
    rows.iter().for_each(|row| println!("{}", columns.line(row)));
    println!("{scored} tokens in windows of {}", arguments.window);
    Ok(())
}
