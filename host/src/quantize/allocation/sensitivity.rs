//! What single weights lose: a model is run again and again with one weight changed, from the first node on that takes it.

use std::collections::{BTreeSet, HashMap};

use super::error::{AllocationError, go_on};
use super::loss::{Passages, Reference, run_all};
use super::subject::Subject;
use crate::checkpoint::TensorDict;
use crate::compile::live_nodes;
use crate::error::Error;
use crate::graph::{Cut, Graph, GraphError};
use crate::session::{GraphLoader, InferenceSession};
use crate::tensor::Tensor;

/// A model with some of its weights encoded, of which others are changed one at a time.
pub(super) struct Prober<'a> {
    session: &'a InferenceSession,
    subject: &'a Subject<'a>,
    /// The weights that are not the subject's own.
    base: TensorDict,
    graph: Graph,
    loader: GraphLoader<'a>,
    /// The place of each node.
    places: HashMap<String, usize>,
    /// The nodes that an output depends on.
    live: BTreeSet<usize>,
}

/// Weights that are changed together, for a run.
#[derive(Clone, Debug)]
pub(super) struct Probe {
    /// The index of the probe among all.
    pub(super) index: usize,
    /// The names of the weights.
    pub(super) weights: Vec<String>,
}

impl<'a> Prober<'a> {
    /// That of the subject with these weights in the place of its own.
    pub(super) fn new(
        session: &'a InferenceSession,
        subject: &'a Subject<'a>,
        base: TensorDict,
    ) -> Result<Self, AllocationError> {
        let graph = (subject.build)(&base)?;
        let places = graph.node_names().enumerate().map(|(place, name)| (name.to_owned(), place)).collect();
        let live = live_nodes(&graph, session.registry()).into_iter().collect();
        Ok(Self { session, subject, base, graph, loader: session.loader(), places, live })
    }

    /// The outputs of the model, as what others are compared with.
    pub(super) fn reference(&mut self) -> Result<Reference<'a>, AllocationError> {
        let model = self.loader.load(&self.graph).map_err(Error::from)?;
        Reference::new(&model, &self.subject.passages, &self.subject.measure, self.session.registry())
    }

    /// Prepares what the model shares with its probes.
    pub(super) fn prepare(&mut self) -> Result<(), AllocationError> {
        self.loader.load(&self.graph).map(drop).map_err(|error| Error::from(error).into())
    }

    /// The loss of the model.
    pub(super) fn loss(&mut self, reference: &Reference<'_>) -> Result<f64, AllocationError> {
        let model = self.loader.load(&self.graph).map_err(Error::from)?;
        reference.loss(&model, &self.subject.passages)
    }

    /// The loss of the model with the weights of each probe changed, which `change` makes. `found` is given the index of each probe and
    /// its loss, in the order in which the model takes the weights.
    ///
    /// The values that nodes before the first one concerned leave are computed once.
    pub(super) fn probe(
        &mut self,
        probes: &[Probe],
        reference: &Reference<'_>,
        mut change: impl FnMut(&Probe) -> Result<TensorDict, AllocationError>,
        mut found: impl FnMut(usize, f64) -> Result<(), AllocationError>,
    ) -> Result<(), AllocationError> {
        let mut ordered = Vec::with_capacity(probes.len());
        for probe in probes {
            ordered.push((self.first_node(probe)?, probe));
        }
        ordered.sort_by_key(|(place, probe)| (*place, probe.index));
        let mut rest: Option<Graph> = None;
        let mut at = 0;
        let mut passages = self.subject.passages.clone();
        for (place, probe) in ordered {
            go_on()?;
            if place > at {
                let node = self.name(place).to_owned();
                let Cut { before, after } = rest.as_ref().unwrap_or(&self.graph).cut_before(&node)?;
                passages = self.run_before(&before, &after, passages)?;
                (rest, at) = (Some(after), place);
            }
            let mut weights = self.base.clone();
            weights.extend(change(probe)?);
            let mut graph = (self.subject.build)(&weights)?;
            if at > 0 {
                graph = graph.cut_before(self.name(at))?.after;
            }
            let model = self.loader.load_apart(&graph).map_err(Error::from)?;
            found(probe.index, reference.loss(&model, &passages)?)?;
        }
        Ok(())
    }

    /// The inputs of the part of the graph after a cut: those of the part before it, and what that yields.
    fn run_before(
        &self,
        before: &Graph,
        after: &Graph,
        mut passages: Passages,
    ) -> Result<Passages, AllocationError> {
        let model = self.loader.load_apart(before).map_err(Error::from)?;
        let mut yielded = Vec::new();
        run_all(&model, &passages, |results| {
            let outputs = results.iter().map(|output| {
                let (name, view) = output?;
                let tensor = self.session.registry().tensor(&view).map_err(crate::plan::RunError::Tensor)?;
                Ok((name.to_owned(), tensor))
            });
            yielded.push(outputs.collect::<Result<Vec<(String, Tensor)>, AllocationError>>()?);
            Ok(())
        })?;
        let own: BTreeSet<&str> =
            self.subject.passages.iter().flatten().flat_map(TensorDict::names).collect();
        let taken: BTreeSet<&str> = after.input_names().chain(own).collect();
        for (inputs, yielded) in passages.iter_mut().flatten().zip(yielded) {
            inputs.extend(yielded);
            let idle: Vec<String> =
                inputs.names().filter(|name| !taken.contains(name)).map(str::to_owned).collect();
            idle.iter().for_each(|name| drop(inputs.remove(name)));
        }
        Ok(passages)
    }

    /// The place of the node before which the graph is cut for a probe: the first one that takes one of its weights, or one before it.
    fn first_node(&self, probe: &Probe) -> Result<usize, AllocationError> {
        let mut first = usize::MAX;
        for weight in &probe.weights {
            let tensor = self.base.get(weight).or(self.subject.weights.get(weight));
            let takers = tensor.into_iter().flat_map(|tensor| self.graph.takers(tensor));
            let places =
                takers.filter_map(|node| self.places.get(node)).filter(|place| self.live.contains(place));
            let place = places.min().ok_or_else(|| AllocationError::Unused { weight: weight.clone() })?;
            first = first.min(*place);
        }
        // Between a node that writes a state and those that read it there is no cut.
        while first > 0 {
            match self.graph.cut_before(self.name(first)) {
                Err(Error::Graph(GraphError::CutState { .. })) => first -= 1,
                Err(error) => return Err(error.into()),
                Ok(_) => break,
            }
        }
        Ok(first)
    }

    fn name(&self, place: usize) -> &str {
        self.graph.node_names().nth(place).unwrap_or_default()
    }
}
