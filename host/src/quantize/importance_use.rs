//! The importance of the weights that a rewrite encodes.

use std::collections::BTreeSet;

use bitquilt_plugin_api::{EncodingSpec, Importance};

use super::importance::{Coverage, ImportanceError, ImportanceMatrix};
use super::plan::Plan;
use super::rewrite::Rewrite;
use crate::checkpoint::{StoredTensor, TensorDict};
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
    /// The importance of the weights that a plan encodes. Where it changes what is written, the file
    /// [says so](Self::describe_importance).
    pub fn use_importance(
        &mut self,
        matrix: &ImportanceMatrix,
        plan: &Plan,
        registry: &Registry,
    ) -> Result<PlanImportance, ImportanceError> {
        let encoded: Vec<(&str, &EncodingSpec)> = plan.encoded(registry).collect();
        let file = self.file();
        let shape = |name: &str| file.require(name).map(StoredTensor::shape).unwrap_or_default();
        let weights = encoded.iter().map(|(name, _)| (*name, shape(name)));
        let (vectors, coverage) = matrix.vectors(weights, |name| file.require(name).is_ok())?;
        let (ignoring, using): (Vec<_>, Vec<_>) =
            encoded.into_iter().partition(|(_, spec)| spec.importance == Importance::Ignored);
        if using.iter().any(|(name, _)| vectors.contains(name)) {
            self.describe_importance(matrix);
        }
        let ignoring: BTreeSet<&str> = ignoring.iter().map(|(_, spec)| &spec.name[..]).collect();
        let ignored_by = ignoring.into_iter().map(str::to_owned).collect();
        Ok(PlanImportance { vectors, coverage, ignored_by })
    }
}
