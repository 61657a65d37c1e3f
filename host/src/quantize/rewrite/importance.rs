//! The importance that a rewrite uses.

use std::collections::BTreeSet;

use bitquilt_plugin_api::{EncodingSpec, Importance};

use super::Rewrite;
use crate::checkpoint::{StoredTensor, TensorDict};
use crate::quantize::importance::{Coverage, ImportanceError, ImportanceMatrix};
use crate::quantize::plan::Plan;
use crate::registry::Registry;
use crate::text::Brief;

/// The importance of the weights that a plan encodes.
#[derive(Clone, Debug)]
pub struct PlanImportance {
    /// Their vectors, as [`Rewrite::quantize`] takes them.
    pub vectors: TensorDict,
    /// What it lacks, or has for nothing.
    pub coverage: Coverage,
    /// The plan's encodings whose bytes are the same without.
    pub ignored_by: Vec<String>,
}

impl PlanImportance {
    /// What is to be said of it, a sentence each.
    pub fn sentences(&self) -> Vec<String> {
        let ignored = self.ignored_by.iter().map(|name| {
            format!("`{}` takes no account of importance: its bytes are the same without", Brief(name))
        });
        ignored.chain(self.coverage.sentences()).collect()
    }
}

impl Rewrite {
    /// The importance of the weights that a plan encodes. Where it changes what is written, the file says
    /// [that and from what](ImportanceMatrix::describe).
    pub fn use_importance(
        &mut self,
        matrix: &ImportanceMatrix,
        plan: &Plan,
        registry: &Registry,
    ) -> Result<PlanImportance, ImportanceError> {
        let encoded: Vec<(&str, &EncodingSpec)> = plan.encoded(registry).collect();
        let shape = |name: &str| self.file.require(name).map(StoredTensor::shape).unwrap_or_default();
        let weights = encoded.iter().map(|(name, _)| (*name, shape(name)));
        let (vectors, coverage) = matrix.vectors(weights, |name| self.file.require(name).is_ok())?;
        let (ignoring, using): (Vec<_>, Vec<_>) =
            encoded.into_iter().partition(|(_, spec)| spec.importance == Importance::Ignored);
        if using.iter().any(|(name, _)| vectors.contains(name)) {
            matrix.describe(self.writer.metadata_mut());
        }
        let ignoring: BTreeSet<&str> = ignoring.iter().map(|(_, spec)| &spec.name[..]).collect();
        Ok(PlanImportance {
            vectors,
            coverage,
            ignored_by: ignoring.into_iter().map(str::to_owned).collect(),
        })
    }
}
