//! `bitquilt importance`

use std::path::{Path, PathBuf};

use bitquilt::checkpoint::{self, Checkpoint};
use bitquilt::quantize::compare::inputs;
use bitquilt::quantize::importance::{Coverage, ImportanceMatrix};
use bitquilt::quantize::{ImportanceRecorder, is_weight};
use bitquilt::text::{Brief, Columns, Passage};
use bitquilt::{Graph, InferenceSession, file};
use bitquilt_models::arguments::PrecisionArguments;
use bitquilt_models::importance::record;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::runner::Runner;
use bitquilt_models::text::tokens;
use clap::{ArgGroup, Args};
use miette::{IntoDiagnostic, miette};
use serde_json::{Value, json};

use crate::model::warn;
use crate::output::{print, print_json};
use crate::session::SessionArguments;

/// Records how much each column of a model's weights matters: the mean square of what it is multiplied with.
///
/// A model is run on a --text, or a saved graph on sets of --inputs. What `quantize --importance` and `compare --importance` then take is
/// written to FILE: as an importance matrix of llama.cpp, which has the names of the model's weights, if FILE ends in .gguf, and otherwise
/// as a safetensors file of means. What is merged counts by its rows; without IN, files are merged alone.
///
/// The table says of each weight how many rows it was multiplied with, and how many times the largest mean square is the average: where
/// that is large, importance has the most to say. Weights that nothing was multiplied with, such as an embedding, have no rows.
///
/// --json prints {"weights": [{"name", "columns", "rows", "spread"}], "without": [NAME], "datasets": [NAME], "chunks": {"count", "size"}}.
#[derive(Args)]
#[command(group(ArgGroup::new("from").required(true).multiple(true).args(["input", "merge"])))]
#[command(group(ArgGroup::new("on").args(["text", "inputs"]).requires("input")))]
pub struct ImportanceArguments {
    /// A language model: a GGUF file, a llama2.c checkpoint, or what `bitquilt quantize` made of a GGUF file; with --inputs a saved graph.
    #[arg(value_name = "IN", requires = "on")]
    input: Option<PathBuf>,
    /// A text in UTF-8, such as the model is to be used for.
    #[arg(long, value_name = "FILE")]
    text: Option<PathBuf>,
    /// Tokens of a window. The windows follow each other.
    #[arg(long, value_name = "N", default_value_t = 512, requires = "text", conflicts_with = "inputs", value_parser = clap::value_parser!(u32).range(2..=1 << 20))]
    window: u32,
    /// Tokens of the text to take, at most.
    #[arg(long, value_name = "N", requires = "text", conflicts_with = "inputs", value_parser = clap::value_parser!(u32).range(2..))]
    tokens: Option<u32>,
    /// The tokenizer.bin of a llama2.c checkpoint, if it is not beside it.
    #[arg(long, value_name = "FILE", requires = "text", conflicts_with = "inputs")]
    tokenizer: Option<PathBuf>,
    #[command(flatten)]
    precision: PrecisionArguments,
    /// Sets of inputs: each file .npz in this directory, and each directory in it of files NAME.npy, is one, with an array for each input.
    #[arg(long, value_name = "DIR")]
    inputs: Option<PathBuf>,
    /// A file of importance that is added; may be given several times.
    #[arg(long, value_name = "FILE")]
    merge: Vec<PathBuf>,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

/// What was recorded, and the weights of the model.
struct Recorded {
    matrix: ImportanceMatrix,
    /// Names and logical shapes.
    weights: Vec<(String, Vec<usize>)>,
}

impl ImportanceArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        self.check_output()?;
        let earlier = ImportanceMatrix::read(&self.merge).into_diagnostic()?;
        let recorded = self.input.as_ref().map(|input| self.record(input, session)).transpose()?;
        let (matrix, without) = match recorded {
            None => (earlier, Vec::new()),
            Some(Recorded { mut matrix, weights }) => {
                matrix.merge(&earlier).into_diagnostic()?;
                let shapes = weights.iter().map(|(name, shape)| (name.as_str(), &shape[..]));
                let is_known = |name: &str| weights.iter().any(|(known, _)| known == name);
                let (_, coverage) = matrix.vectors(shapes, is_known).into_diagnostic()?;
                let without = coverage.without();
                warn_of(&Coverage { unmatched: coverage.unmatched, ..Coverage::default() });
                (matrix, without)
            }
        };
        if let Some(output) = &self.output {
            matrix.write(output).into_diagnostic()?;
        }
        match self.json {
            true => print_json(&as_json(&matrix, &without)),
            false => print(table(&matrix, &without, self.output.as_deref())),
        }
    }

    /// An error before anything is run that could not be written, or would be written over what is read.
    fn check_output(&self) -> miette::Result<()> {
        let Some(output) = &self.output else { return Ok(()) };
        checkpoint::check_target(output).into_diagnostic()?;
        let model = self.input.as_ref().and_then(|input| Checkpoint::open(input).ok());
        let shards = model.iter().flat_map(|model| model.files().map(Path::to_owned));
        let read = [&self.input, &self.text, &self.inputs, &self.tokenizer].into_iter().flatten().cloned();
        match read.chain(shards).find(|read| file::is_same(read, output)) {
            None => Ok(()),
            Some(read) => Err(miette!("{} is read; name another file for what is written", read.display())),
        }
    }

    fn record(&self, input: &Path, session: &SessionArguments) -> miette::Result<Recorded> {
        let session = session.build_for(&[input])?;
        match (&self.text, &self.inputs) {
            (Some(text), _) => self.on_text(input, text, &session),
            (None, Some(sets)) => on_inputs(input, sets, &session),
            // The command line has one of the two where it has IN.
            (None, None) => Err(miette!("{}: give --text or --inputs", input.display())),
        }
    }

    fn on_text(&self, input: &Path, text: &Path, session: &InferenceSession) -> miette::Result<Recorded> {
        let model = DecoderModel::open(input, self.tokenizer.as_deref(), session.registry());
        let model = model.into_diagnostic()?;
        let tokens = tokens(text, input, model.vocabulary.as_ref(), warn).into_diagnostic()?;
        let window = self.window as usize;
        model.beyond("--window", window).into_iter().for_each(warn);
        let mut runner = Runner::load(session, &model, &self.precision.options(window), |_, _| {});
        let runner = runner.as_mut().map_err(|error| miette!("{}: {error}", input.display()))?;
        let most = self.tokens.map_or(usize::MAX, |tokens| tokens as usize);
        let dataset = text.display().to_string();
        let matrix = record(runner, &tokens, window, most, &dataset, |_| {});
        let matrix = matrix.map_err(|error| miette!("{dataset}: {error}"))?;
        let weights = model.weights.iter().filter(|(_, it)| is_weight(&it.element(), it.shape()));
        let weights = weights.map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec()));
        Ok(Recorded { matrix, weights: weights.collect() })
    }
}

/// Runs a saved graph on sets of inputs, each with states that are zero at first.
fn on_inputs(input: &Path, sets: &Path, session: &InferenceSession) -> miette::Result<Recorded> {
    let at = |error: &dyn std::fmt::Display| miette!("{}: {error}", input.display());
    let graph = Graph::load(input, session.registry()).into_diagnostic()?;
    let mut recorder = ImportanceRecorder::new(&graph, session).map_err(|error| at(&error))?;
    for path in inputs::list(sets).into_diagnostic()? {
        let arrays = inputs::read(&path).into_diagnostic()?;
        let run = recorder.run(&arrays);
        run.map_err(|error| miette!("{} on {}: {error}", input.display(), path.display()))?;
    }
    let matrix = recorder.finish(sets.display().to_string()).map_err(|error| at(&error))?;
    let weights = graph.weights().into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec()));
    Ok(Recorded { matrix, weights: weights.collect() })
}

/// Says what importance lacks, or has for nothing.
pub fn warn_of(coverage: &Coverage) {
    for sentence in coverage.sentences() {
        tracing::warn!("{}", Passage(&sentence));
    }
}

const HEADINGS: [&str; 4] = ["weight", "columns", "rows", "largest / mean"];

fn table(matrix: &ImportanceMatrix, without: &[String], output: Option<&Path>) -> String {
    let shown = |spread: Option<f64>| spread.map_or_else(|| "-".to_owned(), |spread| format!("{spread:.1}"));
    let mut rows: Vec<[String; 4]> = Vec::new();
    for (name, columns) in matrix.iter() {
        let counted = if matrix.is_counted() { columns.rows().to_string() } else { "?".to_owned() };
        let name = Brief(name).to_string();
        rows.push([name, columns.len().to_string(), counted, shown(columns.spread())]);
    }
    let unseen = without.iter().filter(|name| matrix.get(name).is_none());
    rows.extend(unseen.map(|name| [Brief(name).to_string(), String::new(), "0".to_owned(), "-".to_owned()]));
    let columns = Columns::new(1, HEADINGS, &rows);
    let mut lines = vec![columns.line(&HEADINGS)];
    lines.extend(rows.iter().map(|row| columns.line(row)));
    let mut sentence = format!("{} weights have importance", matrix.len());
    if !without.is_empty() {
        sentence += &format!(", {} have none, or none for all their matrices", without.len());
    }
    let chunks = matrix.chunks();
    if chunks.count > 0 {
        sentence += &format!("; it is from {} chunks of {} rows", chunks.count, chunks.size);
    }
    if let Some(output) = output {
        sentence += &format!("; {} was written", output.display());
    }
    lines.push(String::new());
    lines.push(sentence);
    lines.join("\n") + "\n"
}

fn as_json(matrix: &ImportanceMatrix, without: &[String]) -> Value {
    let weights = matrix.iter().map(|(name, columns)| {
        let rows = matrix.is_counted().then(|| columns.rows());
        json!({ "name": name, "columns": columns.len(), "rows": rows, "spread": columns.spread() })
    });
    let chunks = matrix.chunks();
    json!({
        "weights": weights.collect::<Vec<_>>(), "without": without, "datasets": matrix.datasets(),
        "chunks": { "count": chunks.count, "size": chunks.size },
    })
}
