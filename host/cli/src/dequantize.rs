//! `bitquilt dequantize`

use std::path::PathBuf;

use bitquilt::quantize::{Rewrite, RewriteError};
use bitquilt::text::Brief;
use bitquilt::{DType, Tensor};
use clap::Args;
use miette::{IntoDiagnostic, miette};

use crate::rewrite::{self, OutputArguments};
use crate::session::SessionArguments;

/// Decodes the encoded tensors of a checkpoint.
///
/// Each becomes f32, whatever it was before it was encoded: f32 holds what an encoding decodes to exactly. Every other tensor is carried
/// over bit for bit, and so is metadata but `general.file_type`, which would be wrong. OUT is written beside its place and renamed; it
/// may not be IN.
#[derive(Args)]
pub struct DequantizeArguments {
    /// A safetensors, GGUF or .npz file.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write: GGUF or .npz if its name ends so, otherwise safetensors.
    #[arg(value_name = "OUT")]
    output: PathBuf,
    #[command(flatten)]
    out: OutputArguments,
}

impl DequantizeArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let session = session.build_for(&[&self.input])?;
        let mut rewrite = Rewrite::open(&self.input, &self.output).into_diagnostic()?;
        self.out.set(&mut rewrite);
        let encoded = rewrite.file().tensors().filter(|(_, stored)| stored.encoding().is_some());
        let names: Vec<String> = encoded.map(|(name, _)| name.to_owned()).collect();
        if names.is_empty() {
            return Err(miette!("{} has no encoded tensors", self.input.display()));
        }
        // Encodings that are not there, or are others, are found before anything is written.
        for name in &names {
            rewrite.file().tensor(name, session.registry()).into_diagnostic()?;
            rewrite.cast(name, DType::F32).into_diagnostic()?;
        }
        let about = |name: &str| format!("{}, tensor `{}`", self.input.display(), Brief(name));
        let progress = rewrite::progress();
        let decode = |name: &str, encoded: Tensor| -> Result<Tensor, RewriteError> {
            let decoded = session.registry().to_f32(&encoded).map_err(|source| RewriteError::Weight {
                path: self.input.clone(),
                weight: name.to_owned(),
                source,
            })?;
            if let Some(warning) = not_finite(&decoded) {
                progress.suspend(|| tracing::warn!("{}: {warning}", about(name)));
            }
            Ok(decoded)
        };
        rewrite::begin(&progress, "decoding", rewrite.bytes());
        rewrite.write(|_, bytes| progress.inc(bytes), decode).into_diagnostic()?;
        progress.finish_and_clear();
        rewrite::report(
            &self.output,
            format_args!(
                "{}: {} of {} tensors were decoded to f32",
                self.output.display(),
                names.len(),
                rewrite.file().tensors().len()
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
