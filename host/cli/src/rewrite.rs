//! What the commands that make a checkpoint of another say while they do, and afterwards.

use std::io::Write;
use std::path::Path;

use bitquilt::file;
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
    let style =
        ProgressStyle::with_template("{msg:9} [{bar:40}] {bytes}/{total_bytes} ({bytes_per_sec}, {eta})");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(0).with_style(style.progress_chars("=> "))
}

/// Begins a stage, with the number of bytes that it has.
pub fn begin(progress: &ProgressBar, stage: &'static str, bytes: u64) {
    progress.set_message(stage);
    progress.set_position(0);
    progress.set_length(bytes);
}
