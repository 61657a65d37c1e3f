//! `bitquilt encoding fit`

use std::path::PathBuf;

use bitquilt::checkpoint::Checkpoint;
use bitquilt::declared::{self, Declaration, DeclaredEncoding};
use bitquilt::plugin::DECLARATION_SUFFIX;
use bitquilt::plugin_api::{QuantizationEncoding, Rows};
use bitquilt::quantize::{NamePattern, WEIGHTS, is_dense_weight};
use bitquilt::registry::Registry;
use bitquilt::text::Brief;
use bitquilt::{Error, Tensor, file};
use clap::Args;
use miette::{IntoDiagnostic, miette};

use crate::output::print_line;
use crate::session::SessionArguments;

/// Learns a table of values from the weights of a checkpoint, and writes the declaration of an encoding that has it.
///
/// A block is a scale in half precision and a code for each value. The table is learned by k-means over the blocks of the weights, each
/// divided by its scale, and is the same on every machine. Of a large model as many blocks are taken, evenly, as give --values values.
#[derive(Args)]
pub struct FitArguments {
    /// A safetensors or GGUF file.
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// The name of the encoding.
    #[arg(long)]
    name: String,
    /// Bits of a code: the table has two to the power of as many values.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=8))]
    bits: u32,
    /// The number of values in a block.
    #[arg(long, default_value_t = 64)]
    block: usize,
    /// Learns from the weights whose names match, such as 'blk.*.ffn_{up,down}.weight'.
    #[arg(long, value_name = "GLOB", value_parser = NamePattern::new)]
    only: Option<NamePattern>,
    /// The number of values to learn from, at most.
    #[arg(long, value_name = "N", default_value_t = 1 << 22)]
    values: usize,
    /// The file to write; NAME.encoding.toml if it is not given.
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl FitArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let output =
            self.output.clone().unwrap_or_else(|| format!("{}{DECLARATION_SUFFIX}", self.name).into());
        if file::is_same(&self.input, &output) {
            return Err(miette!(
                "{} is what is read, which would be lost; name another --output",
                output.display()
            ));
        }
        file::check_writable(&output).into_diagnostic()?;
        let checkpoint = Checkpoint::open(&self.input).into_diagnostic()?;
        let session = session.build_for(&[&self.input])?;
        let values = self.sample(&checkpoint, session.registry())?;
        let rows = Rows::new(&values, self.block).into_diagnostic()?;
        let fitted = declared::fit(&self.name, self.bits, self.block, rows, None);
        let declaration = fitted.map_err(|error| miette!("{error}"))?;
        let error = relative_error(&declaration, &values).into_diagnostic()?;
        let text = declaration.to_text();
        file::replace(&output, |writer| writer.write_all(text.as_bytes())).into_diagnostic()?;
        print_line(format_args!(
            "{}: a table of {} values from {} of {}, which leaves {:.2}% of their norm as an error",
            output.display(),
            declaration.levels().len(),
            values.len(),
            self.input.display(),
            100.0 * error,
        ))
    }

    /// Whole blocks of the values of weights, evenly taken.
    fn sample(&self, checkpoint: &Checkpoint, registry: &Registry) -> miette::Result<Vec<f32>> {
        let path = self.input.display();
        if self.block == 0 {
            return Err(miette!("--block 0: a block has a value at least"));
        }
        let matches = |name: &str| self.only.as_ref().is_none_or(|pattern| pattern.is_match(name));
        let dense =
            checkpoint.tensors().filter(|(_, stored)| is_dense_weight(&stored.element(), stored.shape()));
        let weights: Vec<(&str, usize)> = dense
            .filter(|(name, stored)| {
                matches(name) && stored.shape().last().is_some_and(|n| n.is_multiple_of(self.block) && *n > 0)
            })
            .map(|(name, stored)| (name, stored.shape().iter().product()))
            .collect();
        let all: usize = weights.iter().map(|(_, values)| values).sum();
        if all == 0 {
            return Err(match &self.only {
                Some(glob) => miette!(
                    "{path}: none of the {WEIGHTS} with rows of whole blocks of {} matches `{}`",
                    self.block,
                    Brief(glob.as_str())
                ),
                None => miette!("{path} has no {WEIGHTS} with rows of whole blocks of {}", self.block),
            });
        }
        let step = all.div_ceil(self.values.max(self.block));
        let mut sample: Vec<f32> = Vec::new();
        for (name, _) in weights {
            let weight = read(checkpoint, name, registry).map_err(|error| miette!("{path}: {error}"))?;
            let values = weight.values::<f32>().into_diagnostic()?;
            let blocks = values.chunks_exact(self.block).step_by(step);
            let first = sample.len();
            sample.extend(blocks.flatten());
            if let Some(value) = sample[first..].iter().find(|value| !value.is_finite()) {
                return Err(miette!("{path}, tensor `{}`: it has the value {value}", Brief(name)));
            }
        }
        Ok(sample)
    }
}

fn read(checkpoint: &Checkpoint, name: &str, registry: &Registry) -> Result<Tensor, Error> {
    Ok(registry.to_f32(&checkpoint.tensor(name, registry)?)?)
}

/// The norm of what encoding changes in values, as a part of theirs.
fn relative_error(declaration: &Declaration, values: &[f32]) -> Result<f64, bitquilt::plugin_api::Error> {
    let encoding = DeclaredEncoding::new(declaration.clone());
    let mut blocks = vec![0; values.len() / declaration.block_len() * declaration.block_bytes()];
    encoding.quantize(Rows::new(values, values.len())?, None, &mut blocks)?;
    let mut decoded = vec![0.0; values.len()];
    encoding.dequantize(&blocks, &mut decoded)?;
    let squares = values.iter().zip(&decoded).fold((0.0, 0.0), |(norm, error), (x, y)| {
        (norm + f64::from(*x).powi(2), error + (f64::from(*x) - f64::from(*y)).powi(2))
    });
    Ok(if squares.0 > 0.0 { (squares.1 / squares.0).sqrt() } else { 0.0 })
}
