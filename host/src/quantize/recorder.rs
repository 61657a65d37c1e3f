//! Importance that is recorded in runs of a graph.

use super::importance::{Chunks, ImportanceError, ImportanceMatrix};
use crate::checkpoint::TensorDict;
use crate::error::Error;
use crate::graph::Graph;
use crate::plan::RunError;
use crate::session::InferenceSession;
use crate::state::State;

/// A graph that is run on sets of inputs, and what its [weights](Graph::weights) are multiplied with.
pub struct ImportanceRecorder {
    state: State,
    sets: u64,
}

impl ImportanceRecorder {
    /// Loads a graph.
    pub fn new(graph: &Graph, session: &InferenceSession) -> Result<Self, Error> {
        let mut state = session.load(graph)?.new_state()?;
        state.set_record_importance(true);
        Ok(Self { state, sets: 0 })
    }

    /// Runs it on a set of inputs, with states that are zero at first.
    pub fn run(&mut self, inputs: &TensorDict) -> Result<(), RunError> {
        self.state.reset();
        self.state.run(inputs.iter())?;
        self.sets += 1;
        Ok(())
    }

    /// What was recorded on all sets; `dataset` is what they are called.
    ///
    /// # Errors
    /// If there was no set, or an op multiplies no constant row by row.
    pub fn finish(self, dataset: impl Into<String>) -> Result<ImportanceMatrix, ImportanceError> {
        if self.sets == 0 {
            return Err(ImportanceError::NoInputs);
        }
        let mut matrix = self.state.importance().unwrap_or_default();
        if matrix.is_empty() {
            return Err(ImportanceError::NoWeights);
        }
        let rows = matrix.iter().map(|(_, columns)| columns.rows() as u64).max().unwrap_or_default();
        matrix.set_source(dataset, Chunks { count: self.sets, size: rows.div_ceil(self.sets) });
        Ok(matrix)
    }
}
