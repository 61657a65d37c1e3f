//! A transformer's feed-forward block in full precision, with an encoding for each weight, and with one from a shared library.
//!
//! With no argument it takes the small weights beside it; given a GGUF or safetensors file, those of a layer of it.

mod ffn;

use std::collections::BTreeSet;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use bitquilt::checkpoint::npy;
use bitquilt::text::Passage;
use bitquilt::{ExplainedNode, Graph, InferenceSession, Model, RunError, Tensor, checkpoint};
use clap::Parser;
use ffn::{FeedForward, activations, relative_error};

/// Runs one feed-forward block in full precision, with mixed encodings, and with a plugin's encoding among them.
#[derive(Parser)]
struct Arguments {
    /// A GGUF or safetensors file of a Llama-like model; small weights that ship with the example if there is none.
    file: Option<PathBuf>,
    /// The layer whose weights are taken.
    #[arg(long, default_value_t = 0)]
    layer: usize,
    /// The encodings of gate, up and down.
    #[arg(long, num_args = 3, value_names = ["GATE", "UP", "DOWN"], default_values = ["q8_0", "q8_0", "q6_k"])]
    encodings: Vec<String>,
    /// The encoding of up in the last graph, which is otherwise the same.
    #[arg(long, value_name = "NAME", default_value = "acme.int3")]
    plugin_encoding: String,
    /// The number of rows of the input.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(1..))]
    rows: u16,
    /// Writes the graph with mixed encodings and its input into this directory: graph.safetensors and x.npy.
    #[arg(long, value_name = "DIR")]
    save: Option<PathBuf>,
}

fn main() -> ExitCode {
    bitquilt_examples::end_with_the_reader();
    match mixed(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {}", Passage(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

fn mixed(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    // A directory of plugins, with the one of `examples/custom-encoding` in it: dropping the file in is all there is to do.
    let directory = tempfile::tempdir()?;
    std::fs::copy(custom_plugin()?, directory.path().join(PLUGIN_FILE))?;
    let session = InferenceSession::builder().plugin_dir(directory.path()).build()?;
    for refusal in session.refusals() {
        eprintln!("{}", Passage(&refusal.to_string()));
    }

    let block = block(arguments, &session)?;
    let encodings: [&str; 3] = std::array::from_fn(|index| arguments.encodings[index].as_str());
    let with_plugin = [encodings[0], &arguments.plugin_encoding, encodings[2]];
    let rows = usize::from(arguments.rows);
    let x = activations(rows, block.width())?;

    let full = session.load(&block.full_precision(session.registry(), rows)?)?;
    let graphs =
        [encodings, with_plugin].map(|encodings| block.quantized(session.registry(), rows, encodings));
    let [mixed, plugin] = graphs;
    let (mixed, plugin) = (mixed?, plugin?);
    if let Some(directory) = &arguments.save {
        save(&mixed, &x, directory)?;
    }
    let (mixed, plugin) = (session.load(&mixed)?, session.load(&plugin)?);

    println!(
        "{:8} {:14} {:>10} {:>10} {:>8} {:>9}  kernel",
        "weight", "shape", "encoding", "bits/value", "MB", "error"
    );
    let mixed_mb = weights(&block, &session, encodings, &mixed)?;
    println!("\nthe same with `{}` for up, which comes from {PLUGIN_FILE}:", arguments.plugin_encoding);
    let plugin_mb = weights(&block, &session, with_plugin, &plugin)?;

    let full_mb: f64 = block.weights().iter().map(|(_, weight)| weight.bytes().len() as f64 / 1e6).sum();
    let (expected, full_time) = run(&full, &x)?;
    println!("\n{:24} {:>8} {:>14} {:>9}", "graph", "MB", "time (median)", "error");
    println!("{:24} {full_mb:>8.3} {full_time:>14.2?}", "f32");
    for (name, model, mb) in [("mixed", &mixed, mixed_mb), ("mixed with the plugin's", &plugin, plugin_mb)] {
        let (found, time) = run(model, &x)?;
        println!("{name:24} {mb:>8.3} {time:>14.2?} {:>7.2} %", 100.0 * relative_error(&expected, &found));
    }
    println!("\nwhat the kernels do");
    for note in notes([&mixed, &plugin])? {
        println!("  {note}");
    }
    Ok(())
}

/// The weights that the arguments name.
fn block(arguments: &Arguments, session: &InferenceSession) -> Result<FeedForward, Box<dyn Error>> {
    let shipped = || Path::new(env!("CARGO_MANIFEST_DIR")).join("data/ffn.safetensors");
    let file = arguments.file.clone().unwrap_or_else(shipped);
    let (layer, registry) = (arguments.layer, session.registry());
    let tensors = checkpoint::load(&file, registry)?;
    let block = FeedForward::from_checkpoint(&tensors, registry, layer)?;
    block.ok_or_else(|| format!("{} has no feed-forward weights of layer {layer}", file.display()).into())
}

/// Prints a line for each weight; the MB of all.
fn weights(
    block: &FeedForward,
    session: &InferenceSession,
    encodings: [&str; 3],
    model: &Model,
) -> Result<f64, Box<dyn Error>> {
    let products = products(model)?;
    let mut sum = 0.0;
    for (((name, weight), encoding), node) in block.weights().into_iter().zip(encodings).zip(&products) {
        let encoding = session.registry().require_encoding(encoding)?;
        let quantized = encoding.quantize(weight).map_err(|error| format!("{name}: {error}"))?;
        quantized.warnings.iter().for_each(|warning| eprintln!("{name}: {warning}"));
        let quantized = quantized.tensor;
        let error = 100.0 * relative_error(weight.values()?, encoding.dequantize(&quantized)?.values()?);
        let (spec, mb) = (encoding.spec(), quantized.bytes().len() as f64 / 1e6);
        sum += mb;
        let kernel = kernel(node);
        println!(
            "{name:8} {:14} {:>10} {:>10.2} {mb:>8.3} {error:>7.2} %  {kernel}",
            format!("{:?}", weight.shape()),
            spec.name,
            spec.bits_per_value()
        );
    }
    Ok(sum)
}

/// The products of the plan, in the order of the weights.
fn products(model: &Model) -> Result<Vec<ExplainedNode>, RunError> {
    Ok(model.explain()?.nodes.into_iter().filter(|node| node.op == "qmatmul").collect())
}

/// The name of the kernel that serves a node.
fn kernel(node: &ExplainedNode) -> &str {
    node.kernel.as_ref().map_or("none", |(kernel, _)| kernel)
}

/// What kernels do, each once.
fn notes(models: [&Model; 2]) -> Result<BTreeSet<String>, RunError> {
    let mut notes = BTreeSet::new();
    for model in models {
        notes.extend(products(model)?.iter().map(|node| format!("{}: {}", kernel(node), node.note)));
    }
    Ok(notes)
}

/// Writes a graph and its input, for `bitquilt explain` and `bitquilt run`.
fn save(graph: &Graph, x: &Tensor, directory: &Path) -> Result<(), Box<dyn Error>> {
    std::fs::create_dir_all(directory)?;
    graph.save(directory.join("graph.safetensors"))?;
    npy::write(x, directory.join("x.npy"))?;
    Ok(())
}

/// The output, and the median time of some runs.
fn run(model: &Model, x: &Tensor) -> Result<(Vec<f32>, Duration), bitquilt::Error> {
    const RUNS: usize = 51;
    let mut state = model.new_state()?;
    let output = state.run([("x", x)])?.get::<f32>("y")?.to_vec();
    let mut times = Vec::with_capacity(RUNS);
    for _ in 0..RUNS {
        let start = Instant::now();
        state.run([("x", x)])?;
        times.push(start.elapsed());
    }
    times.sort();
    Ok((output, times[RUNS / 2]))
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
