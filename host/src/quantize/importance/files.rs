//! The files of importance.

use std::collections::BTreeMap;
use std::path::Path;

use bitquilt_plugin_api::{DType, ShapeDisplay};

use super::{Chunks, ColumnImportance, ImportanceError, ImportanceMatrix, dat};
use crate::checkpoint::metadata::{Array, Metadata, Value};
use crate::checkpoint::{self, Checkpoint, CheckpointError, RawFile, StoredTensor, TensorDict};
use crate::tensor::Tensor;
use crate::text::Brief;

/// The key and value that make a GGUF file an importance matrix.
const TYPE: (&str, &str) = ("general.type", "imatrix");
const DATASETS: &str = "imatrix.datasets";
const CHUNK_COUNT: &str = "imatrix.chunk_count";
const CHUNK_SIZE: &str = "imatrix.chunk_size";
/// The key of the counts in files of means: a text, JSON, for each weight a list of numbers.
const COUNTS: &str = "imatrix.counts";
/// What follows a weight's name in the names of its tensors.
const SUMS_OF: &str = ".in_sum2";
const COUNTS_OF: &str = ".counts";

/// Reads a file of any kind.
pub(super) fn read(path: &Path) -> Result<ImportanceMatrix, ImportanceError> {
    let mut matrix = match Checkpoint::open(path) {
        Ok(file) => of_checkpoint(&file)?,
        Err(CheckpointError::UnknownFormat { .. }) => read_dat(path)?,
        Err(error) => return Err(error.into()),
    };
    matrix.files = vec![path.display().to_string()];
    match matrix.is_empty() {
        true => Err(contents(path, "it has importance for no weight".to_owned())),
        false => Ok(matrix),
    }
}

fn read_dat(path: &Path) -> Result<ImportanceMatrix, ImportanceError> {
    dat::parse(RawFile::open(path)?.bytes()).map_err(|(weight, problem)| match weight {
        Some(weight) => wrong(path, &weight, problem),
        None => contents(
            path,
            format!("it is no GGUF, safetensors or .npz file, and as an imatrix.dat of llama.cpp is damaged: {problem}"),
        ),
    })
}

fn of_checkpoint(file: &Checkpoint) -> Result<ImportanceMatrix, ImportanceError> {
    let has_sums = file.tensors().any(|(name, _)| name.ends_with(SUMS_OF));
    let kind = file.metadata().get(TYPE.0).map(ToString::to_string);
    let is_matrix = kind.as_deref() == Some(TYPE.1);
    if has_sums && !is_matrix {
        let found = kind.map_or_else(|| "is not there".to_owned(), |kind| format!("is `{}`", Brief(&kind)));
        let problem = format!("its metadata `{}` {found}; `{}` was expected", TYPE.0, TYPE.1);
        return Err(contents(file.path(), problem));
    }
    let mut matrix = if is_matrix { sums(file)? } else { means(file)? };
    (matrix.datasets, matrix.chunks) = source(file)?;
    Ok(matrix)
}

/// What an importance matrix of llama.cpp has.
fn sums(file: &Checkpoint) -> Result<ImportanceMatrix, ImportanceError> {
    let mut weights = BTreeMap::new();
    for (tensor, _) in file.tensors() {
        let Some((weight, other)) = of_suffix(tensor) else { continue };
        let other = format!("{weight}{other}");
        if file.require(&other).is_err() {
            let problem = format!("there is `{}`, and no `{}`", Brief(tensor), Brief(&other));
            return Err(contents(file.path(), problem));
        }
        if tensor.ends_with(SUMS_OF) {
            let (sums, counts) = (floats(file, tensor)?, floats(file, &other)?);
            let columns = ColumnImportance::new(sums, counts);
            weights
                .insert(weight.to_owned(), columns.map_err(|problem| wrong(file.path(), tensor, problem))?);
        }
    }
    Ok(ImportanceMatrix::recorded(weights.into_iter()))
}

/// The weight of a tensor, and what follows its name in that of its other tensor.
fn of_suffix(tensor: &str) -> Option<(&str, &'static str)> {
    let sums = tensor.strip_suffix(SUMS_OF).map(|weight| (weight, COUNTS_OF));
    sums.or_else(|| tensor.strip_suffix(COUNTS_OF).map(|weight| (weight, SUMS_OF)))
}

/// What a file of means has.
fn means(file: &Checkpoint) -> Result<ImportanceMatrix, ImportanceError> {
    let counts: Option<BTreeMap<String, Vec<f64>>> = match file.metadata().text(COUNTS) {
        None => None,
        Some(text) => Some(serde_json::from_str(text).map_err(|error| {
            let problem = Brief(&error.to_string()).to_string();
            contents(
                file.path(),
                format!("its metadata `{COUNTS}` is no list of numbers for each weight: {problem}"),
            )
        })?),
    };
    let mut weights = BTreeMap::new();
    for (weight, stored) in file.tensors() {
        let wrong = |problem| wrong(file.path(), weight, problem);
        if !matches!(stored.shape().len(), 1 | 2) {
            return Err(not_floats(file, weight, stored));
        }
        let means = floats(file, weight)?;
        let count = match &counts {
            None => vec![1.0],
            Some(counts) => counts.get(weight).cloned().ok_or_else(|| {
                wrong(format!("the metadata `{COUNTS}` does not say how many rows its means are of"))
            })?,
        };
        // Of what is wrong with the means themselves the column is said.
        let mut columns = ColumnImportance::new(means, count).map_err(wrong)?;
        columns.multiply();
        weights.insert(weight.to_owned(), columns);
    }
    let matrix = ImportanceMatrix::recorded(weights.into_iter());
    Ok(ImportanceMatrix { is_uncounted: counts.is_none(), ..matrix })
}

/// The values of an f32 tensor.
fn floats(file: &Checkpoint, tensor: &str) -> Result<Vec<f64>, ImportanceError> {
    let stored = file.require(tensor)?;
    if stored.dtype() != Some(DType::F32) {
        return Err(not_floats(file, tensor, stored));
    }
    let values = file.as_stored(tensor)?;
    let values = values.values::<f32>().map_err(|error| wrong(file.path(), tensor, error.to_string()))?;
    Ok(values.iter().map(|value| f64::from(*value)).collect())
}

fn not_floats(file: &Checkpoint, tensor: &str, stored: &StoredTensor) -> ImportanceError {
    let (element, shape) = (stored.element().to_string(), ShapeDisplay(stored.shape()));
    let problem = format!("it is {} {shape}, an f32 vector was expected", Brief(&element));
    wrong(file.path(), tensor, problem)
}

/// What a file says that it was recorded from.
fn source(file: &Checkpoint) -> Result<(Vec<String>, Chunks), ImportanceError> {
    let metadata = file.metadata();
    let unlike = |key: &str, expected: &str, found: &Value| {
        let found = Brief(&found.to_string()).to_string();
        contents(file.path(), format!("its metadata `{key}` is {found}; {expected} was expected"))
    };
    let count = |key: &str| match metadata.get(key) {
        None => Ok(0),
        Some(value) => value.as_u64().ok_or_else(|| unlike(key, "a number", value)),
    };
    let datasets = match metadata.get(DATASETS) {
        None => Vec::new(),
        Some(value) => match value.as_array() {
            Some(Array::String(texts)) => texts.clone(),
            Some(array) if array.is_empty() => Vec::new(),
            _ => return Err(unlike(DATASETS, "a list of texts", value)),
        },
    };
    Ok((datasets, Chunks { count: count(CHUNK_COUNT)?, size: count(CHUNK_SIZE)? }))
}

/// Writes a file of the kind that its name ends in.
pub(super) fn write(matrix: &ImportanceMatrix, path: &Path) -> Result<(), ImportanceError> {
    checkpoint::check_target(path)?;
    let is_gguf = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gguf"));
    let mut file = TensorDict::new();
    for (weight, columns) in matrix.iter() {
        let failed = |problem| wrong(path, weight, problem);
        let (len, counts) = (columns.len(), columns.counts().len());
        let shape = |inner: usize| if counts == 1 { vec![inner] } else { vec![counts, inner] };
        let tensor =
            |shape, values: Vec<f32>| Tensor::new(shape, values).map_err(|error| failed(error.to_string()));
        if is_gguf {
            let sums = narrow(columns.sums()).map_err(failed)?;
            file.insert(format!("{weight}{SUMS_OF}"), tensor(shape(len / counts), sums)?);
            let counts = narrow(columns.counts()).map_err(failed)?;
            file.insert(format!("{weight}{COUNTS_OF}"), tensor(shape(1), counts)?);
        } else {
            file.insert(weight, tensor(shape(len / counts), columns.means())?);
        }
    }
    let metadata = file.metadata_mut();
    describe(matrix, metadata);
    if is_gguf {
        metadata.insert(TYPE.0, TYPE.1);
    } else if matrix.is_counted() {
        let counts: BTreeMap<&str, &[f64]> =
            matrix.iter().map(|(weight, it)| (weight, it.counts())).collect();
        metadata.insert(COUNTS, serde_json::to_string(&counts).unwrap_or_default());
    }
    Ok(checkpoint::save(&file, path)?)
}

fn describe(matrix: &ImportanceMatrix, metadata: &mut Metadata) {
    let count = |count: u64| Value::U32(u32::try_from(count).unwrap_or(u32::MAX));
    metadata.insert(DATASETS, Array::String(matrix.datasets.clone()));
    metadata.insert(CHUNK_COUNT, count(matrix.chunks.count));
    metadata.insert(CHUNK_SIZE, count(matrix.chunks.size));
}

/// Numbers as f32, which holds no larger ones than 3.4e38.
fn narrow(numbers: &[f64]) -> Result<Vec<f32>, String> {
    let narrow: Vec<f32> = numbers.iter().map(|number| *number as f32).collect();
    match narrow.iter().position(|number| !number.is_finite()) {
        None => Ok(narrow),
        Some(index) => {
            let number = numbers[index];
            Err(format!(
                "the sum of column {index} is {number:e}, which f32 does not hold; write a .safetensors file, which holds means"
            ))
        }
    }
}

fn contents(path: &Path, problem: String) -> ImportanceError {
    ImportanceError::Contents { path: path.to_owned(), problem }
}

fn wrong(path: &Path, tensor: &str, problem: String) -> ImportanceError {
    ImportanceError::Tensor { path: path.to_owned(), tensor: tensor.to_owned(), problem }
}
