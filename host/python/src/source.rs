//! What plans and importance are of: a graph, or a language model, and what it is run on.

use std::path::{Path, PathBuf};

use bitquilt::checkpoint::Checkpoint;
use bitquilt::quantize::compare::inputs;
use bitquilt::{InferenceSession, TensorDict};
use bitquilt_models::model::DecoderModel;
use pyo3::prelude::*;

use crate::error::{OrRaise, exception};
use crate::graph::Graph;
use crate::tensor;

/// A graph that was built, or a file.
#[derive(FromPyObject)]
pub enum Source<'py> {
    Graph(Bound<'py, Graph>),
    File(PathBuf),
}

/// A graph, or a language model.
pub enum Opened {
    Graph(Box<bitquilt::Graph>),
    Decoder(Box<DecoderModel>),
}

/// Sets of inputs of a graph.
#[derive(FromPyObject)]
pub enum Inputs<'py> {
    /// A directory, or a `.npz` file.
    Directory(PathBuf),
    /// Arrays by the names of the inputs.
    Arrays(Vec<Vec<(String, Bound<'py, PyAny>)>>),
}

/// The same, without the interpreter.
pub enum Sets {
    Directory(PathBuf),
    Arrays(Vec<TensorDict>),
}

impl Source<'_> {
    /// What messages call it.
    pub fn name(&self) -> String {
        match self {
            Self::Graph(_) => "the graph".to_owned(),
            Self::File(path) => path.display().to_string(),
        }
    }

    /// The graph that was built, which others go on building, or the file's path.
    pub fn to_open(&self) -> PyResult<ToOpen> {
        match self {
            Self::Graph(graph) => {
                let copy = graph.get().lock()?.with_weights(&TensorDict::new()).or_raise()?;
                Ok(ToOpen::Graph(Box::new(copy)))
            }
            Self::File(path) => Ok(ToOpen::File(path.clone())),
        }
    }

    /// The files that it is read from.
    pub fn files(&self) -> Vec<PathBuf> {
        let Self::File(path) = self else { return Vec::new() };
        // A model may be in several files.
        let file = Checkpoint::open(path).ok();
        let shards = file.iter().flat_map(|file| file.files().map(Path::to_owned));
        shards.chain([path.clone()]).collect()
    }
}

/// What is to be opened, without the interpreter.
pub enum ToOpen {
    Graph(Box<bitquilt::Graph>),
    File(PathBuf),
}

impl ToOpen {
    /// The graph or the model; what is no checkpoint may be a model in another format.
    pub fn open(self, tokenizer: Option<&Path>, session: &InferenceSession) -> PyResult<Opened> {
        let registry = session.registry();
        match self {
            Self::Graph(graph) => Ok(Opened::Graph(graph)),
            Self::File(path) if Checkpoint::open(&path).is_ok_and(|file| bitquilt::Graph::is_in(&file)) => {
                bitquilt::Graph::load(&path, registry).or_raise().map(|graph| Opened::Graph(Box::new(graph)))
            }
            Self::File(path) => {
                let model = DecoderModel::open(&path, tokenizer, registry).or_raise()?;
                Ok(Opened::Decoder(Box::new(model)))
            }
        }
    }
}

impl Inputs<'_> {
    /// The arrays are copied, unless nobody may write to them.
    pub fn to_sets(&self) -> PyResult<Sets> {
        let sets = match self {
            Self::Directory(path) => return Ok(Sets::Directory(path.clone())),
            Self::Arrays(sets) => sets,
        };
        let array = |(name, array): &(String, Bound<'_, PyAny>)| {
            let what = format!("the input `{}`", bitquilt::text::Brief(name));
            Ok((name.clone(), tensor::of_any(&what, array, false)?))
        };
        let set = |set: &Vec<_>| set.iter().map(array).collect::<PyResult<TensorDict>>();
        sets.iter().map(set).collect::<PyResult<_>>().map(Sets::Arrays)
    }
}

impl Sets {
    /// What they are called.
    pub fn name(&self) -> String {
        match self {
            Self::Directory(path) => path.display().to_string(),
            Self::Arrays(_) => "arrays".to_owned(),
        }
    }

    /// The files that they are read from.
    pub fn files(&self) -> PyResult<Vec<PathBuf>> {
        match self {
            Self::Directory(path) => inputs::files(path).or_raise(),
            Self::Arrays(_) => Ok(Vec::new()),
        }
    }

    /// All of them.
    pub fn read(&self) -> PyResult<Vec<TensorDict>> {
        match self {
            Self::Directory(path) => {
                let sets = inputs::list(path).or_raise()?;
                sets.iter().map(|set| inputs::read(set).or_raise()).collect()
            }
            Self::Arrays(sets) => Ok(sets.clone()),
        }
    }
}

/// A number of tokens that is neither too small nor too large.
pub fn tokens(name: &str, count: usize, class: &str) -> PyResult<usize> {
    match count {
        2..=1_048_576 => Ok(count),
        _ => Err(exception(class, format!("`{name}` is {count}; 2 to 1048576 tokens were expected"))),
    }
}
