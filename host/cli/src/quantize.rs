//! `bitquilt quantize`

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use bitquilt::checkpoint::{Checkpoint, CheckpointWriter, StoredTensor};
use bitquilt::registry::RegisteredEncoding;
use bitquilt::text::Brief;
use bitquilt::{DType, Importance, NamePattern, QuantizeError, Quantized, Tensor, TensorError, file};
use clap::Args;
use miette::{IntoDiagnostic, miette};

use crate::rewrite;
use crate::session::SessionArguments;

/// Encodes weights of a checkpoint.
///
/// Weights are the tensors of rank 2 that hold f32, f16 or bf16 values. Those that --only names, or all, are encoded row by row; every
/// other tensor is carried over bit for bit. OUT is a safetensors file, in which an encoded weight is U8 of shape [rows, bytes a row]; its
/// encoding and logical shape are in the metadata, where `bitquilt inspect` and other commands read them. Metadata is carried over, that
/// of GGUF files with its types, the tokenizer included. Of a model in several files any one, or their index, is IN.
///
/// Rows that are no whole number of blocks, values that are NaN or infinite, and values that would decode to such are refused, and OUT is
/// as it was: it is written beside its place and renamed. It may be IN. A file that is GGUF is never written over. Rows whose values are so small or so
/// large that little of them is left are written, with a warning.
#[derive(Args)]
pub struct QuantizeArguments {
    /// A safetensors or GGUF file.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The safetensors file to write.
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The encoding, such as q4_k; `bitquilt plugin list` shows all.
    #[arg(short, long, value_name = "NAME")]
    encoding: String,
    /// A safetensors file with an f32 vector for each weight that is encoded, of the weight's name: how much an error costs in each
    /// column. Some encodings demand it.
    #[arg(long, value_name = "FILE")]
    importance: Option<PathBuf>,
    /// Encodes only the weights whose names match, such as 'blk.*.ffn_{up,down}.weight'.
    #[arg(long, value_name = "GLOB", value_parser = NamePattern::new)]
    only: Option<NamePattern>,
}

impl QuantizeArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let session = session.build()?;
        let encoding = session.registry().require_encoding(&self.encoding).into_diagnostic()?;
        let file = rewrite::open(&self.input, &self.output)?;
        if let Some(importance) = self.importance.as_ref().filter(|path| file::is_same(path, &self.output)) {
            return Err(miette!(
                "{} is the importance, which would be lost; name another OUT",
                importance.display()
            ));
        }
        let names = self.weights(&file)?;
        let importance = self.importance(encoding, &names)?;

        let progress = rewrite::progress();
        let vector = |name: &str| importance.get(name).map(|vector| vector.values::<f32>()).transpose();
        let about = |name: &str| format!("{}, tensor `{}`", self.input.display(), Brief(name));
        progress.set_message("checking");
        progress.set_length(rewrite::bytes(&file, &names));
        for name in &names {
            let weight = file.as_stored(name).into_diagnostic()?;
            encoding.check(&weight, vector(name).into_diagnostic()?).map_err(|error| match error {
                QuantizeError::Tensor(TensorError::RowLength { .. }) => {
                    miette!("{}: {error}; leave it out with --only, or choose another encoding", about(name))
                }
                _ => miette!("{}: {error}", about(name)),
            })?;
            progress.inc(weight.bytes().len() as u64);
        }

        let mut writer = CheckpointWriter::new();
        writer.metadata_mut().clone_from(file.metadata());
        for (name, stored) in file.tensors() {
            if names.contains(name) {
                writer.encoded(name, encoding.spec(), stored.shape());
            } else {
                writer.stored(name, stored);
            }
        }
        let quantize = |name: &str, weight: Tensor| -> miette::Result<Tensor> {
            let encoded = match vector(name).into_diagnostic()? {
                Some(importance) => encoding.quantize_with_importance(&weight, importance),
                None => encoding.quantize(&weight),
            };
            let Quantized { tensor, warnings } =
                encoded.map_err(|error| miette!("{}: {error}", about(name)))?;
            for warning in warnings {
                progress.suspend(|| tracing::warn!("{}: {warning}", about(name)));
            }
            Ok(tensor)
        };
        progress.set_message("encoding");
        rewrite::write(&file, &writer, &names, &self.output, &progress, quantize)?;
        rewrite::report(
            &self.output,
            format_args!(
                "{}: {} of {} tensors are {}",
                self.output.display(),
                names.len(),
                file.tensors().len(),
                self.encoding
            ),
        )
    }

    /// The names of the weights to encode; an error if there are none.
    fn weights<'a>(&self, file: &'a Checkpoint) -> miette::Result<BTreeSet<&'a str>> {
        let matches = |name: &str| self.only.as_ref().is_none_or(|pattern| pattern.is_match(name));
        let weights = file.tensors().filter(|(_, stored)| is_weight(stored)).map(|(name, _)| name);
        let weights: BTreeSet<&str> = weights.collect();
        let names: BTreeSet<&str> = weights.iter().copied().filter(|name| matches(name)).collect();
        if !names.is_empty() {
            return Ok(names);
        }
        let what = "weights (tensors of rank 2 that hold f32, f16 or bf16 values)";
        let path = self.input.display();
        let Some(glob) = &self.only else { return Err(miette!("{path} has no {what}")) };
        let glob = Brief(glob.as_str());
        let others = file.tensors().filter(|(name, _)| matches(name)).count();
        Err(match weights.first() {
            _ if others > 0 => {
                miette!("{path}: of the {others} tensors that match `{glob}` none is among the {what}")
            }
            Some(first) => {
                miette!(
                    "{path}: no tensor matches `{glob}`; the first of {} {what} is `{}`",
                    weights.len(),
                    Brief(first)
                )
            }
            None => miette!("{path}: no tensor matches `{glob}`; there are no {what} at all"),
        })
    }

    /// The importance of each weight, by name: of all of them, or of none.
    fn importance(
        &self,
        encoding: &RegisteredEncoding,
        names: &BTreeSet<&str>,
    ) -> miette::Result<BTreeMap<String, Tensor>> {
        let (name, wanted) = (&self.encoding, encoding.spec().importance);
        let Some(path) = &self.importance else {
            return match wanted {
                Importance::Required => Err(miette!(
                    "`{name}` needs importance: give --importance FILE, a safetensors file with an f32 vector for each weight"
                )),
                _ => Ok(BTreeMap::new()),
            };
        };
        if wanted == Importance::Ignored {
            tracing::warn!("`{name}` takes no account of importance: its bytes are the same without");
        }
        let file = Checkpoint::open(path).into_diagnostic()?;
        let vector = |name: &&str| {
            let vector = file.as_stored(name).map_err(|error| miette!("{}: {error}", path.display()))?;
            match (vector.dtype(), vector.shape()) {
                (Some(DType::F32), [_]) => Ok(((*name).to_owned(), vector)),
                _ => Err(miette!(
                    "{}, tensor `{}`: it is {}, an f32 vector was expected",
                    path.display(),
                    Brief(name),
                    vector.tensor_type()
                )),
            }
        };
        names.iter().map(vector).collect()
    }
}

fn is_weight(stored: &StoredTensor) -> bool {
    stored.shape().len() == 2 && matches!(stored.dtype(), Some(DType::F32 | DType::F16 | DType::BF16))
}
