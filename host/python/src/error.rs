//! Errors as exceptions: a class of `bitquilt._errors` for each kind, with the library's own sentence.

use std::fmt::Display;

use bitquilt::checkpoint::CheckpointError;
use bitquilt::declared::DeclarationError;
use bitquilt::file::FileError;
use bitquilt::quantize::allocation::AllocationError;
use bitquilt::quantize::compare::CompareError;
use bitquilt::quantize::importance::ImportanceError;
use bitquilt::quantize::{PatternError, RecipeError, RewriteError};
use bitquilt::registry::UnknownEncoding;
use bitquilt::text::Passage;
use bitquilt::{Error, GraphError, LoadError, QuantizeError, RunError, SessionError, TensorError};
use bitquilt_models::model::ModelError;
use bitquilt_models::perplexity::ScoreError;
use bitquilt_models::runner::FeedError;
use bitquilt_models::text::TextError;
use pyo3::exceptions::PyRuntimeError;
use pyo3::prelude::*;
use pyo3::types::PyType;

use crate::author::raised;

/// An error of the library that has a class in Python.
pub trait Kind: Display {
    /// The class's name in `bitquilt._errors`: that of the innermost error whose sentence this one's is.
    fn class(&self) -> &'static str;
}

/// Errors that are always of one class.
macro_rules! kinds {
    ($($error:ty => $class:literal),* $(,)?) => {
        $(impl Kind for $error { fn class(&self) -> &'static str { $class } })*
    };
}
kinds!(
    DeclarationError => "DeclarationError",
    FileError => "FileError",
    PatternError => "RecipeError",
    SessionError => "SessionError",
    TensorError => "TensorError",
    UnknownEncoding => "UnknownEncodingError",
);

impl Kind for QuantizeError {
    fn class(&self) -> &'static str {
        match self {
            Self::UnknownEncoding(error) => error.class(),
            Self::Tensor(error) => error.class(),
            _ => "QuantizeError",
        }
    }
}

impl Kind for CheckpointError {
    fn class(&self) -> &'static str {
        match self {
            Self::File(error) => error.class(),
            _ => "CheckpointError",
        }
    }
}

impl Kind for GraphError {
    fn class(&self) -> &'static str {
        match self {
            Self::UnknownEncoding(error) => error.class(),
            Self::Quantize(error) => error.class(),
            _ => "GraphError",
        }
    }
}

impl Kind for LoadError {
    fn class(&self) -> &'static str {
        match self {
            Self::UnknownEncoding(error) => error.class(),
            Self::Encoding(error) => error.class(),
            _ => "LoadError",
        }
    }
}

impl Kind for RunError {
    fn class(&self) -> &'static str {
        match self {
            Self::Tensor(error) => error.class(),
            _ => "RunError",
        }
    }
}

impl Kind for RecipeError {
    fn class(&self) -> &'static str {
        match self {
            Self::UnknownEncoding(error) => error.class(),
            _ => "RecipeError",
        }
    }
}

impl Kind for RewriteError {
    fn class(&self) -> &'static str {
        match self {
            Self::File(error) => error.class(),
            Self::Weight { .. } => "QuantizeError",
            _ => "RewriteError",
        }
    }
}

impl Kind for ImportanceError {
    fn class(&self) -> &'static str {
        match self {
            Self::Checkpoint(error) => error.class(),
            _ => "ImportanceError",
        }
    }
}

impl Kind for AllocationError {
    fn class(&self) -> &'static str {
        match self {
            Self::UnknownEncoding(error) => error.class(),
            Self::Weight { .. } => "QuantizeError",
            Self::File(error) => error.class(),
            Self::Graph(error) => error.class(),
            Self::Run(error) => error.class(),
            _ => "PlanError",
        }
    }
}

impl Kind for ModelError {
    fn class(&self) -> &'static str {
        match self {
            Self::File(error) => error.class(),
            Self::Contents { .. } => "ModelError",
        }
    }
}

impl Kind for TextError {
    fn class(&self) -> &'static str {
        match self {
            Self::File(error) => error.class(),
            _ => "ModelError",
        }
    }
}

impl Kind for ScoreError {
    fn class(&self) -> &'static str {
        match self {
            Self::Feed(FeedError::Run(error)) => error.class(),
            _ => "ModelError",
        }
    }
}

impl Kind for CompareError {
    fn class(&self) -> &'static str {
        match self {
            Self::Checkpoint(error) => error.class(),
            Self::File(error) => error.class(),
            Self::UnknownEncoding(error) => error.class(),
            _ => "CompareError",
        }
    }
}

impl Kind for Error {
    fn class(&self) -> &'static str {
        match self {
            Self::Tensor(error) => error.class(),
            Self::UnknownEncoding(error) => error.class(),
            Self::Quantize(error) => error.class(),
            Self::File(error) => error.class(),
            Self::Checkpoint(error) => error.class(),
            Self::Graph(error) => error.class(),
            Self::Session(error) => error.class(),
            Self::Load(error) => error.class(),
            Self::Run(error) => error.class(),
            _ => "Error",
        }
    }
}

/// Results of the library, on their way to Python.
pub trait OrRaise<T> {
    /// The value, or the exception for the error.
    ///
    /// What an encoding or an op that is written in Python has raised comes back itself, and the sentence is a note of it.
    fn or_raise(self) -> PyResult<T>;
}

impl<T, E: Kind> OrRaise<T> for Result<T, E> {
    fn or_raise(self) -> PyResult<T> {
        self.map_err(|error| {
            let sentence = Passage(&error.to_string()).to_string();
            Python::attach(|py| {
                raised::take(py, &sentence).unwrap_or_else(|| exception(error.class(), sentence))
            })
        })
    }
}

/// An exception of a class of `bitquilt._errors`. What the sentence quotes is without control characters.
pub fn exception(class: &str, sentence: impl Into<String>) -> PyErr {
    let sentence = Passage(&sentence.into()).to_string();
    Python::attach(|py| match self::class(py, class) {
        Ok(class) => PyErr::from_type(class, sentence),
        // The package is gone already, as it is while the interpreter ends.
        Err(_) => PyRuntimeError::new_err(sentence),
    })
}

/// The exception for an argument that is no tensor, or not one that is wanted.
pub fn tensor_error(sentence: impl Into<String>) -> PyErr {
    exception("TensorError", sentence)
}

/// A class of `bitquilt._errors`.
pub fn class<'py>(py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyType>> {
    Ok(py.import("bitquilt._errors")?.getattr(name)?.cast_into()?)
}
