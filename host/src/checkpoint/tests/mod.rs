//! Tests of whole files.

pub(super) mod gguf_files;
mod gguf_writer;
mod gguf_written;
mod hostile;
mod models;
mod npy_files;
pub(super) mod npz_files;
mod opaque;
mod refusals;
pub(super) mod round_trips;
mod sets;

use std::path::{Path, PathBuf};

use bitquilt_plugin_api::host::register;
use bitquilt_plugin_api::{EncodingSpec, Plugin, QuantizationEncoding, Result, Rows};
use tempfile::TempDir;

use super::container::Sample;
use super::formats::FORMATS;
use super::*;
use crate::registry::{Origin, Staged};
use crate::tensor::Tensor;

/// An encoding that is only known.
struct Known(EncodingSpec);

impl QuantizationEncoding for Known {
    fn spec(&self) -> EncodingSpec {
        self.0.clone()
    }
    fn quantize(&self, _: Rows<'_>, _: Option<&[f32]>, _: &mut [u8]) -> Result<()> {
        Ok(())
    }
    fn dequantize(&self, _: &[u8], _: &mut [f32]) -> Result<()> {
        Ok(())
    }
}

fn registry(specs: impl IntoIterator<Item = EncodingSpec>) -> Registry {
    let plugin =
        specs.into_iter().fold(Plugin::new("known", "1"), |plugin, spec| plugin.encoding(Known(spec)));
    let (staged, mut registry) = (Staged::default(), Registry::default());
    register(plugin, &staged).unwrap();
    registry.commit(staged, Origin::Program).unwrap();
    registry
}

fn q4_0() -> EncodingSpec {
    EncodingSpec::new("q4_0", 32, 18)
}

fn encoded(spec: &EncodingSpec, shape: [usize; 2]) -> Tensor {
    let bytes = shape[0] * spec.row_bytes(shape[1]).unwrap();
    let bytes: Vec<u8> = (0..bytes).map(|index| (index * 7) as u8).collect();
    Tensor::from_encoded(spec, shape, &bytes).unwrap()
}

/// A directory, and a file in it that holds `bytes`.
fn file(bytes: &[u8]) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model");
    std::fs::write(&path, bytes).unwrap();
    (directory, path)
}

/// What is said of a file of none of the formats.
fn neither() -> String {
    let names: Vec<&str> = FORMATS.iter().map(|format| format.name()).collect();
    format!("is neither a {} file", names.join(" nor a "))
}

/// The error's sentence, in which the file is called `FILE`.
fn sentence<T>(result: Result<T, CheckpointError>, path: &Path) -> String {
    match result {
        Ok(_) => "no error".to_owned(),
        Err(error) => error.to_string().replace(&path.display().to_string(), "FILE"),
    }
}
