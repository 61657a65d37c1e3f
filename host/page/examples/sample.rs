//! Writes `plan.html` and `compare.html`, of made-up figures, into a directory: pages to look at.

#![allow(clippy::unwrap_used, reason = "the figures are those of tests")]

#[path = "../tests/fixtures/mod.rs"]
mod fixtures;

use std::path::PathBuf;
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let directory = PathBuf::from(env::args_os().nth(1).unwrap_or_else(|| "target/pages".into()));
    fs::create_dir_all(&directory)?;
    let encodings = ["q3_k", "iq4_nl", "q4_1", "q5_0", "q6_k", "q8_0"];
    fs::write(directory.join("plan.html"), bitquilt_page::plan(&fixtures::plan()))?;
    fs::write(directory.join("compare.html"), bitquilt_page::compare(&fixtures::compare(&encodings, true)))
}
