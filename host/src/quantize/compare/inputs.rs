//! Sets of inputs that graphs are run on: a `.npz` file each, or a directory of files `NAME.npy`.

use std::fs;
use std::path::{Path, PathBuf};

use super::error::CompareError;
use crate::checkpoint::{TensorDict, npy, npz};
use crate::file::FileError;

/// The sets in a directory, in the order of their names: the directory itself if it has files `.npy`, the `.npz` files in it, and the
/// directories in it that have files `.npy`. A `.npz` file is itself.
pub fn list(path: &Path) -> Result<Vec<PathBuf>, CompareError> {
    if is_archive(path) {
        return Ok(vec![path.to_owned()]);
    }
    let mut sets = Vec::new();
    if !arrays_in(path)?.is_empty() {
        sets.push(path.to_owned());
    }
    for entry in entries(path)? {
        if is_archive(&entry) || (entry.is_dir() && !arrays_in(&entry)?.is_empty()) {
            sets.push(entry);
        }
    }
    match sets.is_empty() {
        true => Err(CompareError::NoInputs { path: path.to_owned() }),
        false => Ok(sets),
    }
}

/// The files of all sets in a directory.
pub fn files(path: &Path) -> Result<Vec<PathBuf>, CompareError> {
    let of = |set: PathBuf| if is_archive(&set) { Ok(vec![set]) } else { arrays_in(&set) };
    Ok(list(path)?.into_iter().map(of).collect::<Result<Vec<_>, _>>()?.concat())
}

/// The arrays of a set, by the names of the inputs.
pub fn read(set: &Path) -> Result<TensorDict, CompareError> {
    if is_archive(set) {
        return Ok(npz::read(set)?);
    }
    let read = |path: PathBuf| {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        Ok((name, npy::read(&path)?))
    };
    arrays_in(set)?.into_iter().map(read).collect()
}

fn is_archive(path: &Path) -> bool {
    path.is_file() && has_extension(path, "npz")
}

fn arrays_in(directory: &Path) -> Result<Vec<PathBuf>, CompareError> {
    let is_array = |path: &PathBuf| path.is_file() && has_extension(path, "npy");
    Ok(entries(directory)?.into_iter().filter(is_array).collect())
}

fn has_extension(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|found| found.eq_ignore_ascii_case(extension))
}

/// The paths in a directory, in order.
fn entries(directory: &Path) -> Result<Vec<PathBuf>, CompareError> {
    let failed = |error| FileError::Io { action: "read", path: directory.to_owned(), error };
    let paths = fs::read_dir(directory).map_err(failed)?.map(|entry| entry.map(|entry| entry.path()));
    let mut paths = paths.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    paths.sort();
    Ok(paths)
}
