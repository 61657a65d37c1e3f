//! Standard output: a write that fails is an error of the command.

use std::fmt::Display;
use std::io::{self, Write};

use miette::{IntoDiagnostic, miette};
use serde_json::Value;

/// Prints text as it is, at once: what reads it may be waiting.
pub fn print(text: impl Display) -> miette::Result<()> {
    let mut out = io::stdout().lock();
    write!(out, "{text}").and_then(|()| out.flush()).map_err(|error| miette!("standard output: {error}"))
}

/// Prints a line.
pub fn print_line(line: impl Display) -> miette::Result<()> {
    print(format_args!("{line}\n"))
}

/// Prints JSON, indented.
pub fn print_json(value: &Value) -> miette::Result<()> {
    print_line(serde_json::to_string_pretty(value).into_diagnostic()?)
}
