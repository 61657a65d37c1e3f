//! A transformer's feed-forward block whose three weights have three encodings, one of them from a shared library.
//!
//! With no argument it takes the small weights beside it; given a GGUF or safetensors file, those of a layer of it.

mod ffn;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bitquilt::text::Passage;
use bitquilt::{InferenceSession, Model, Tensor, checkpoint};
use clap::Parser;
use ffn::{FeedForward, activations, relative_error};

/// Runs one feed-forward block in full precision and with mixed encodings, and compares the two.
#[derive(Parser)]
struct Arguments {
    /// A GGUF or safetensors file of a Llama-like model; small weights that ship with the example if there is none.
    file: Option<PathBuf>,
    /// The layer whose weights are taken.
    #[arg(long, default_value_t = 0)]
    layer: usize,
    /// The encodings of gate, up and down.
    #[arg(long, num_args = 3, default_values = ["q4_0", "acme.int3", "q4_k"])]
    encodings: Vec<String>,
    /// Rows of the input.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    rows: u16,
}

fn main() -> ExitCode {
    match mixed(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Passage(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn mixed(arguments: Arguments) -> Result<(), Box<dyn Error>> {
    // A directory of plugins, with the one of `examples/custom-encoding` in it: dropping the file in is all there is to do.
    let directory = tempfile::tempdir()?;
    std::fs::copy(custom_plugin()?, directory.path().join(PLUGIN_FILE))?;
    let session = InferenceSession::builder().plugin_dir(directory.path()).build()?;
    for refusal in session.refusals() {
        eprintln!("{}", Passage(&refusal.to_string()));
    }

    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ffn.safetensors");
    let file = arguments.file.unwrap_or(shipped);
    let tensors = checkpoint::load(&file, session.registry())?;
    let block =
        FeedForward::from_checkpoint(&tensors, session.registry(), arguments.layer)?.ok_or_else(|| {
            format!("{} has no feed-forward weights of layer {}", file.display(), arguments.layer)
        })?;
    let encodings: [&str; 3] = std::array::from_fn(|index| arguments.encodings[index].as_str());

    println!(
        "{:8} {:14} {:>12} {:>10} {:>10} {:>12}",
        "weight", "shape", "encoding", "bits/value", "bytes", "error"
    );
    let mut sizes = (0, 0);
    for ((name, weight), encoding) in block.weights().into_iter().zip(encodings) {
        let encoding = session.registry().require_encoding(encoding)?;
        let quantized = encoding.quantize(weight).map_err(|error| format!("{name}: {error}"))?;
        quantized.warnings.iter().for_each(|warning| eprintln!("{name}: {warning}"));
        let quantized = quantized.tensor;
        let error = relative_error(weight.values()?, encoding.dequantize(&quantized)?.values()?);
        let (bits, bytes) = (encoding.spec().bits_per_value(), quantized.bytes().len());
        sizes = (sizes.0 + weight.bytes().len(), sizes.1 + bytes);
        let shape = format!("{:?}", weight.shape());
        println!(
            "{name:8} {shape:14} {:>12} {bits:>10.2} {bytes:>10} {:>10.3} %",
            encoding.spec().name,
            100.0 * error
        );
    }

    let rows = usize::from(arguments.rows);
    let x = activations(rows, block.width())?;
    let full = session.load(&block.full_precision(session.registry(), rows)?)?;
    let mixed = session.load(&block.quantized(session.registry(), rows, encodings)?)?;
    let (expected, full_time) = run(&full, &x)?;
    let (found, mixed_time) = run(&mixed, &x)?;
    println!("\n{:8} {:>12} {:>16} {:>14}", "graph", "bytes", "time (median)", "error");
    println!("{:8} {:>12} {:>16.2?}", "f32", sizes.0, full_time);
    let error = 100.0 * relative_error(&expected, &found);
    println!("{:8} {:>12} {:>16.2?} {error:>12.3} %", "mixed", sizes.1, mixed_time);
    Ok(())
}

/// The output, and the median time of some runs.
fn run(model: &Model, x: &Tensor) -> Result<(Vec<f32>, Duration), bitquilt::Error> {
    let mut state = model.new_state()?;
    let mut times = Vec::new();
    for _ in 0..15 {
        let start = Instant::now();
        state.run([("x", x)])?;
        times.push(start.elapsed());
    }
    times.sort();
    let output = state.run([("x", x)])?.get::<f32>("y")?.to_vec();
    Ok((output, times[times.len() / 2]))
}

#[cfg(target_os = "macos")]
const PLUGIN_FILE: &str = "libacme_int3.dylib";
#[cfg(windows)]
const PLUGIN_FILE: &str = "acme_int3.dll";
#[cfg(not(any(target_os = "macos", windows)))]
const PLUGIN_FILE: &str = "libacme_int3.so";

/// The library that cargo built of `examples/custom-encoding`, beside this program.
fn custom_plugin() -> Result<PathBuf, Box<dyn Error>> {
    let program = std::env::current_exe()?;
    let built =
        program.ancestors().map(|folder| folder.join("deps").join(PLUGIN_FILE)).find(|file| file.exists());
    built.ok_or_else(|| format!("{PLUGIN_FILE} was not built; run this example with cargo").into())
}
