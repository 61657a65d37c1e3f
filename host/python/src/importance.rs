//! Importance: recorded, read, merged, written.

use std::path::{Path, PathBuf};

use bitquilt::quantize::importance::{ColumnImportance, Coverage, ImportanceMatrix as Matrix};
use bitquilt::quantize::{ImportanceRecorder, is_weight};
use bitquilt::{DType, InferenceSession, TensorDict, checkpoint, file};
use bitquilt_models::blocks::decoder::Options;
use bitquilt_models::importance::record;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::runner::Runner;
use bitquilt_models::text;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::error::{OrRaise, exception};
use crate::numpy;
use crate::session::{Session, warn_of};
use crate::source::{self, Inputs, Opened, Sets, Source};
use crate::tensor;
use crate::work::{self, Progress};

/// How much each column of weights matters.
#[pyclass(frozen, module = "bitquilt._native")]
pub struct ImportanceMatrix {
    matrix: Matrix,
}

/// Name, columns, the rows that were summed if that is known, and how many times the average the largest mean square is.
type Weight = (String, usize, Option<f64>, Option<f64>);

#[pymethods]
impl ImportanceMatrix {
    /// Of each weight, what is known beside its means.
    fn weights(&self) -> Vec<Weight> {
        let weight = |(name, columns): (&str, &ColumnImportance)| {
            let rows = self.matrix.is_counted().then(|| columns.rows());
            (name.to_owned(), columns.len(), rows, columns.spread())
        };
        self.matrix.iter().map(weight).collect()
    }

    /// The mean squares of a weight's columns; of a weight of several matrices those of each, if they have their own.
    fn means<'py>(&self, py: Python<'py>, weight: &str) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(columns) = self.matrix.get(weight) else { return Ok(None) };
        let (means, matrices) = (columns.means(), columns.counts().len());
        let shape = if matrices == 1 { vec![means.len()] } else { vec![matrices, means.len() / matrices] };
        numpy::copied_values(py, &shape, &means).map(Some)
    }

    /// What it was recorded from.
    #[getter]
    fn datasets(&self) -> Vec<String> {
        self.matrix.datasets().to_vec()
    }

    /// The number of pieces that were run, and the rows of one.
    #[getter]
    fn chunks(&self) -> (u64, u64) {
        let chunks = self.matrix.chunks();
        (chunks.count, chunks.size)
    }

    /// Writes it into a file.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        work::run(py, || self.matrix.write(path))?.or_raise()
    }
}

/// Importance that an argument is: what was recorded, files, or arrays by the names of weights.
pub fn matrix_of(given: &Bound<'_, PyAny>) -> PyResult<Matrix> {
    if let Ok(recorded) = given.cast::<ImportanceMatrix>() {
        return Ok(recorded.get().matrix.clone());
    }
    if let Ok(arrays) = given.cast::<PyDict>() {
        let mut means = TensorDict::new();
        for (name, array) in arrays.iter() {
            let name = name.extract::<String>()?;
            let what = format!("the importance of `{}`", bitquilt::text::Brief(&name));
            let array = tensor::of_any(&what, &array, false)?;
            means.insert(name, array);
        }
        return Matrix::of_means(&means).or_raise();
    }
    Matrix::read(files_of(given)?).or_raise()
}

/// The files that an argument names.
pub fn files_of(given: &Bound<'_, PyAny>) -> PyResult<Vec<PathBuf>> {
    if given.is_instance_of::<ImportanceMatrix>() || given.is_instance_of::<PyDict>() {
        return Ok(Vec::new());
    }
    match given.extract::<PathBuf>() {
        Ok(path) => Ok(vec![path]),
        Err(_) => given.extract(),
    }
}

/// How importance is recorded.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Recording<'py> {
    text: Option<PathBuf>,
    inputs: Option<Inputs<'py>>,
    window: usize,
    /// Tokens of the text to take, at most.
    tokens: Option<usize>,
    tokenizer: Option<PathBuf>,
    /// Whether products are exact.
    exact: bool,
    /// What the key/value caches hold: f32, f16, or what suits the products.
    kv: Option<String>,
    /// What is added.
    merge: Vec<Bound<'py, PyAny>>,
    save: Option<PathBuf>,
}

/// The class of errors about arguments.
const CLASS: &str = "ImportanceError";

impl Recording<'_> {
    fn cache(&self) -> PyResult<Option<DType>> {
        match self.kv.as_deref() {
            None => Ok(None),
            Some("f32") => Ok(Some(DType::F32)),
            Some("f16") => Ok(Some(DType::F16)),
            Some(other) => {
                let other = bitquilt::text::Brief(other);
                Err(exception(CLASS, format!("`kv` is `{other}`; f32 or f16 was expected")))
            }
        }
    }

    /// An error before anything is run that could not be written, or would be written over what is read.
    fn check_output(&self, model: Option<&Source<'_>>, sets: Option<&Sets>) -> PyResult<()> {
        let Some(output) = &self.save else { return Ok(()) };
        checkpoint::check_target(output).or_raise()?;
        let mut read = model.map(Source::files).unwrap_or_default();
        read.extend([&self.text, &self.tokenizer].into_iter().flatten().cloned());
        if let Some(sets) = sets {
            read.extend(sets.files()?);
        }
        file::check_written(&[("save", output)], &read).or_raise()
    }
}

/// What was recorded, and names and shapes of the model's weights.
type Recorded = (Matrix, Vec<(String, Vec<usize>)>);

/// A text, and how it is run.
struct OnText {
    text: PathBuf,
    window: usize,
    most: usize,
    options: Options,
}

impl OnText {
    fn record(
        &self,
        model: &DecoderModel,
        name: &str,
        session: &InferenceSession,
        warnings: &mut Vec<String>,
        progress: &mut Progress,
    ) -> PyResult<Recorded> {
        let warn = |warning| warnings.push(warning);
        let tokens = text::tokens(&self.text, Path::new(name), model.vocabulary.as_ref(), warn).or_raise()?;
        warnings.extend(model.beyond("`window`", self.window));
        let mut runner = Runner::load(session, model, &self.options, |_, _| {}).or_raise()?;
        let (of, dataset) = (tokens.len().min(self.most), self.text.display().to_string());
        let mut done = 0;
        let matrix = record(&mut runner, &tokens, self.window, self.most, &dataset, |count| {
            done += count;
            progress.tell("tokens", done, of);
        });
        let weights = model.weights.iter().filter(|(_, it)| is_weight(&it.element(), it.shape()));
        let weights = weights.map(|(name, tensor)| (name.to_owned(), tensor.shape().to_vec()));
        Ok((matrix.or_raise()?, weights.collect()))
    }
}

fn on_sets(
    graph: &bitquilt::Graph,
    sets: &Sets,
    session: &InferenceSession,
    progress: &mut Progress,
) -> PyResult<Recorded> {
    let mut recorder = ImportanceRecorder::new(graph, session).or_raise()?;
    let arrays = sets.read()?;
    for (done, inputs) in arrays.iter().enumerate() {
        recorder.run(inputs).or_raise()?;
        progress.tell("sets of inputs", done + 1, arrays.len());
    }
    let weights = graph.weights().into_iter().map(|(name, tensor)| (name, tensor.shape().to_vec()));
    Ok((recorder.finish(sets.name()).or_raise()?, weights.collect()))
}

/// Records importance, and adds what was recorded before; also answers the weights that have none.
#[pyfunction]
#[pyo3(signature = (model, session, recording, *, progress))]
pub fn importance(
    py: Python<'_>,
    model: Option<Source<'_>>,
    session: &Bound<'_, Session>,
    recording: Recording<'_>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(ImportanceMatrix, Vec<String>)> {
    let sets = recording.inputs.as_ref().map(Inputs::to_sets).transpose()?;
    recording.check_output(model.as_ref(), sets.as_ref())?;
    let mut earlier: Option<Matrix> = None;
    for part in &recording.merge {
        let part = matrix_of(part)?;
        match &mut earlier {
            None => earlier = Some(part),
            Some(earlier) => earlier.merge(&part).or_raise()?,
        }
    }
    let (mut matrix, without) = match model {
        None => (earlier.unwrap_or_default(), Vec::new()),
        Some(model) => {
            let (mut matrix, weights) = recorded(py, &model, session, &recording, sets, progress)?;
            if let Some(earlier) = &earlier {
                matrix.merge(earlier).or_raise()?;
            }
            let shapes = weights.iter().map(|(name, shape)| (name.as_str(), &shape[..]));
            let is_known = |name: &str| weights.iter().any(|(known, _)| known == name);
            let (_, coverage) = matrix.vectors(shapes, is_known).or_raise()?;
            let without = coverage.without();
            warn_of(py, Coverage { unmatched: coverage.unmatched, ..Coverage::default() }.sentences())?;
            (matrix, without)
        }
    };
    if let Some(path) = &recording.save {
        let written = &mut matrix;
        work::run(py, || written.write(path))?.or_raise()?;
    }
    Ok((ImportanceMatrix { matrix }, without))
}

fn recorded(
    py: Python<'_>,
    model: &Source<'_>,
    session: &Bound<'_, Session>,
    recording: &Recording<'_>,
    sets: Option<Sets>,
    progress: Option<Py<PyAny>>,
) -> PyResult<Recorded> {
    let window = source::tokens("window", recording.window, CLASS)?;
    let most = recording.tokens.map(|most| source::tokens("tokens", most, CLASS)).transpose()?;
    let options = Options::new(window, recording.exact, recording.cache()?);
    let on_text =
        recording.text.clone().map(|text| OnText { text, window, most: most.unwrap_or(usize::MAX), options });
    let (name, tokenizer) = (model.name(), recording.tokenizer.clone());
    let (model, session) = (model.to_open()?, &session.get().session);
    let mut warnings = Vec::new();
    let found = work::run_told(py, progress, |progress| {
        match (model.open(tokenizer.as_deref(), session)?, &sets, &on_text) {
            (Opened::Graph(graph), Some(sets), None) => on_sets(&graph, sets, session, progress),
            (Opened::Decoder(model), None, Some(on_text)) => {
                on_text.record(&model, &name, session, &mut warnings, progress)
            }
            (Opened::Graph(_), ..) => Err(exception(
                CLASS,
                format!("{name} is a graph: give `inputs`, which it is run on, and no `text`"),
            )),
            (Opened::Decoder(_), ..) => Err(exception(
                CLASS,
                format!("{name} is a language model: give `text`, which it is run on, and no `inputs`"),
            )),
        }
    })??;
    warn_of(py, warnings)?;
    Ok(found)
}
