//! `bitquilt dequantize`

use std::collections::BTreeSet;
use std::path::PathBuf;

use bitquilt::checkpoint::CheckpointWriter;
use bitquilt::text::Brief;
use bitquilt::{DType, Tensor};
use clap::Args;
use miette::miette;

use crate::rewrite;
use crate::session::SessionArguments;

/// Decodes the encoded tensors of a checkpoint.
///
/// Each becomes f32, whatever it was before it was encoded: f32 holds what an encoding decodes to exactly. Every other tensor is carried
/// over bit for bit, and so is metadata. OUT is a safetensors file, written beside its place and
/// renamed; it may be IN. A file that is GGUF is never written over.
#[derive(Args)]
pub struct DequantizeArguments {
    /// A safetensors or GGUF file.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The safetensors file to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,
}

impl DequantizeArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let session = session.build()?;
        let file = rewrite::open(&self.input, &self.output)?;
        let names: BTreeSet<&str> =
            file.tensors().filter(|(_, stored)| stored.encoding().is_some()).map(|(name, _)| name).collect();
        if names.is_empty() {
            return Err(miette!("{} has no encoded tensors", self.input.display()));
        }
        let mut writer = CheckpointWriter::new();
        writer.metadata_mut().clone_from(file.metadata());
        for (name, stored) in file.tensors() {
            if names.contains(name) {
                writer.dense(name, DType::F32, stored.shape());
            } else {
                writer.stored(name, stored);
            }
        }
        let about = |name: &str| format!("{}, tensor `{}`", self.input.display(), Brief(name));
        // Encodings that are not there, or are others, are found before anything is written.
        for name in &names {
            file.tensor(name, session.registry()).map_err(|error| miette!("{error}"))?;
        }
        let progress = rewrite::progress();
        let decode = |name: &str, encoded: Tensor| -> miette::Result<Tensor> {
            let decoded =
                session.registry().to_f32(&encoded).map_err(|error| miette!("{}: {error}", about(name)))?;
            if let Some(warning) = not_finite(&decoded) {
                progress.suspend(|| tracing::warn!("{}: {warning}", about(name)));
            }
            Ok(decoded)
        };
        progress.set_message("decoding");
        rewrite::write(&file, &writer, &names, &self.output, &progress, decode)?;
        rewrite::report(
            &self.output,
            format_args!(
                "{}: {} of {} tensors were decoded to f32",
                self.output.display(),
                names.len(),
                file.tensors().len()
            ),
        )
    }
}

/// What to say of decoded values that are NaN or infinite: the blocks are written so.
fn not_finite(decoded: &Tensor) -> Option<String> {
    let values = decoded.values::<f32>().ok()?;
    let first = values.iter().position(|value| !value.is_finite())?;
    let count = values[first..].iter().filter(|value| !value.is_finite()).count();
    let row_len = decoded.shape().last().copied().unwrap_or(1);
    Some(format!(
        "{count} of {} values decode to NaN or infinity; the first is at row {}, column {}",
        values.len(),
        first / row_len,
        first % row_len
    ))
}
