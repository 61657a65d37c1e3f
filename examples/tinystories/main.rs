//! A language model tells a story, its weights quantized one by one.
//!
//! ```sh
//! cargo run --release --example tinystories -- --model models/SmolLM2-135M-Instruct.Q4_1.gguf --prompt "Tell me a story."
//! ```

mod commands;

use std::ffi::OsString;
use std::process::ExitCode;

use bitquilt::text::Passage;
use bitquilt_examples::end_with_the_reader;
use bitquilt_models::budget::Budgeted;
use clap::{Parser, Subcommand};

use commands::{BenchArguments, GenerateArguments, LogitsArguments, PerplexityArguments, QuantizeArguments};

/// A chat template gets no more memory than it may have.
#[global_allocator]
static ALLOCATOR: Budgeted = Budgeted;

/// Runs a language model from a GGUF file or a llama2.c checkpoint, and lets every weight have its own encoding.
///
/// Without a subcommand it generates: `tinystories --model FILE --prompt TEXT`.
#[derive(Parser)]
#[command(name = "tinystories", version, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Continues a text, or answers where the model was trained to: the default.
    Generate(GenerateArguments),
    /// Measures prefill and decode.
    Bench(BenchArguments),
    /// Writes the logits after each of given tokens.
    Logits(LogitsArguments),
    /// Compares recipes by how well they predict a text.
    Perplexity(PerplexityArguments),
    /// Quantizes a model and saves it.
    Quantize(QuantizeArguments),
}

/// The command line; where it begins with an option of `generate`, with that word put before.
fn command_line() -> Vec<OsString> {
    let mut line: Vec<OsString> = std::env::args_os().collect();
    let own = ["-h", "--help", "-V", "--version"];
    if line
        .get(1)
        .and_then(|first| first.to_str())
        .is_some_and(|first| first.starts_with('-') && !own.contains(&first))
    {
        line.insert(1, "generate".into());
    }
    line
}

fn main() -> ExitCode {
    // A child that tries a plugin is this program, too.
    bitquilt::plugin::child_main();
    end_with_the_reader();
    let done = match Arguments::parse_from(command_line()).command {
        Command::Generate(arguments) => commands::generate(&arguments),
        Command::Bench(arguments) => commands::bench(&arguments),
        Command::Logits(arguments) => commands::logits(&arguments),
        Command::Perplexity(arguments) => commands::perplexity(&arguments),
        Command::Quantize(arguments) => commands::quantize(&arguments),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Passage(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}
