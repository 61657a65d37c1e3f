//! How much each column of a weight matters: the mean square of what it is multiplied with.
//!
//! A [`State`](crate::State) [records it](crate::State::set_record_importance) during runs. An [`ImportanceMatrix`] is read and written as
//!
//! | file | what is in it |
//! |---|---|
//! | GGUF with `general.type` `imatrix` | llama.cpp's importance matrix: for each weight the tensors `NAME.in_sum2`, sums of squares, and `NAME.counts`, the rows that were summed, one for each matrix of experts; `imatrix.datasets`, `.chunk_count` and `.chunk_size` |
//! | any other checkpoint | for each weight an f32 vector of mean squares, or one for each matrix, of the weight's name; where it was written here also the counts, as JSON in the metadata `imatrix.counts` |
//! | `imatrix.dat` | llama.cpp's older format, which is read only: it counts chunks, and each is taken for 512 rows |
//!
//! ```
//! use bitquilt::quantize::importance::ImportanceMatrix;
//! use bitquilt::{Graph, InferenceSession, Tensor, TensorType};
//!
//! let session = InferenceSession::builder().build()?;
//! let mut graph = Graph::new(session.registry(), [TensorType::f32([2, 32])])?;
//! let weight = session.registry().require_encoding("q8_0")?.quantize(&Tensor::full([4, 32], 1f32))?.tensor;
//! let weight = graph.constant_named("up", &weight)?;
//! let product = graph.qmatmul(graph.input(0), weight)?;
//! graph.output(product)?;
//!
//! let mut state = session.load(&graph)?.new_state()?;
//! state.set_record_importance(true);
//! state.run([("input0", &Tensor::full([2, 32], 3f32))])?;
//! let importance = state.importance().unwrap_or_default();
//! assert_eq!(importance.get("up").map(|it| it.means()), Some(vec![9.0; 32]));
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("imatrix.gguf");
//! importance.write(&path)?;
//! assert_eq!(ImportanceMatrix::read([&path])?.get("up"), importance.get("up"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod columns;
mod coverage;
mod dat;
mod error;
mod files;

use std::collections::BTreeMap;
use std::path::Path;

pub use columns::ColumnImportance;
pub use coverage::Coverage;
pub use error::ImportanceError;

use crate::checkpoint::metadata::Value;
use crate::checkpoint::{Metadata, TensorDict};

/// The importance of the columns of weights, by the weights' names, and what it was recorded from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportanceMatrix {
    weights: BTreeMap<String, ColumnImportance>,
    /// The files that it was read from.
    files: Vec<String>,
    datasets: Vec<String>,
    chunks: Chunks,
    /// Whether it is not known how many rows the means are of.
    is_uncounted: bool,
}

/// The pieces of text, or sets of inputs, that were run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Chunks {
    /// How many there were.
    pub count: u64,
    /// The rows of one, tokens of a text; 0 if it is not known.
    pub size: u64,
}

impl ImportanceMatrix {
    /// What was recorded in runs, before it is said [of what](Self::set_source).
    pub(crate) fn recorded(weights: impl Iterator<Item = (String, ColumnImportance)>) -> Self {
        Self { weights: weights.collect(), ..Self::default() }
    }

    /// Says what it was recorded from.
    pub fn set_source(&mut self, dataset: impl Into<String>, chunks: Chunks) {
        (self.datasets, self.chunks) = (vec![dataset.into()], chunks);
    }

    /// The importance of all these files, each [as its rows count](Self::merge).
    pub fn read(paths: impl IntoIterator<Item = impl AsRef<Path>>) -> Result<Self, ImportanceError> {
        let mut whole: Option<Self> = None;
        for path in paths {
            let part = files::read(path.as_ref())?;
            match &mut whole {
                None => whole = Some(part),
                Some(whole) => whole.merge(&part)?,
            }
        }
        Ok(whole.unwrap_or_default())
    }

    /// That of mean squares in f32, of each weight a vector, or a matrix with a row for each of its matrices. It is not known how many rows
    /// they are of.
    ///
    /// # Errors
    /// If a tensor is something else, or a value is negative or not finite.
    pub fn of_means(means: &TensorDict) -> Result<Self, ImportanceError> {
        let mut weights = BTreeMap::new();
        for (weight, means) in means.iter() {
            let wrong = |problem: String| ImportanceError::Means { weight: weight.to_owned(), problem };
            let values = means.values::<f32>().ok().filter(|_| matches!(means.shape().len(), 1 | 2));
            let values = values
                .ok_or_else(|| wrong(format!("is {}, an f32 vector was expected", means.tensor_type())))?;
            let values = values.iter().map(|value| f64::from(*value)).collect();
            let columns = ColumnImportance::new(values, vec![1.0]);
            weights.insert(
                weight.to_owned(),
                columns.map_err(|problem| wrong(problem.replacen("it has", "has", 1)))?,
            );
        }
        Ok(Self { weights, is_uncounted: true, ..Self::default() })
    }

    /// Writes it: as llama.cpp's importance matrix if the file's name ends in `.gguf`, otherwise as mean squares. The file is replaced if it
    /// is there.
    pub fn write(&self, path: impl AsRef<Path>) -> Result<(), ImportanceError> {
        files::write(self, path.as_ref())
    }

    /// Adds what another has recorded: sums are added, and counts, so that each row counts alike. A weight that one lacks is the other's.
    ///
    /// # Errors
    /// If one is of means of unknown numbers of rows, or if a weight has other columns in the other.
    pub fn merge(&mut self, other: &Self) -> Result<(), ImportanceError> {
        if let Some(uncounted) = [&*self, other].into_iter().find(|it| it.is_uncounted) {
            return Err(ImportanceError::Uncounted { importance: uncounted.name() });
        }
        for (name, columns) in &other.weights {
            let Some(sum) = self.weights.get_mut(name) else {
                self.weights.insert(name.clone(), columns.clone());
                continue;
            };
            if !sum.add(columns) {
                return Err(ImportanceError::OtherColumns {
                    weight: name.clone(),
                    one: self.name(),
                    columns: self.weights[name].len(),
                    other: other.name(),
                    other_columns: columns.len(),
                });
            }
        }
        self.chunks = self.chunks.and(other.chunks);
        self.files.extend(other.files.iter().cloned());
        self.datasets.extend(other.datasets.iter().cloned());
        Ok(())
    }

    /// The importance of a weight.
    pub fn get(&self, weight: &str) -> Option<&ColumnImportance> {
        self.weights.get(weight)
    }

    /// All weights, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &ColumnImportance)> {
        self.weights.iter().map(|(name, columns)| (name.as_str(), columns))
    }

    /// The number of weights.
    pub fn len(&self) -> usize {
        self.weights.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.weights.is_empty()
    }

    /// What it was recorded from: texts, or directories of inputs.
    pub fn datasets(&self) -> &[String] {
        &self.datasets
    }

    /// The pieces that were run.
    pub fn chunks(&self) -> Chunks {
        self.chunks
    }

    /// Whether it is known how many rows the means are of.
    pub fn is_counted(&self) -> bool {
        !self.is_uncounted
    }

    /// What sentences call it.
    fn name(&self) -> String {
        match &self.files[..] {
            [] => "the importance".to_owned(),
            files => files.join(", "),
        }
    }

    /// Says in a checkpoint's metadata that its weights were encoded with it, as llama.cpp does: `quantize.imatrix.file`, `.dataset`,
    /// `.entries_count` and `.chunks_count`.
    pub fn describe(&self, metadata: &mut Metadata) {
        let count = |count: u64| Value::U32(u32::try_from(count).unwrap_or(u32::MAX));
        let mut set = |key: &str, value: Option<Value>| {
            let key = format!("quantize.imatrix.{key}");
            metadata.remove(&key);
            if let Some(value) = value {
                metadata.insert(key, value);
            }
        };
        set("file", (!self.files.is_empty()).then(|| self.name().into()));
        set("dataset", (!self.datasets.is_empty()).then(|| self.datasets.join(", ").into()));
        set("entries_count", Some(count(self.weights.len() as u64)));
        set("chunks_count", (self.chunks.count > 0).then(|| count(self.chunks.count)));
    }
}

impl Chunks {
    /// As many rows in all, in chunks of the first's size.
    fn and(self, other: Self) -> Self {
        let size = if self.size > 0 { self.size } else { other.size };
        let more = match size {
            0 => other.count,
            size if other.size == size || other.size == 0 => other.count,
            size => other.count.saturating_mul(other.size).div_ceil(size),
        };
        Self { count: self.count.saturating_add(more), size }
    }
}
