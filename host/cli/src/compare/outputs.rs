//! What graphs give for the same inputs.

use std::path::Path;

use bitquilt::quantize::compare::{NamedModel, OutputComparison, inputs};
use bitquilt::{Graph, InferenceSession, Model, TensorDict};
use miette::{IntoDiagnostic, miette};

use super::report::OutputLoss;

/// The loss of the graph at `other` to the one at `reference`, on all sets of inputs.
pub fn with_other(
    sets: &Path,
    reference: &Path,
    other: &Path,
    session: &InferenceSession,
) -> miette::Result<OutputLoss> {
    let open = |path: &Path| {
        let graph = Graph::load(path, session.registry()).into_diagnostic()?;
        load(&graph, &path.display().to_string(), session)
    };
    let models = [open(reference)?, open(other)?];
    let names = [reference, other].map(|path| path.display().to_string());
    let named = |index: usize| NamedModel { name: &names[index], model: &models[index] };
    compare(sets, named(0), named(1))
}

/// The losses of a graph with its weights in encodings.
pub fn in_encodings(
    sets: &Path,
    reference: &Path,
    encodings: &[String],
    encode: impl Fn(&String) -> miette::Result<TensorDict>,
    session: &InferenceSession,
) -> miette::Result<Vec<OutputLoss>> {
    let graph = Graph::load(reference, session.registry()).into_diagnostic()?;
    let name = reference.display().to_string();
    let model = load(&graph, &name, session)?;
    let loss = |encoding: &String| {
        let encoded = graph.with_weights(&encode(encoding)?).into_diagnostic()?;
        let encoded_name = format!("{name} in {encoding}");
        let other = load(&encoded, &encoded_name, session)?;
        let named = NamedModel { name: &encoded_name, model: &other };
        compare(sets, NamedModel { name: &name, model: &model }, named)
    };
    encodings.iter().map(loss).collect()
}

fn load(graph: &Graph, name: &str, session: &InferenceSession) -> miette::Result<Model> {
    session.load(graph).map_err(|error| miette!("{name}: {error}"))
}

fn compare(sets: &Path, reference: NamedModel<'_>, other: NamedModel<'_>) -> miette::Result<OutputLoss> {
    let mut comparison = OutputComparison::new(reference, other).into_diagnostic()?;
    for set in inputs::list(sets).into_diagnostic()? {
        let arrays = inputs::read(&set).into_diagnostic()?;
        comparison.add(&set, &arrays).into_diagnostic()?;
    }
    let outputs = comparison.outputs().map(|(name, difference)| (name.to_owned(), *difference)).collect();
    Ok(OutputLoss { outputs, total: comparison.total() })
}
