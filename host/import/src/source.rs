//! The files of a model, and the tensors in them.

use std::fs;
use std::path::{Path, PathBuf};

use bitquilt::checkpoint::{Checkpoint, StoredTensor};
use bitquilt::declared::ScaleDType;
use bitquilt::file::FileError;
use bitquilt::text::Brief;
use bitquilt::{DType, Graph, Tensor, TensorType};

use crate::config::Config;
use crate::error::ImportError;
use crate::numbers::{Floats, Words, scale_dtype};
use crate::problem::Problem;

/// The index of a model in several files.
const INDEX: &str = "model.safetensors.index.json";

/// The most integers that are read at once: indices of columns are the most there are.
const MAX_INTEGERS: usize = 1 << 26;

/// A model that is read.
pub(crate) struct Source {
    pub(crate) path: PathBuf,
    pub(crate) file: Checkpoint,
    pub(crate) config: Config,
}

impl Source {
    /// Opens a file, or the checkpoint of a directory, and the configuration beside it.
    pub(crate) fn open(path: &Path) -> Result<Self, ImportError> {
        let is_directory = path.is_dir();
        let file = Checkpoint::open(if is_directory { checkpoint_in(path)? } else { path.to_owned() })?;
        if Graph::is_in(&file) {
            return Err(ImportError::Graph { path: path.to_owned() });
        }
        let directory = if is_directory { Some(path) } else { path.parent() };
        let config = directory.map(Config::beside).transpose()?.unwrap_or_default();
        Ok(Self { path: path.to_owned(), file, config })
    }

    /// A tensor as it lies in the files, if there is one of the name.
    pub(crate) fn stored(&self, name: &str) -> Option<&StoredTensor> {
        self.file.require(name).ok()
    }

    /// The error of a tensor.
    pub(crate) fn wrong(&self, tensor: &str, problem: Problem) -> ImportError {
        let path = self.stored(tensor).map_or(self.file.path(), |stored| self.file.file_of(stored));
        ImportError::Layer { path: path.to_owned(), tensor: tensor.to_owned(), problem: Box::new(problem) }
    }

    /// The shape of a tensor that a layer must have. `of` is the tensor that the layer is known by.
    pub(crate) fn required(
        &self,
        of: &str,
        name: &str,
        method: &'static str,
    ) -> Result<&StoredTensor, ImportError> {
        self.stored(name).ok_or_else(|| self.wrong(of, Problem::Missing { method, part: name.to_owned() }))
    }

    /// The error of a tensor whose type is not `expected`.
    pub(crate) fn other_type(&self, name: &str, expected: impl Into<String>) -> ImportError {
        let found = self.stored(name).map_or_else(String::new, |stored| match stored.dtype() {
            Some(dtype) => TensorType::dense(dtype, stored.shape().iter().copied()).to_string(),
            None => format!("{} {:?}", Brief(&stored.element().to_string()), stored.shape()),
        });
        self.wrong(name, Problem::Type { found, expected: expected.into() })
    }

    /// A tensor of one of these dtypes and of a shape.
    pub(crate) fn tensor(
        &self,
        name: &str,
        dtypes: &[DType],
        shape: &[usize],
    ) -> Result<Tensor, ImportError> {
        let fits = self.stored(name).is_some_and(|stored| {
            stored.shape() == shape && stored.dtype().is_some_and(|dtype| dtypes.contains(&dtype))
        });
        if !fits {
            let words: Vec<String> = dtypes.iter().map(ToString::to_string).collect();
            return Err(self.other_type(name, format!("{} {shape:?}", words.join(" or "))));
        }
        Ok(self.file.as_stored(name)?)
    }

    /// The words of a tensor of 32-bit integers of a shape.
    pub(crate) fn words(&self, name: &str, shape: &[usize]) -> Result<Words, ImportError> {
        self.tensor(name, &[DType::I32, DType::U32], shape).map(Words::new)
    }

    /// The floats of a tensor of f32, f16 or bf16 values of a shape.
    pub(crate) fn floats(&self, name: &str, shape: &[usize]) -> Result<Floats, ImportError> {
        let tensor = self.tensor(name, &[DType::F16, DType::BF16, DType::F32], shape)?;
        let dtype = tensor.dtype().and_then(scale_dtype).unwrap_or(ScaleDType::F32);
        Ok(Floats::new(tensor, dtype))
    }

    /// All values of a small tensor of integers of any length, or of `len`.
    pub(crate) fn integers(&self, name: &str, len: Option<usize>) -> Result<Vec<i64>, ImportError> {
        let expected = || match len {
            Some(len) => format!("i32 or i64 [{len}]"),
            None => "integers".to_owned(),
        };
        let Some(stored) = self.stored(name) else { return Err(self.other_type(name, expected())) };
        let count: usize = stored.shape().iter().product();
        if len.is_some_and(|len| stored.shape() != [len]) || count > MAX_INTEGERS {
            return Err(self.other_type(name, expected()));
        }
        let tensor = self.file.as_stored(name)?;
        match tensor.dtype() {
            Some(DType::I32) => {
                Ok(tensor.values::<i32>().unwrap_or_default().iter().map(|it| (*it).into()).collect())
            }
            Some(DType::I64) => Ok(tensor.values::<i64>().unwrap_or_default().to_vec()),
            Some(DType::U8) => {
                Ok(tensor.values::<u8>().unwrap_or_default().iter().map(|it| (*it).into()).collect())
            }
            _ => Err(self.other_type(name, expected())),
        }
    }

    /// The two dimensions of a matrix, neither of them 0.
    pub(crate) fn matrix(&self, name: &str, stored: &StoredTensor) -> Result<[usize; 2], ImportError> {
        match *stored.shape() {
            [rows, columns] if rows > 0 && columns > 0 => Ok([rows, columns]),
            _ => Err(self.other_type(name, "a matrix with values")),
        }
    }
}

/// The file by which the checkpoint of a directory is opened: an index, one of several shards, or the only one.
fn checkpoint_in(directory: &Path) -> Result<PathBuf, ImportError> {
    let index = directory.join(INDEX);
    if index.is_file() {
        return Ok(index);
    }
    let failed = |error| FileError::Io { action: "read", path: directory.to_owned(), error };
    let mut names = Vec::new();
    for entry in fs::read_dir(directory).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|extension| extension == "safetensors") {
            names.push(path);
        }
    }
    names.sort();
    let Some(first) = names.first() else {
        return Err(ImportError::NoCheckpoint { path: directory.to_owned() });
    };
    // Shards that are named as such open together, whichever is named.
    let together =
        names.len() == 1 || Checkpoint::open(first).is_ok_and(|file| file.files().len() == names.len());
    if together {
        return Ok(first.clone());
    }
    let name = |path: &PathBuf| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    Err(ImportError::SeveralCheckpoints {
        path: directory.to_owned(),
        names: names.iter().map(name).collect(),
    })
}
