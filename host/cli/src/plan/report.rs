//! What was found, as tables or JSON.

use std::path::{Path, PathBuf};
use std::time::Duration;

use bitquilt::quantize::allocation::{Allocation, Measure, Origin, Subject, WeightAllocation};
use bitquilt::text::{Brief, Columns};
use serde_json::Value;

use crate::output::{print, print_json};

/// An allocation, and what it is of.
pub struct Report<'a> {
    /// What was found.
    pub allocation: &'a Allocation,
    /// The model.
    pub subject: &'a Subject<'a>,
    /// The model's file, and what it was measured on.
    pub origin: &'a Origin,
}

const HEADINGS: [&str; 8] = ["weight", "shape", "encoding", "bits", "bytes", "rel RMS", "loss", "why"];

impl Report<'_> {
    /// Prints tables.
    pub fn print(
        &self,
        took: Duration,
        saved: Option<&Path>,
        importance: &[PathBuf],
        quick: bool,
    ) -> miette::Result<()> {
        let Allocation { budget, predicted, loss, candidates, best, .. } = self.allocation;
        let rows: Vec<[String; 8]> = self.allocation.weights.iter().map(row).collect();
        print(table(3, HEADINGS, &rows))?;
        let mixes: Vec<[String; 5]> = candidates
            .iter()
            .enumerate()
            .map(|(index, it)| {
                let bits = 8.0 * it.bytes as f64 / self.allocation.values().max(1) as f64;
                let mark = if index == *best { "*" } else { "" };
                let (predicted, loss) = (figure(it.predicted), figure(it.loss));
                [format!("{}{mark}", it.name), it.bytes.to_string(), format!("{bits:.3}"), predicted, loss]
            })
            .collect();
        print(format_args!("\n{}", table(1, ["mix", "bytes", "bits", "predicted", "loss"], &mixes)))?;
        let (bytes, bits, count) =
            (self.allocation.bytes(), self.allocation.bits(), self.allocation.weights.len());
        let measured = match self.allocation.measure {
            Measure::Divergence { .. } => {
                format!("nats a token on {} tokens of {}", self.origin.count, self.origin.source)
            }
            Measure::RelativeError => {
                format!(
                    "of the outputs' squares on {} sets of inputs of {}",
                    self.origin.count, self.origin.source
                )
            }
        };
        let use_it = saved.map_or_else(String::new, |path| self.how_to_make(path, importance));
        let quick = if quick {
            " Groups of weights were changed together: without --quick the plan is better."
        } else {
            ""
        };
        print(format_args!(
            "\n{count} weights in {bytes} of {budget} bytes, {bits:.3} bits a value; loss {} {measured}, {} predicted ({:.2} of it). It took {:.0} s.{quick}{use_it}\n",
            figure(*loss),
            figure(*predicted),
            predicted / loss,
            took.as_secs_f64()
        ))
    }

    /// How a saved recipe is used.
    fn how_to_make(&self, recipe: &Path, importance: &[PathBuf]) -> String {
        let is_anew = self.allocation.weights.iter().any(|weight| self.is_encoded_anew(weight));
        let again = if is_anew { " --requantize" } else { "" };
        let importance = importance.iter().map(|path| format!(" --importance {}", path.display()));
        let (input, recipe, importance) =
            (&self.origin.model, recipe.display(), importance.collect::<String>());
        format!("\nbitquilt quantize {input} OUT --recipe {recipe}{importance}{again}")
    }

    /// Whether a weight that the file has encoded is encoded in another way.
    fn is_encoded_anew(&self, weight: &WeightAllocation) -> bool {
        let tensor = self.subject.weights.get(&weight.name);
        tensor.is_some_and(|tensor| {
            tensor.float_dtype().is_none() && !weight.choice().target.is(&tensor.element())
        })
    }

    /// Prints what each encoding would do to a weight.
    pub fn print_weight(&self, name: &str) -> miette::Result<()> {
        let Some(weight) = self.allocation.weights.iter().find(|weight| weight.name == name) else {
            return Ok(());
        };
        let rows: Vec<[String; 5]> = weight
            .choices
            .iter()
            .enumerate()
            .map(|(index, choice)| {
                let mark = if index == weight.chosen { "*" } else { "" };
                let loss = weight.loss(choice).map_or_else(String::new, figure);
                let (bits, error) = (format!("{:.3}", weight.bits(choice)), figure(choice.error.sqrt()));
                [format!("{}{mark}", choice.target), bits, choice.bytes.to_string(), error, loss]
            })
            .collect();
        let headings = ["encoding", "bits", "bytes", "rel RMS", "loss"];
        let (name, shape) = (Brief(&weight.name), &weight.shape);
        print(format_args!("{name} {shape:?}: {}\n\n{}", weight.reason(), table(1, headings, &rows)))
    }

    /// Prints JSON.
    pub fn print_json(&self) -> miette::Result<()> {
        print_json(&self.json())
    }

    /// All of it.
    pub fn json(&self) -> Value {
        self.allocation.to_json(self.origin)
    }
}

fn row(weight: &WeightAllocation) -> [String; 8] {
    let choice = weight.choice();
    [
        weight.name.clone(),
        format!("{:?}", weight.shape),
        choice.target.to_string(),
        format!("{:.3}", weight.bits(choice)),
        choice.bytes.to_string(),
        figure(choice.error.sqrt()),
        weight.loss(choice).map_or_else(String::new, figure),
        weight.reason(),
    ]
}

/// A table with its headings.
fn table<const N: usize>(left: usize, headings: [&str; N], rows: &[[String; N]]) -> String {
    let columns = Columns::new(left, headings, rows);
    let lines = rows.iter().map(|row| columns.line(row));
    std::iter::once(columns.line(&headings))
        .chain(lines)
        .fold(String::new(), |text, line| text + &line + "\n")
}

/// A figure of four digits.
fn figure(value: f64) -> String {
    match value {
        0.0 => "0".to_owned(),
        _ if (1e-3..1e4).contains(&value.abs()) => format!("{value:.4}"),
        _ => format!("{value:.3e}"),
    }
}
