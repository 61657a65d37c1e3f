//! A sentence encoder in full precision and with mixed encodings: how much of the meaning is left.
//!
//! ```sh
//! cargo run --release --example minilm
//! ```

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bitquilt::checkpoint::{Checkpoint, npy};
use bitquilt::quantize::{Recipe, Sizes};
use bitquilt::text::Passage;
use bitquilt::{Graph, InferenceSession};
use bitquilt_models::arch::bert;
use bitquilt_models::sentence::config::EncoderConfig;
use bitquilt_models::sentence::encoder::{Encoder, cosine, sentence_inputs, weights};
use bitquilt_models::sentence::error::EncoderError;
use bitquilt_models::sentence::tokenizer::{SentenceTokenizer, beginning};
use clap::Parser;

/// Embeds sentences with a BERT encoder, in full precision and quantized by a recipe, and compares the two.
#[derive(Parser)]
#[command(name = "minilm", version)]
struct Arguments {
    /// The weights, a safetensors file; by default the one that tests/fetch_models.sh fetches.
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The tokenizer.json; by default the file beside the weights.
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// The config.json; by default the file beside the weights.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Which weight gets which encoding; by default examples/minilm/recipe.toml.
    #[arg(long, value_name = "FILE.toml", conflicts_with = "encoding")]
    recipe: Option<PathBuf>,
    /// One encoding for every matrix.
    #[arg(long, value_name = "NAME")]
    encoding: Option<String>,
    /// With --encoding: the encoding of matrices whose rows are no multiple of its blocks.
    #[arg(long, value_name = "NAME", requires = "encoding")]
    fallback: Option<String>,
    /// Threads of a run; all of the machine's if it is not given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
    /// Saves the graph in full precision, graph.safetensors, and the inputs of each sentence, in inputs/NUMBER, in this directory: what
    /// `bitquilt plan` takes.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
    /// The sentences.
    #[arg(default_values = [
        "The cat sits on the warm windowsill.",
        "A kitten is lying in the sun by the window.",
        "Interest rates were raised by half a percent.",
        "She solved the equation in her head, which surprised nobody who knew her.",
    ])]
    sentences: Vec<String>,
}

fn main() -> ExitCode {
    bitquilt_examples::end_with_the_reader();
    match minilm(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Passage(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn minilm(arguments: &Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models");
    let model = arguments.model.clone().unwrap_or_else(|| folder.join("all-MiniLM-L6-v2.safetensors"));
    let beside = |given: &Option<PathBuf>, name: &str| {
        let fetched = model.with_file_name(format!("all-MiniLM-L6-v2.{name}"));
        given.clone().unwrap_or(if fetched.is_file() { fetched } else { model.with_file_name(name) })
    };
    let recipe = match (&arguments.recipe, &arguments.encoding) {
        (Some(path), _) => Recipe::read(path)?,
        (None, Some(encoding)) => Recipe::uniform(encoding, arguments.fallback.as_deref())?,
        (None, None) => Recipe::parse(include_str!("recipe.toml"), "recipe.toml")?,
    };
    let mut builder = InferenceSession::builder();
    if let Some(threads) = arguments.threads {
        builder = builder.threads(threads.into());
    }
    if !model.is_file() {
        let model = model.display();
        return Err(format!("there is no file {model}; tests/fetch_models.sh fetches the encoder").into());
    }
    let session = builder.encodings_of(&Checkpoint::open(&model)?).build()?;
    let config = EncoderConfig::read(&beside(&arguments.config, "config.json"))?;
    let tokenizer = SentenceTokenizer::read(&beside(&arguments.tokenizer, "tokenizer.json"), &config)?;
    let tokens = tokens(&tokenizer, &arguments.sentences)?;

    let full = weights(&model, &config, session.registry())?;
    if let Some(directory) = &arguments.save {
        save(&bert::build(session.registry(), &config, &full)?, &tokens, directory)?;
    }
    let mut quantized = full.clone();
    println!("{}\n", recipe.apply(&mut quantized, session.registry(), |_, _| {})?);
    let mut encoders =
        [Encoder::load(&session, &config, &full)?, Encoder::load(&session, &config, &quantized)?];
    let sizes = [Sizes::of(&full), Sizes::of(&quantized)];
    drop((full, quantized));

    let mut times = [Duration::ZERO; 2];
    let mut embeddings: Vec<[Vec<f32>; 2]> = Vec::new();
    println!("cosine of the two embeddings");
    for (sentence, tokens) in arguments.sentences.iter().zip(&tokens) {
        let mut pair = [Vec::new(), Vec::new()];
        for ((encoder, time), embedding) in encoders.iter_mut().zip(&mut times).zip(&mut pair) {
            *embedding = encoder.embed(tokens)?.to_vec();
            *time += median_time(|| encoder.embed(tokens).map(drop))?;
        }
        println!("{:>8.5}  {}", cosine(&pair[0], &pair[1]), beginning(sentence));
        embeddings.push(pair);
    }

    // What such embeddings are for: which sentences mean about the same.
    println!("\nsimilarity to the first sentence, in full precision and quantized");
    for ([full, quantized], sentence) in embeddings.iter().zip(&arguments.sentences).skip(1) {
        let [first_full, first_quantized] = &embeddings[0];
        let similar = (cosine(first_full, full), cosine(first_quantized, quantized));
        println!("{:>8.5} {:>8.5}  {}", similar.0, similar.1, beginning(sentence));
    }
    println!("\n{:10} {:>10} {:>24}", "graph", "MB", "time a sentence (median)");
    for ((name, sizes), time) in ["f32", "quantized"].iter().zip(&sizes).zip(times) {
        let time = time / arguments.sentences.len().max(1) as u32;
        println!("{name:10} {:>10.2} {time:>24.2?}", sizes.bytes() as f64 / 1e6);
    }
    Ok(())
}

/// Writes a graph, and the inputs of each sentence.
fn save(graph: &Graph, sentences: &[Vec<u32>], directory: &Path) -> Result<(), Box<dyn std::error::Error>> {
    let inputs = |index: usize| directory.join("inputs").join(index.to_string());
    for (index, tokens) in sentences.iter().enumerate() {
        std::fs::create_dir_all(inputs(index))?;
        for (name, tensor) in sentence_inputs(tokens)? {
            npy::write(&tensor, inputs(index).join(name).with_extension("npy"))?;
        }
    }
    // Those of an earlier run with more sentences.
    for stale in (sentences.len()..).map(inputs).take_while(|inputs| inputs.is_dir()) {
        std::fs::remove_dir_all(stale)?;
    }
    Ok(graph.save(directory.join("graph.safetensors"))?)
}

/// The tokens of every sentence; a warning where words of it are unknown.
fn tokens(tokenizer: &SentenceTokenizer, sentences: &[String]) -> Result<Vec<Vec<u32>>, EncoderError> {
    let encode = |sentence: &String| {
        let tokens = tokenizer.encode(sentence)?;
        match tokenizer.count_unknown(&tokens) {
            0 => {}
            count => eprintln!(
                "warning: the encoder does not know {count} words of {:?}; any others in their place would mean the same to it",
                beginning(sentence)
            ),
        }
        Ok(tokens)
    };
    sentences.iter().map(encode).collect()
}

fn median_time(mut run: impl FnMut() -> Result<(), EncoderError>) -> Result<Duration, EncoderError> {
    const RUNS: usize = 15;
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let begin = Instant::now();
        run()?;
        times.push(begin.elapsed());
    }
    times.sort();
    Ok(times[RUNS / 2])
}
