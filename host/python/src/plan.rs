//! The search of the mix of encodings that loses least in a size.

use std::path::{Path, PathBuf};

use bitquilt::quantize::Recipe;
use bitquilt::quantize::allocation::{Allocation, Allocator, Origin, Stage, Subject, TargetSize};
use bitquilt::quantize::importance::ImportanceMatrix;
use bitquilt::{InferenceSession, TensorDict, file};
use bitquilt_models::subject::subject;
use bitquilt_models::text::{RANDOM, measured_tokens};
use pyo3::prelude::*;

use crate::error::{OrRaise, exception};
use crate::files::write_text;
use crate::importance;
use crate::session::{Session, warn_of};
use crate::source::{self, Inputs, Opened, Sets, Source};
use crate::work::{self, Progress};

/// What a plan is to be.
#[derive(FromPyObject)]
#[pyo3(from_item_all)]
pub struct Wanted<'py> {
    /// In bytes.
    target_size: Option<u64>,
    /// In bits a value.
    target_bpw: Option<f64>,
    text: Option<PathBuf>,
    inputs: Option<Inputs<'py>>,
    tokens: usize,
    window: usize,
    tokenizer: Option<PathBuf>,
    encodings: Vec<String>,
    recipe: Option<PathBuf>,
    quick: bool,
    /// Whether figures are kept in a directory, and which if it is not the user's.
    keep: bool,
    cache: Option<PathBuf>,
    save: Option<PathBuf>,
    html: Option<PathBuf>,
    importance: Option<Bound<'py, PyAny>>,
}

/// The class of errors about arguments.
const CLASS: &str = "PlanError";

/// A search that is ready to begin, without the interpreter.
struct Search {
    target: TargetSize,
    text: Option<PathBuf>,
    sets: Option<Sets>,
    tokens: usize,
    window: usize,
    tokenizer: Option<PathBuf>,
    encodings: Vec<String>,
    fixed: Option<Recipe>,
    importance: Option<ImportanceMatrix>,
    cache: Option<PathBuf>,
    quick: bool,
}

impl Wanted<'_> {
    fn target(&self) -> PyResult<TargetSize> {
        match (self.target_size, self.target_bpw) {
            (Some(0), None) => {
                Err(exception(CLASS, "`target_size` is 0 bytes; a number above 0 was expected"))
            }
            (Some(bytes), None) => Ok(TargetSize::Bytes(bytes)),
            (None, Some(bits)) if bits > 0.0 && bits <= 32.0 => Ok(TargetSize::Bits(bits)),
            (None, Some(bits)) => Err(exception(
                CLASS,
                format!(
                    "`target_bpw` is {bits}; a number of bits above 0 and up to 32 was expected, such as 4.5"
                ),
            )),
            (Some(_), Some(_)) | (None, None) => {
                Err(exception(CLASS, "give `target_size`, in bytes, or `target_bpw`, in bits a value"))
            }
        }
    }

    /// Whether what is to be written can be, and takes the place of nothing that is read.
    fn check_outputs(&self, model: &Source<'_>, sets: Option<&Sets>) -> PyResult<()> {
        let written = [("save", &self.save), ("html", &self.html)];
        let written: Vec<(&str, &Path)> =
            written.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?))).collect();
        if written.is_empty() {
            return Ok(());
        }
        let mut read = model.files();
        read.extend([&self.text, &self.tokenizer, &self.recipe].into_iter().flatten().cloned());
        if let Some(sets) = sets {
            read.extend(sets.files()?);
        }
        if let Some(importance) = &self.importance {
            read.extend(importance::files_of(importance)?);
        }
        file::check_written(&written, &read).or_raise()
    }

    fn search(&self, sets: Option<Sets>) -> PyResult<Search> {
        let own = || Some(file::cache_directory()?.join("plans"));
        let cache = if self.keep { self.cache.clone().or_else(own) } else { None };
        Ok(Search {
            target: self.target()?,
            text: self.text.clone(),
            sets,
            tokens: source::tokens("tokens", self.tokens, CLASS)?,
            window: source::tokens("window", self.window, CLASS)?,
            tokenizer: self.tokenizer.clone(),
            encodings: self.encodings.clone(),
            fixed: self.recipe.as_deref().map(Recipe::read).transpose().or_raise()?,
            importance: self.importance.as_ref().map(importance::matrix_of).transpose()?,
            cache,
            quick: self.quick,
        })
    }
}

impl Search {
    /// Searches for a graph or a model that is called `name`.
    fn run(
        &self,
        name: String,
        model: Opened,
        session: &InferenceSession,
        warnings: &mut Vec<String>,
        progress: &mut Progress,
    ) -> PyResult<(Allocation, Origin)> {
        match (model, &self.sets) {
            (Opened::Graph(graph), Some(sets)) if self.text.is_none() => {
                let arrays = sets.read()?;
                let origin = Origin { model: name.clone(), source: sets.name(), count: arrays.len() };
                let subject = Subject::of_graph(name, &graph, arrays);
                Ok((self.allocate(&subject, session, warnings, progress)?, origin))
            }
            (Opened::Graph(_), _) => Err(exception(
                CLASS,
                format!("{name} is a graph: give `inputs`, to measure its outputs on, and no `text`"),
            )),
            (Opened::Decoder(_), Some(_)) => {
                Err(exception(CLASS, format!("{name} is no graph, which `inputs` are for: give `text`")))
            }
            (Opened::Decoder(model), None) => {
                let (window, most, text) = (self.window, self.tokens, self.text.as_deref());
                let warn = |warning| warnings.push(warning);
                let tokens =
                    measured_tokens(&model, Path::new(&name), text, window, most, warn).or_raise()?;
                warnings.extend(model.beyond("`window`", window.min(tokens.len())));
                let source = text.map_or_else(|| RANDOM.to_owned(), |text| text.display().to_string());
                let origin = Origin { model: name.clone(), source, count: tokens.len() };
                let subject = subject(name, &model, session, &tokens, window, most).or_raise()?;
                Ok((self.allocate(&subject, session, warnings, progress)?, origin))
            }
        }
    }

    fn allocate(
        &self,
        subject: &Subject<'_>,
        session: &InferenceSession,
        warnings: &mut Vec<String>,
        progress: &mut Progress,
    ) -> PyResult<Allocation> {
        let fixed = self.fixed.as_ref().map(|recipe| subject.fixed_by(recipe, session.registry()));
        let importance = match &self.importance {
            None => TensorDict::new(),
            Some(matrix) => {
                let (vectors, coverage) = subject.importance(matrix).or_raise()?;
                warnings.extend(coverage.sentences());
                vectors
            }
        };
        let allocator = Allocator {
            session,
            subject,
            target: self.target,
            encodings: self.encodings.clone(),
            fixed: fixed.transpose().or_raise()?.unwrap_or_default(),
            importance,
            cache: self.cache.clone(),
            quick: self.quick,
        };
        allocator.search(&mut |stage, done, of| progress.tell(name_of(stage), done, of)).or_raise()
    }
}

fn name_of(stage: Stage) -> &'static str {
    match stage {
        Stage::Errors => "errors",
        Stage::Sensitivities => "sensitivities",
        Stage::Candidates => "candidates",
        Stage::Refinement => "refinement",
    }
}

/// Searches. What was found is answered as the JSON that `bitquilt plan` prints, and as a recipe.
#[pyfunction]
#[pyo3(signature = (model, session, wanted, *, progress))]
pub fn plan(
    py: Python<'_>,
    model: Source<'_>,
    session: &Bound<'_, Session>,
    wanted: Wanted<'_>,
    progress: Option<Py<PyAny>>,
) -> PyResult<(String, String)> {
    let sets = wanted.inputs.as_ref().map(Inputs::to_sets).transpose()?;
    wanted.check_outputs(&model, sets.as_ref())?;
    let search = wanted.search(sets)?;
    let (name, model, session) = (model.name(), model.to_open()?, &session.get().session);
    let mut warnings = Vec::new();
    let found = work::run_told(py, progress, |progress| {
        let model = model.open(search.tokenizer.as_deref(), session)?;
        search.run(name, model, session, &mut warnings, progress)
    })?;
    let (allocation, origin) = found?;
    warn_of(py, warnings)?;
    let (recipe, json) = (allocation.recipe(), allocation.to_json(&origin));
    if let Some(path) = &wanted.save {
        write_text(py, path.clone(), &recipe)?;
    }
    if let Some(path) = &wanted.html {
        write_text(py, path.clone(), &bitquilt_page::plan(&json))?;
    }
    Ok((json.to_string(), recipe))
}
