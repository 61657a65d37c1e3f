//! Tensors by name, from and to files.

use std::path::PathBuf;

use bitquilt::TensorDict;
use bitquilt::checkpoint::{self, Checkpoint};
use pyo3::prelude::*;

use crate::error::OrRaise;
use crate::metadata::Metadata;
use crate::session::Session;
use crate::tensor::Tensor;
use crate::work;

/// All tensors of a file, mapped, and its metadata.
#[pyfunction]
pub fn load(
    py: Python<'_>,
    path: PathBuf,
    session: &Bound<'_, Session>,
) -> PyResult<(Vec<(String, Tensor)>, Metadata)> {
    let registry = session.get().registry();
    let mut dict = work::run(py, || checkpoint::load(path, registry))?.or_raise()?;
    let metadata = Metadata::of(std::mem::take(dict.metadata_mut()));
    Ok((dict.into_iter().map(|(name, tensor)| (name, Tensor::of(tensor, registry))).collect(), metadata))
}

/// Writes tensors and metadata into a file.
#[pyfunction]
pub fn save(
    py: Python<'_>,
    tensors: Vec<(String, Bound<'_, Tensor>)>,
    metadata: &Bound<'_, Metadata>,
    path: PathBuf,
) -> PyResult<()> {
    let tensors = tensors.into_iter().map(|(name, tensor)| (name, tensor.get().tensor.clone()));
    let mut dict: TensorDict = tensors.collect();
    dict.metadata_mut().clone_from(&metadata.get().lock());
    work::run(py, || checkpoint::save(&dict, path))?.or_raise()
}

/// The encodings that files declare and a session does not have. Files that cannot be opened are left out: who reads them says why.
#[pyfunction]
pub fn missing_declarations(paths: Vec<PathBuf>, session: &Bound<'_, Session>) -> PyResult<Vec<String>> {
    let mut missing = Vec::new();
    for path in paths {
        let Ok(file) = Checkpoint::open(path) else { continue };
        let declared =
            file.tensors().filter_map(|(_, stored)| stored.encoding()).filter(|spec| spec.layout.is_some());
        for spec in declared {
            if session.get().registry().encoding(&spec.name).is_none() && !missing.contains(&spec.name) {
                missing.push(spec.name.clone());
            }
        }
    }
    Ok(missing)
}
