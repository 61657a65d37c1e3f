//! `bitquilt inspect`

use std::collections::BTreeMap;
use std::path::PathBuf;

use bitquilt::Graph;
use bitquilt::checkpoint::Checkpoint;
use clap::Args;
use miette::IntoDiagnostic;
use serde_json::json;

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
                "file": self.file, "format": format, "metadata": file.metadata(), "tensors": tensors.collect::<Vec<_>>(),
            });
            println!("{}", serde_json::to_string_pretty(&all).into_diagnostic()?);
            return Ok(());
        }
        println!("{}: {format}", self.file.display());
        for (key, value) in file.metadata() {
            println!("  {key} = {}", brief(value));
        }
        let mut sums: BTreeMap<String, (usize, usize)> = BTreeMap::new();
        for (name, tensor) in file.tensors() {
            let (element, bytes) = (tensor.element().to_string(), tensor.byte_range().len());
            println!("  {element:8} {:>20} {bytes:>12} bytes  {name}", format!("{:?}", tensor.shape()));
            let sum = sums.entry(element).or_default();
            *sum = (sum.0 + 1, sum.1 + bytes);
        }
        for (element, (count, bytes)) in sums {
            println!("{element}: {count} tensors, {bytes} bytes");
        }
        Ok(())
    }
}

/// The beginning of a long text.
fn brief(text: &str) -> String {
    const MOST: usize = 100;
    let line = text.replace(['\n', '\r'], " ");
    match line.char_indices().nth(MOST) {
        Some((end, _)) => format!("{}... ({} characters)", &line[..end], line.chars().count()),
        None => line,
    }
}
