//! The native part of the Python package `bitquilt`.
//!
//! | file | what |
//! |---|---|
//! | `array` | arrays of others, read where they lie |
//! | `numpy` | arrays that are made for Python |
//! | `buffer` | memory of tensors, lent to Python |
//! | `tensor`, `types` | tensors and their types |
//! | `session`, `graph`, `attributes`, `model` | the library's classes, thin |
//! | `checkpoint`, `metadata`, `files` | files |
//! | `plan`, `importance`, `source` | which encodings lose least, and how much columns matter; what both are of |
//! | `declared`, `author` | encodings that are declared, encodings and ops that are written in Python |
//! | `work` | long work, without the interpreter's lock and until it is interrupted |
//! | `error` | errors as exceptions |
//!
//! What people call is in `python/bitquilt`; this module is private to it.

mod array;
mod attributes;
mod author;
mod buffer;
mod checkpoint;
mod declared;
mod error;
mod files;
mod graph;
mod importance;
mod metadata;
mod model;
mod numpy;
mod plan;
mod session;
mod source;
mod tensor;
mod types;
mod work;

/// What the package `bitquilt` is made of.
#[pyo3::pymodule(name = "_native")]
mod native {
    #[pymodule_export]
    use crate::author::testing::conformance;
    #[pymodule_export]
    use crate::checkpoint::{load, missing_declarations, save};
    #[pymodule_export]
    use crate::declared::Declaration;
    #[pymodule_export]
    use crate::files::{compare, convert, quantize_file, write_text};
    #[pymodule_export]
    use crate::graph::{Graph, Value};
    #[pymodule_export]
    use crate::importance::{ImportanceMatrix, importance};
    #[pymodule_export]
    use crate::metadata::Metadata;
    #[pymodule_export]
    use crate::model::{Model, State};
    #[pymodule_export]
    use crate::plan::plan;
    #[pymodule_export]
    use crate::session::Session;
    #[pymodule_export]
    use crate::tensor::Tensor;
}
