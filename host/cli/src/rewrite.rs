//! What the commands that make a checkpoint of another say while they do, and afterwards.

use std::io::Write;
use std::path::Path;

use bitquilt::checkpoint::Format;
use bitquilt::quantize::{Event, Plan, Report, Rewrite};
use bitquilt::registry::Registry;
use bitquilt::text::Brief;
use bitquilt::{TensorDict, file};
use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use miette::IntoDiagnostic;

use crate::output::print_line;

/// Says what was done: on standard output, unless that, or another pipe, may be what the file was written to.
pub fn report(output: &Path, line: std::fmt::Arguments<'_>) -> miette::Result<()> {
    if file::is_replaced(output) {
        return print_line(line);
    }
    writeln!(std::io::stderr(), "{line}").into_diagnostic()
}

/// A bar on standard error if that is a terminal, or nothing.
pub fn progress() -> ProgressBar {
    let style = ProgressStyle::with_template(
        "{prefix:9} [{bar:30}] {bytes}/{total_bytes} ({bytes_per_sec}, {eta} left) {wide_msg}",
    );
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("=> "))
}

/// The options of what is written.
#[derive(Args)]
pub struct OutputArguments {
    /// The format of OUT, whatever its name ends in.
    #[arg(long, value_name = "NAME", value_parser = ["safetensors", "gguf", "npz"])]
    format: Option<String>,
    /// Splits OUT into files of at most so many bytes of tensors, such as 2G, 500M or 1GiB (G is 10^9, Gi is 2^30).
    #[arg(long, value_name = "SIZE", value_parser = bytes)]
    split: Option<u64>,
}

impl OutputArguments {
    /// Has them hold for a checkpoint that is to be written.
    pub fn set(&self, rewrite: &mut Rewrite) {
        if let Some(format) = self.format.as_deref().and_then(Format::of_extension) {
            rewrite.set_format(format);
        }
        if let Some(bytes) = self.split {
            rewrite.split(bytes);
        }
    }
}

/// The number of bytes of a size such as 2G.
pub fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || "a size such as 2G, 500M or 1GiB was expected".to_owned();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.to_ascii_lowercase().trim_end_matches('b') {
        "" => 1,
        "k" => 1_000,
        "m" => 1_000_000,
        "g" => 1_000_000_000,
        "t" => 1_000_000_000_000,
        "ki" => 1 << 10,
        "mi" => 1 << 20,
        "gi" => 1 << 30,
        "ti" => 1 << 40,
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<u64>().ok().and_then(|number| number.checked_mul(factor)).ok_or_else(wrong)?;
    if bytes == 0 { Err("it cannot be 0 bytes".to_owned()) } else { Ok(bytes) }
}

/// Writes a checkpoint as a plan says, with progress and warnings on standard error.
pub fn run(
    rewrite: Rewrite,
    plan: &Plan,
    registry: &Registry,
    importance: &TensorDict,
) -> miette::Result<Report> {
    let progress = progress();
    let about = format!("{}, tensor", rewrite.file().path().display());
    let mut observe = |event: Event<'_>| match event {
        Event::Checking(bytes) => begin(&progress, "checking", bytes),
        Event::Writing(bytes) => begin(&progress, "writing", bytes),
        Event::Next(name) => progress.set_message(Brief(name).to_string()),
        Event::Checked(bytes) | Event::Written(bytes) => progress.inc(bytes),
        Event::Warning { weight, warning } => {
            progress.suspend(|| tracing::warn!("{about} `{}`: {warning}", Brief(weight)));
        }
    };
    let report = rewrite.quantize(plan, registry, importance, &mut observe).into_diagnostic()?;
    progress.finish_and_clear();
    Ok(report)
}

/// Begins a stage, with the number of bytes that it has.
pub fn begin(progress: &ProgressBar, stage: &'static str, bytes: u64) {
    progress.set_prefix(stage);
    progress.set_position(0);
    progress.set_length(bytes);
}
