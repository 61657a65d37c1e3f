//! What was measured before, so that an interrupted search goes on where it was.
//!
//! A file has a line for each figure: the hash of all that it follows from, and the figure. Lines are only appended; one that is not whole,
//! because whoever wrote it was killed, is none.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_128;

use super::error::AllocationError;
use crate::file::FileError;
use crate::tensor::Tensor;

/// The first line of a cache.
const HEADER: &str = "bitquilt figures 1";
/// The largest cache that is read, in bytes: some hundred thousand figures.
const LARGEST: u64 = 32 << 20;

/// Figures by the hash of what they follow from.
#[derive(Default)]
pub(super) struct Cache {
    figures: HashMap<u128, f64>,
    file: Option<(PathBuf, File)>,
}

/// The hash of a tensor: its type and its bytes.
pub(super) fn hash_of(tensor: &Tensor) -> u128 {
    let kind = xxh3_128(tensor.tensor_type().to_string().as_bytes());
    let bytes = xxh3_128(tensor.bytes());
    tensor.forget_pages();
    key(format_args!("{kind:x} {bytes:x}"))
}

/// The hash of what a figure follows from.
pub(super) fn key(text: impl Display) -> u128 {
    xxh3_128(text.to_string().as_bytes())
}

impl Cache {
    /// The one in a file of a directory, both of which are made if they are not there; in memory alone if there is no directory.
    pub(super) fn open(directory: Option<&Path>, name: u128) -> Result<Self, AllocationError> {
        let Some(directory) = directory else { return Ok(Self::default()) };
        let path = directory.join(format!("{name:032x}.figures"));
        let failed = |action: &'static str| {
            let path = path.clone();
            move |error| FileError::Io { action, path, error }
        };
        fs::create_dir_all(directory).map_err(failed("create"))?;
        let mut file =
            File::options().read(true).append(true).create(true).open(&path).map_err(failed("open"))?;
        let wrong =
            |problem: &str| AllocationError::Cache { path: path.clone(), problem: problem.to_owned() };
        if !file.metadata().map_err(failed("read"))?.is_file() {
            return Err(wrong("it is no regular file"));
        }
        let mut text = String::new();
        (&file).take(LARGEST + 1).read_to_string(&mut text).map_err(failed("read"))?;
        if text.len() as u64 > LARGEST {
            return Err(wrong("it is larger than 32 MiB"));
        }
        if text.is_empty() {
            writeln!(file, "{HEADER}").map_err(failed("write"))?;
        } else if text.lines().next() != Some(HEADER) {
            return Err(wrong("it begins otherwise"));
        } else if !text.ends_with('\n') {
            // What is behind the last line's end is not whole; nor is the line that this makes of it.
            writeln!(file, "!").map_err(failed("write"))?;
        }
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let figures = whole.lines().skip(1).filter_map(|line| {
            let (key, figure) = line.split_once(' ')?;
            let figure: f64 = figure.parse().ok()?;
            Some((u128::from_str_radix(key, 16).ok()?, figure))
                .filter(|_| figure.is_finite() && key.len() == 32)
        });
        Ok(Self { figures: figures.collect(), file: Some((path, file)) })
    }

    /// The figure of a key: the one that is known, or the one that `measure` finds.
    pub(super) fn get(
        &mut self,
        key: u128,
        measure: impl FnOnce() -> Result<f64, AllocationError>,
    ) -> Result<f64, AllocationError> {
        if let Some(figure) = self.figures.get(&key) {
            return Ok(*figure);
        }
        let figure = measure()?;
        self.insert(key, figure)?;
        Ok(figure)
    }

    /// The figure of a key, if it is known.
    pub(super) fn known(&self, key: u128) -> Option<f64> {
        self.figures.get(&key).copied()
    }

    /// Adds a figure.
    pub(super) fn insert(&mut self, key: u128, figure: f64) -> Result<(), AllocationError> {
        self.figures.insert(key, figure);
        if let Some((path, file)) = self.file.as_mut().filter(|_| figure.is_finite()) {
            // A line in one write, which is appended whole beside another's.
            let line = format!("{key:032x} {figure:e}\n");
            let failed = |error| FileError::Io { action: "write", path: path.clone(), error };
            file.write_all(line.as_bytes()).map_err(failed)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_kept_and_torn_lines_are_none() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("made").join(format!("{:032x}.figures", 9));
        let figures = [0.1, 1e-300, 12345.678, 2f64.powi(-40) / 3.0];
        let open = || Cache::open(Some(&directory.path().join("made")), 9);
        let mut cache = open().unwrap();
        for (index, figure) in figures.iter().enumerate() {
            assert_eq!(cache.get(key(index), || Ok(*figure)).unwrap(), *figure);
        }
        cache.insert(key("infinite"), f64::INFINITY).unwrap();
        let known = |cache: &Cache| (0..4).filter_map(|index| cache.known(key(index))).collect::<Vec<_>>();
        assert_eq!(known(&open().unwrap()), figures);
        assert_eq!(open().unwrap().known(key("infinite")), None);
        // Whoever wrote the last line was killed.
        let text = fs::read_to_string(&path).unwrap();
        for cut in 1..20 {
            fs::write(&path, &text[..text.len() - cut]).unwrap();
            assert_eq!(known(&open().unwrap()), figures[..3], "{cut} bytes cut");
            let mut cache = open().unwrap();
            cache.insert(key("after"), 4.0).unwrap();
            assert_eq!((known(&open().unwrap()).len(), open().unwrap().known(key("after"))), (3, Some(4.0)));
        }
        fs::write(&path, "bitquilt figures 0\n").unwrap();
        let error = open().map(drop).unwrap_err().to_string();
        assert!(error.ends_with("is no cache of this version (it begins otherwise); delete it, or choose another directory for caches"), "{error}");
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(open().is_err());
    }
}
