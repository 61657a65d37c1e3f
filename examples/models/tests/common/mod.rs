//! What the tests of models share.
#![allow(dead_code, reason = "each test uses a part")]

pub mod files;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use bitquilt::registry::Registry;
use bitquilt::{DType, InferenceSession};
use bitquilt_models::blocks::decoder::Options;
use bitquilt_models::graph;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::runner::{FeedError, Runner};

/// A file of `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// A model that `tests/fetch_models.sh` fetches, if it is there.
pub fn fetched(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models").join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: models/{name} is not there; tests/fetch_models.sh fetches it");
    None
}

/// SmolLM2, if it was fetched.
pub fn smollm2() -> Option<PathBuf> {
    fetched("SmolLM2-135M-Instruct.Q4_1.gguf")
}

/// A Python that has numpy, if there is one: `BITQUILT_PYTHON`, or `python3`.
pub fn numpy() -> Option<String> {
    let python = std::env::var("BITQUILT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let imported = Command::new(&python).args(["-c", "import numpy"]).output();
    if imported.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("skipped: {python} has no numpy; name one that has in BITQUILT_PYTHON");
    None
}

/// A session of so many threads.
pub fn session(threads: usize) -> InferenceSession {
    InferenceSession::builder().threads(threads).build().unwrap()
}

pub fn registry() -> Arc<Registry> {
    Arc::clone(session(1).registry())
}

/// Options for caches of f32 with room for `context` tokens.
pub fn options(context: usize, precision: &str) -> Options {
    Options { context, cache: DType::F32, precision: precision.to_owned() }
}

/// A runner of a model.
pub fn runner(session: &InferenceSession, model: &DecoderModel, options: &Options) -> Runner {
    let graph = graph::build(session.registry(), model, options).unwrap();
    Runner::new(&session.load(&graph).unwrap(), options.context, model.config.vocabulary).unwrap()
}

/// The logits after each token.
pub fn all_logits(runner: &mut Runner, tokens: &[i32]) -> Vec<f32> {
    let mut logits = Vec::new();
    runner
        .feed_all(tokens, |rows| {
            logits.extend_from_slice(rows);
            Ok::<(), FeedError>(())
        })
        .unwrap();
    logits
}

/// The largest difference.
pub fn distance(left: &[f32], right: &[f32]) -> f32 {
    assert_eq!(left.len(), right.len());
    left.iter().zip(right).map(|(left, right)| (left - right).abs()).fold(0.0, f32::max)
}
