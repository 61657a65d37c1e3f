//! Standard output: a write that fails is an error of the command.

use std::fmt::Display;
use std::io::{self, BufWriter, Write};

use bitquilt::text::Lines;
use miette::miette;
use serde::Serialize;

/// Prints text at once, as what reads it may be waiting, and without control characters, which files and plugins could bring in.
pub fn print(text: impl Display) -> miette::Result<()> {
    let (text, mut out) = (text.to_string(), io::stdout().lock());
    let written = write!(out, "{}", Lines(&text)).and_then(|()| out.flush());
    written.map_err(|error| miette!("standard output: {error}"))
}

/// Prints a line.
pub fn print_line(line: impl Display) -> miette::Result<()> {
    print(format_args!("{line}\n"))
}

/// Prints JSON, indented. It is written as it is made, so that it is not held whole.
pub fn print_json(value: &impl Serialize) -> miette::Result<()> {
    print_with(|out| {
        serde_json::to_writer_pretty(&mut *out, value)?;
        writeln!(out)
    })
}

/// Prints much, in large pieces.
pub fn print_with(write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> miette::Result<()> {
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    write(&mut out).and_then(|()| out.flush()).map_err(|error| miette!("standard output: {error}"))
}
