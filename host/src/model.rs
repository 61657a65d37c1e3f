//! Models: loaded graphs, which threads share.

use std::sync::Arc;

use bitquilt_plugin_api::{Bindings, TensorType};
use bitquilt_simd::Isa;

use crate::compile::{Explanation, explain};
use crate::plan::{Layout, Program, RunError};
use crate::registry::Registry;
use crate::run::executor::ThreadPool;

/// What a session shares with its models.
pub(crate) struct SessionCore {
    pub(crate) registry: Arc<Registry>,
    pub(crate) pool: ThreadPool,
    pub(crate) isa: Isa,
    pub(crate) options: Vec<(String, String)>,
}

/// A loaded graph. Immutable: threads share it, each with a [`State`](crate::State) of its own.
#[derive(Clone)]
pub struct Model {
    pub(crate) program: Arc<Program>,
    pub(crate) core: Arc<SessionCore>,
}

impl Model {
    /// Name and type of each input.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, &TensorType)> {
        self.program.inputs.iter().map(|port| (port.name.as_str(), &port.tensor))
    }

    /// Name and type of each output.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &TensorType)> {
        self.program.outputs.iter().map(|port| (port.name.as_str(), &self.program.values[port.value].tensor))
    }

    /// The plan. With symbols that are not bound it has no sizes and offsets; see [`Self::explain_for`].
    pub fn explain(&self) -> Result<Explanation, RunError> {
        match self.program.symbols[..] {
            [] => self.explain_for(&Bindings::new()),
            _ => Ok(explain(&self.program, self.core.isa, None)),
        }
    }

    /// The plan for these values of the symbols: of all that the graph has, and of no others.
    pub fn explain_for(&self, bindings: &Bindings) -> Result<Explanation, RunError> {
        if let Some(symbol) = bindings.keys().find(|symbol| !self.program.symbols.contains(symbol)) {
            let known = self.program.symbols.clone();
            return Err(RunError::UnknownSymbol { symbol: symbol.clone(), known });
        }
        let value = |symbol: &String| {
            bindings.get(symbol).copied().ok_or_else(|| {
                RunError::Shape(bitquilt_plugin_api::Error::invalid(format_args!(
                    "the symbol `{symbol}` has no value"
                )))
            })
        };
        let values = self.program.symbols.iter().map(value).collect::<Result<Vec<usize>, _>>()?;
        let layout = Layout::new(&self.program, &self.core.registry, &values, self.core.pool.workers())?;
        Ok(explain(&self.program, self.core.isa, Some(&layout)))
    }
}
