//! `bitquilt explain`

use std::path::PathBuf;

use bitquilt::text::Brief;
use bitquilt::{Bindings, Graph};
use clap::Args;
use miette::{IntoDiagnostic, miette};

use crate::output::print;
use crate::session::SessionArguments;

/// Loads a saved graph and shows its plan: the kernel of each node and why, sizes, and places in memory.
#[derive(Args)]
pub struct ExplainArguments {
    /// A saved graph.
    file: PathBuf,
    /// The value of a symbol, such as `seq=5`. With all of them the plan has sizes and places in memory.
    #[arg(long, value_name = "SYMBOL=N", value_parser = binding)]
    bind: Vec<(String, usize)>,
}

fn binding(text: &str) -> Result<(String, usize), String> {
    let (symbol, value) = text.split_once('=').ok_or("write SYMBOL=N, such as seq=5")?;
    let value = value
        .parse()
        .map_err(|_| format!("`{}` is no whole number that this machine counts", Brief(value)))?;
    Ok((symbol.to_owned(), value))
}

impl ExplainArguments {
    /// Does it.
    pub fn execute(&self, session: &SessionArguments) -> miette::Result<()> {
        let bindings: Bindings = self.bind.iter().cloned().collect();
        if let Some((symbol, _)) =
            self.bind.iter().find(|(symbol, value)| bindings.get(symbol) != Some(value))
        {
            return Err(miette!("--bind: the symbol `{}` has two values; give it one", Brief(symbol)));
        }
        let session = session.build_for(&[&self.file])?;
        let graph = Graph::load(&self.file, session.registry()).into_diagnostic()?;
        let model = session.load(&graph).into_diagnostic()?;
        let plan = if bindings.is_empty() { model.explain() } else { model.explain_for(&bindings) };
        print(plan.map_err(|error| miette!("{}: {error}", self.file.display()))?)
    }
}
