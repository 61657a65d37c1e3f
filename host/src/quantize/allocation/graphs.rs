//! Saved graphs as subjects.

use super::subject::{Measure, Subject};
use crate::checkpoint::TensorDict;
use crate::graph::Graph;

impl<'a> Subject<'a> {
    /// A graph, whose [weights](Graph::weights) have the names that they have in its file, and which is run on each set of inputs once.
    pub fn of_graph(name: impl Into<String>, graph: &'a Graph, sets: Vec<TensorDict>) -> Self {
        Self {
            name: name.into(),
            weights: graph.weights().into_iter().map(|(name, tensor)| (name, tensor.clone())).collect(),
            build: Box::new(|others| {
                let registry = graph.registry();
                let encoded = others.iter().map(|(name, tensor)| (name, registry.as_encoded(tensor)));
                graph.with_weights(&encoded.collect())
            }),
            passages: sets.into_iter().map(|set| vec![set]).collect(),
            measure: Measure::RelativeError,
        }
    }
}
