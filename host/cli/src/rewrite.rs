//! A checkpoint made from another: some tensors are converted, one after the other, the rest is carried over.

use std::collections::BTreeSet;
use std::io::Write;
use std::path::Path;

use bitquilt::checkpoint::{Checkpoint, CheckpointError, CheckpointWriter, check_target};
use bitquilt::{Graph, Tensor, file};
use indicatif::{ProgressBar, ProgressStyle};
use miette::{IntoDiagnostic, miette};

use crate::output::print_line;

/// Opens a checkpoint whose tensors may change their types, which a graph's may not, once it is known that `output` can be written.
pub fn open(path: &Path, output: &Path) -> miette::Result<Checkpoint> {
    let file = Checkpoint::open(path).into_diagnostic()?;
    if Graph::is_in(&file) {
        return Err(miette!(
            "{} holds a graph, which says what encodings its weights have; quantize the weights and build the graph of them",
            path.display()
        ));
    }
    if file.files().len() > 1 && file.files().any(|shard| file::is_same(shard, output)) {
        return Err(miette!(
            "{} is one of the files that make the model; name a file of its own for what is written",
            output.display()
        ));
    }
    check_target(output).into_diagnostic()?;
    Ok(file)
}

/// Says what was done: on standard output, unless that, or another pipe, may be what the file was written to.
pub fn report(output: &Path, line: std::fmt::Arguments<'_>) -> miette::Result<()> {
    if file::is_replaced(output) {
        return print_line(line);
    }
    writeln!(std::io::stderr(), "{line}").into_diagnostic()
}

/// A bar on standard error if that is a terminal, or nothing.
pub fn progress() -> ProgressBar {
    let style =
        ProgressStyle::with_template("{msg:9} [{bar:40}] {bytes}/{total_bytes} ({bytes_per_sec}, {eta})");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("=> "))
}

/// The bytes of these tensors of a file.
pub fn bytes(file: &Checkpoint, names: &BTreeSet<&str>) -> u64 {
    let chosen = file.tensors().filter(|(name, _)| names.contains(name));
    chosen.map(|(_, stored)| stored.byte_range().len() as u64).sum()
}

/// Writes a file of what was announced: the tensors in `names` converted, the others as they are.
pub fn write(
    file: &Checkpoint,
    writer: &CheckpointWriter,
    names: &BTreeSet<&str>,
    output: &Path,
    progress: &ProgressBar,
    convert: impl Fn(&str, Tensor) -> miette::Result<Tensor>,
) -> miette::Result<()> {
    progress.set_position(0);
    progress.set_length(file.tensors().map(|(_, stored)| stored.byte_range().len() as u64).sum());
    let written = writer.write(output, |name| {
        let tensor = file.as_stored(name)?;
        progress.inc(tensor.bytes().len() as u64);
        Ok::<_, Failure>(if names.contains(name) { convert(name, tensor).map_err(Failure)? } else { tensor })
    });
    progress.finish_and_clear();
    written.map_err(|Failure(report)| report)
}

/// Why nothing was written.
struct Failure(miette::Report);

impl From<CheckpointError> for Failure {
    fn from(error: CheckpointError) -> Self {
        Self(miette!("{error}"))
    }
}
