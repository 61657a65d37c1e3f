//! `bitquilt inspect`

use std::collections::BTreeMap;
use std::path::PathBuf;

use bitquilt::Graph;
use bitquilt::checkpoint::Checkpoint;
use clap::Args;
use miette::IntoDiagnostic;
use serde_json::json;

use crate::output::{print_json, print_line};

/// Shows what is in a file.
#[derive(Args)]
pub struct InspectArguments {
    /// A safetensors checkpoint, a GGUF file, or a saved graph.
    file: PathBuf,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
}

impl InspectArguments {
    /// Does it.
    pub fn execute(&self) -> miette::Result<()> {
        let file = Checkpoint::open(&self.file).into_diagnostic()?;
        let graph = Graph::is_in(&file);
        let format =
            if graph { format!("{} with a graph", file.format()) } else { file.format().to_string() };
        if self.json {
            let tensors = file.tensors().map(|(name, tensor)| {
                json!({
                    "name": name, "element": tensor.element().to_string(), "shape": tensor.shape(),
                    "bytes": tensor.byte_range().len(),
                })
            });
            let all = json!({
                "file": self.file.display().to_string(), "format": format, "metadata": file.metadata(), "tensors": tensors.collect::<Vec<_>>(),
            });
            return print_json(&all);
        }
        print_line(format_args!("{}: {format}", self.file.display()))?;
        for (key, value) in file.metadata() {
            print_line(format_args!("  {} = {}", brief(key), brief(value)))?;
        }
        let mut sums: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (name, tensor) in file.tensors() {
            let (element, bytes) = (brief(&tensor.element().to_string()), tensor.byte_range().len());
            let (shape, name) = (format!("{:?}", tensor.shape()), brief(name));
            print_line(format_args!("  {element:8} {shape:>20} {bytes:>12} bytes  {name}"))?;
            let sum = sums.entry(element).or_default();
            *sum = (sum.0 + 1, sum.1 + bytes);
        }
        for (element, (count, bytes)) in sums {
            print_line(format_args!("{element}: {count} tensors, {bytes} bytes"))?;
        }
        Ok(())
    }
}

/// Text of a file, on one line: without control characters, which a terminal obeys, and cut if it is long.
fn brief(text: &str) -> String {
    const MOST: usize = 100;
    let mut line = String::new();
    for char in text.chars().take(MOST) {
        match char.is_control() {
            true => line.extend(char.escape_default()),
            false => line.push(char),
        }
    }
    match text.chars().count() {
        count if count > MOST => format!("{line}... ({count} characters)"),
        _ => line,
    }
}
