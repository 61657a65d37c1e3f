//! Writes the well-formed inputs of a reader into a folder, for a fuzzer to begin with: `corpus READER FOLDER`.

use std::path::Path;
use std::process::ExitCode;

use bitquilt_fuzz::{Scratch, TARGETS, Target};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [name, folder] = &arguments[..] else { return usage() };
    if !TARGETS.iter().any(|target| target.name == name) {
        return usage();
    }
    let inputs = (Target::named(name).corpus)(&Scratch::new());
    let written = inputs.iter().enumerate().try_for_each(|(index, bytes)| {
        std::fs::write(Path::new(folder).join(format!("corpus-{index}")), bytes)
    });
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{folder}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    let names: Vec<&str> = TARGETS.iter().map(|target| target.name).collect();
    eprintln!("usage: corpus READER FOLDER, where READER is one of {}", names.join(", "));
    ExitCode::FAILURE
}
