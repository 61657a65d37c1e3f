//! `bitquilt convert`

use std::path::PathBuf;

use bitquilt::TensorDict;
use bitquilt::quantize::{Plan, Rewrite, Target};
use clap::Args;
use miette::IntoDiagnostic;

use crate::rewrite::{self, OutputArguments};
use crate::session::SessionArguments;

/// Writes a checkpoint in another format, in one file or several.
///
/// Every tensor and all metadata of IN are in OUT, bit for bit, or nothing is written and a sentence says what the format of OUT has no
/// place for. Of a model in several files any one, or their index, is IN; OUT is one file unless --split is given. With --to tensors
/// are decoded and cast: to f32 all that hold f16 or bf16 values or are encoded; to f16 and bf16 those of them that are weights (rank 2
/// or 3) or are encoded, while norms and biases stay, and `general.file_type` is left out, which would be wrong. OUT is written beside
/// its place and renamed; it may not be IN.
#[derive(Args)]
pub struct ConvertArguments {
    /// A safetensors, GGUF or .npz file.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The file to write: GGUF or .npz if its name ends so, otherwise safetensors.
    #[arg(value_name = "OUT")]
    output: PathBuf,
    /// The dtype that tensors are decoded or cast to.
    #[arg(long, value_name = "DTYPE", value_parser = ["f32", "f16", "bf16"])]
    to: Option<String>,
    /// Leaves out what the file says about itself.
    #[arg(long)]
    without_metadata: bool,
    #[command(flatten)]
    out: OutputArguments,
}

impl ConvertArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let session = session.build_for(&[&self.input])?;
        let mut rewrite = Rewrite::open(&self.input, &self.output).into_diagnostic()?;
        self.out.set(&mut rewrite);
        if self.without_metadata {
            rewrite.without_metadata();
        }
        let plan = self.to.as_deref().map_or_else(Plan::default, |dtype| rewrite.casts(&Target::of(dtype)));
        let tensors = rewrite.file().tensors().len();
        rewrite::run(rewrite, &plan, session.registry(), &TensorDict::new())?;
        let cast = plan.conversions.len();
        let done = match &self.to {
            None => "all as they were".to_owned(),
            Some(dtype) => format!("{cast} of them in {dtype} now"),
        };
        rewrite::report(&self.output, format_args!("{}: {tensors} tensors, {done}", self.output.display()))
    }
}
