//! Checkpoints that are written tensor by tensor.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitquilt_plugin_api::{DType, Element, EncodingSpec};

use super::TensorProblem;
use super::container::{Container, FileLayout, Format, Types};
use super::error::CheckpointError;
use super::metadata::Metadata;
use super::stored::StoredTensor;
use super::{formats, shards};
use crate::file::{self, Staged};
use crate::tensor::{Tensor, TensorElement};

/// A checkpoint of which the types are known and the bytes are not there yet.
///
/// So that a model is not held whole, [`Self::write`] asks for its tensors one at a time.
///
/// ```
/// use bitquilt::checkpoint::{CheckpointError, CheckpointWriter};
/// use bitquilt::{DType, Tensor};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("checkpoint.safetensors");
/// let mut writer = CheckpointWriter::new();
/// writer.dense("x", DType::F32, [10, 5]);
/// writer.dense("y", DType::F32, [10, 5]);
/// writer.write(&path, |_name| Ok::<_, CheckpointError>(Tensor::full([10, 5], 1f32)))?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct CheckpointWriter {
    tensors: BTreeMap<String, (TensorElement, Vec<usize>)>,
    metadata: Metadata,
    format: Option<Format>,
}

impl CheckpointWriter {
    /// A checkpoint of nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Announces a dense tensor; it takes the place of one that had the name before.
    pub fn dense(&mut self, name: impl Into<String>, dtype: DType, shape: impl Into<Vec<usize>>) {
        self.tensors.insert(name.into(), (TensorElement::Dense(dtype), shape.into()));
    }

    /// Announces an encoded tensor, whose shape counts values; it takes the place of one that had the name before.
    pub fn encoded(
        &mut self,
        name: impl Into<String>,
        encoding: &EncodingSpec,
        shape: impl Into<Vec<usize>>,
    ) {
        let element = TensorElement::Encoded(Arc::new(encoding.clone()));
        self.tensors.insert(name.into(), (element, shape.into()));
    }

    /// Announces a tensor of another file that is carried over; it takes the place of one that had the name before.
    pub fn stored(&mut self, name: impl Into<String>, stored: &StoredTensor) {
        let shape = stored.shape().to_vec();
        self.tensors.insert(name.into(), (stored.tensor_element().clone(), shape));
    }

    /// What is saved with the tensors. Keys that begin with `bitquilt.` are the library's.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// Sets the format of the file, whatever its name ends in; without this, the name decides.
    pub fn set_format(&mut self, format: Format) {
        self.format = Some(format);
    }

    /// Whether a file of this path can be written with what was announced: an error before work is done that could not be kept.
    pub fn check(&self, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
        lay_out(path.as_ref(), self.format, self.types(), &self.metadata).map(drop)
    }

    /// Dtype or encoding of a tensor that was announced, and its bytes.
    pub(crate) fn announced(&self, name: &str) -> Option<(Element, u64)> {
        let (element, shape) = self.tensors.get(name)?;
        Some((element.name(), element.bytes(shape).unwrap_or_default() as u64))
    }

    fn types(&self) -> Types<'_> {
        self.tensors.iter().map(|(name, (element, shape))| (name.as_str(), element, &shape[..])).collect()
    }

    /// Writes the file, which is replaced if it is there, as [`save`](super::save) does.
    ///
    /// `tensor` is called once for each name, in the order of the file, and must give what was announced. Its error ends the
    /// writing and is what is answered; the path then names what it named before.
    pub fn write<E: From<CheckpointError>>(
        &self,
        path: impl AsRef<Path>,
        tensor: impl FnMut(&str) -> Result<Tensor, E>,
    ) -> Result<(), E> {
        self.write_then(path, tensor, || Ok(()))
    }

    /// As [`Self::write`]; an error of `finish`, which is called when all bytes are written, keeps the file from its place, too.
    pub(crate) fn write_then<E: From<CheckpointError>>(
        &self,
        path: impl AsRef<Path>,
        mut tensor: impl FnMut(&str) -> Result<Tensor, E>,
        finish: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let path = path.as_ref();
        let layout = lay_out(path, self.format, self.types(), &self.metadata)?;
        let staged = stage_file(path, &*layout, checked(path, &mut tensor))?;
        finish()?;
        place(staged)
    }

    /// As [`Self::write_then`], in as many files as it takes to have `bytes` bytes of tensors in each at most, or one tensor that is larger.
    /// None is put in its place before all are written.
    pub(crate) fn write_split<E: From<CheckpointError>>(
        &self,
        path: impl AsRef<Path>,
        bytes: u64,
        mut tensor: impl FnMut(&str) -> Result<Tensor, E>,
        finish: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let path = path.as_ref();
        let shards = self.shards(path, bytes)?;
        if shards.len() == 1 {
            return self.write_then(path, tensor, finish);
        }
        let mut staged = Vec::new();
        for (path, shard) in &shards {
            let layout = lay_out(path, shard.format, shard.types(), &shard.metadata)?;
            staged.push(stage_file(path, &*layout, checked(path, &mut tensor))?);
        }
        let tensors =
            |(path, shard): &(PathBuf, Self)| (path.clone(), shard.tensors.keys().cloned().collect());
        if let Some((path, text)) =
            self.container(path)?.index(path, &shards.iter().map(tensors).collect::<Vec<_>>())
        {
            staged.push(
                file::stage(&path, |out| out.write_all(text.as_bytes())).map_err(CheckpointError::from)?,
            );
        }
        finish()?;
        staged.into_iter().try_for_each(place)
    }

    /// The files that [`Self::write_split`] writes tensors to.
    pub(crate) fn split_paths(&self, path: &Path, bytes: u64) -> Result<Vec<PathBuf>, CheckpointError> {
        Ok(self.shards(path, bytes)?.into_iter().map(|(path, _)| path).collect())
    }

    fn container(&self, path: &Path) -> Result<&'static dyn Container, CheckpointError> {
        formats::to_write(path, self.format)
    }

    /// The shards, in the order of the tensors' names, and their paths; `path` itself if there is but one.
    fn shards(&self, path: &Path, bytes: u64) -> Result<Vec<(PathBuf, Self)>, CheckpointError> {
        let format = Some(Format::new(self.container(path)?.name(), None));
        let mut shards = vec![Self { format, ..Self::default() }];
        let mut filled = 0u64;
        for (name, (element, shape)) in &self.tensors {
            let len = element.bytes(shape).unwrap_or_default() as u64;
            if filled > 0 && filled.saturating_add(len) > bytes {
                shards.push(Self { format, ..Self::default() });
                filled = 0;
            }
            filled = filled.saturating_add(len);
            if let Some(shard) = shards.last_mut() {
                shard.tensors.insert(name.clone(), (element.clone(), shape.clone()));
            }
        }
        let count = shards.len();
        if count == 1 {
            return Ok(vec![(path.to_owned(), self.clone())]);
        }
        if count > MAX_SHARDS {
            let problem = format!(
                "it would be {count} files, at most {MAX_SHARDS} are allowed; allow more bytes in each"
            );
            return Err(CheckpointError::Unsupported { path: path.to_owned(), problem });
        }
        let container = self.container(path)?;
        let paths = shards::paths(path, count);
        Ok(paths
            .into_iter()
            .zip(shards)
            .enumerate()
            .map(|(index, (path, mut shard))| {
                shard.metadata = container.shard_metadata(&self.metadata, index, count, self.tensors.len());
                (path, shard)
            })
            .collect())
    }
}

/// The most files that a checkpoint is split into: as many as five digits count.
const MAX_SHARDS: usize = 99_999;

/// Lays out a file in a format, or in the one that its name says.
pub(super) fn lay_out<'a>(
    path: &Path,
    format: Option<Format>,
    types: Types<'a>,
    metadata: &Metadata,
) -> Result<Box<dyn FileLayout + 'a>, CheckpointError> {
    formats::to_write(path, format)?
        .lay_out(types, metadata)
        .map_err(|problem| CheckpointError::Unsupported { path: path.to_owned(), problem })
}

/// Writes a file, with the tensors that are asked for one at a time in the order of the layout.
pub(super) fn write_file<E: From<CheckpointError>>(
    path: &Path,
    layout: &dyn FileLayout,
    tensor: impl FnMut(&str, &TensorElement, &[usize]) -> Result<Tensor, E>,
) -> Result<(), E> {
    place(stage_file(path, layout, tensor)?)
}

/// Puts a file in its place, unless it went to a stream.
fn place<E: From<CheckpointError>>(staged: Option<Staged>) -> Result<(), E> {
    Ok(staged.map_or(Ok(()), Staged::place).map_err(CheckpointError::from)?)
}

/// [`write_file`], but for putting the file in its place.
fn stage_file<E: From<CheckpointError>>(
    path: &Path,
    layout: &dyn FileLayout,
    mut tensor: impl FnMut(&str, &TensorElement, &[usize]) -> Result<Tensor, E>,
) -> Result<Option<Staged>, E> {
    let mut failed = None;
    let staged = file::stage(path, |out| {
        layout.write(out, &mut |name, element, shape| {
            tensor(name, element, shape).map_err(|error| {
                failed = Some(error);
                io::Error::other("a tensor was not there")
            })
        })
    });
    match failed {
        Some(error) => Err(error),
        None => staged.map_err(|error| E::from(error.into())),
    }
}

/// Asks for tensors, each of which has to be what was announced.
fn checked<E: From<CheckpointError>>(
    path: &Path,
    tensor: &mut impl FnMut(&str) -> Result<Tensor, E>,
) -> impl FnMut(&str, &TensorElement, &[usize]) -> Result<Tensor, E> {
    move |name, element, shape| {
        let tensor = tensor(name)?;
        check(path, name, element, shape, &tensor)?;
        Ok(tensor)
    }
}

/// Whether a tensor is what was announced.
fn check(
    path: &Path,
    name: &str,
    element: &TensorElement,
    shape: &[usize],
    tensor: &Tensor,
) -> Result<(), CheckpointError> {
    if tensor.tensor_element().is_stored_as(element) && tensor.shape() == shape {
        return Ok(());
    }
    let expected = element.tensor_type(shape).to_string();
    let problem = Box::new(TensorProblem::Announced { expected, found: tensor.tensor_type().to_string() });
    Err(CheckpointError::Tensor { path: path.to_owned(), tensor: name.to_owned(), problem })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checkpoint::{self, TensorDict};
    use crate::registry::Registry;

    #[test]
    fn tensor_by_tensor_is_the_same_file() {
        let directory = tempfile::tempdir().unwrap();
        let (whole, parts) = (directory.path().join("whole"), directory.path().join("parts"));
        let spec = EncodingSpec::new("q4_0", 32, 18);
        let mut dict = TensorDict::new();
        dict.insert("b", Tensor::full([3], 1u8));
        dict.insert("a", Tensor::from_encoded(&spec, [2, 32], &[7; 36]).unwrap());
        dict.insert("c", Tensor::full([2, 2], 0.5f32));
        dict.metadata_mut().insert("author", "nobody");
        checkpoint::save(&dict, &whole).unwrap();

        let mut writer = CheckpointWriter::new();
        writer.dense("b", DType::U8, [3]);
        writer.encoded("a", &spec, [2, 32]);
        writer.dense("c", DType::F32, [2, 2]);
        writer.metadata_mut().insert("author", "nobody");
        let mut asked = Vec::new();
        writer
            .write(&parts, |name| {
                asked.push(name.to_owned());
                dict.require(name).cloned()
            })
            .unwrap();
        assert_eq!(asked, ["c", "a", "b"]);
        assert_eq!(std::fs::read(whole).unwrap(), std::fs::read(parts).unwrap());
    }

    #[test]
    fn what_was_not_announced_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, "old").unwrap();
        let mut writer = CheckpointWriter::new();
        writer.dense("x", DType::F32, [2]);
        let error = writer
            .write(&path, |_| Ok::<_, CheckpointError>(Tensor::full([3], 1f32)))
            .unwrap_err()
            .to_string();
        assert!(error.ends_with("tensor `x`: it was announced as f32 [2] and is f32 [3]"), "{error}");
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
        assert!(checkpoint::load(&path, &Registry::default()).is_err());
    }
}
