//! This crate and ggml side by side, in one process: the same bytes and values, and how long each takes.
//!
//! ```text
//! against_ggml check LIBRARY [--seeds N] [--only FORMATS] [WEIGHTS.safetensors ..]
//! against_ggml time  LIBRARY [--samples N] [--only FORMATS]
//! against_ggml digest LIBRARY
//! ```
//!
//! `LIBRARY` is ggml's `libggml-base.so`, of the version that the crate follows, built without fused multiply-adds.
//! `--only` takes names of formats with commas between. `tests/peers/quantize.sh` does all of it.

#![allow(clippy::unwrap_used, reason = "a tool for developers: a panic is its error message")]

mod check;
mod digest;
mod ggml;
mod rows;
mod time;

use std::path::PathBuf;

use bitquilt_ggml_blocks::{FORMATS, Format};
use ggml::Ggml;

const USAGE: &str =
    "against_ggml check|time|digest LIBRARY [--seeds N] [--samples N] [--only FORMATS] [WEIGHTS ..]";

/// What the command line asks for.
struct Arguments {
    command: String,
    library: PathBuf,
    formats: Vec<&'static Format>,
    seeds: u64,
    samples: usize,
    weights: Vec<PathBuf>,
}

fn parse(mut words: impl Iterator<Item = String>) -> Option<Arguments> {
    let (command, library) = (words.next()?, words.next()?.into());
    let (formats, weights) = (FORMATS.iter().collect(), Vec::new());
    let mut arguments = Arguments { command, library, formats, seeds: 4, samples: 11, weights };
    while let Some(word) = words.next() {
        match word.as_str() {
            "--seeds" => arguments.seeds = words.next()?.parse().ok()?,
            "--samples" => arguments.samples = words.next()?.parse().ok()?,
            "--only" => {
                let names = words.next()?;
                arguments.formats =
                    names.split(',').map(bitquilt_ggml_blocks::format).collect::<Option<_>>()?;
            }
            _ => arguments.weights.push(word.into()),
        }
    }
    Some(arguments)
}

fn main() {
    let arguments = parse(std::env::args().skip(1)).expect(USAGE);
    let ggml = Ggml::open(&arguments.library);
    match arguments.command.as_str() {
        "check" => check::run(&ggml, &arguments.formats, arguments.seeds, &arguments.weights),
        "time" => time::run(&ggml, &arguments.formats, arguments.samples),
        // What `testdata/edges.txt` holds.
        "digest" => {
            for format in &arguments.formats {
                let theirs = ggml.format(format);
                theirs.warm_up(format);
                let quantize = |row: &[f32], importance: Option<&[f32]>, bytes: &mut [u8]| {
                    theirs.try_quantize(format, row, importance, bytes)
                };
                let lines = digest::lines(format, quantize, |bytes, values| theirs.dequantize(bytes, values));
                lines.iter().for_each(|line| println!("{line}"));
            }
        }
        other => panic!("no command {other}: {USAGE}"),
    }
}
