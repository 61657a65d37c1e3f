//! Checkpoints that are written tensor by tensor.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use bitquilt_plugin_api::{DType, EncodingSpec};

use super::TensorProblem;
use super::container::{FileLayout, Types};
use super::error::CheckpointError;
use super::formats;
use super::metadata::Metadata;
use super::stored::StoredTensor;
use crate::file::replace;
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

    /// Writes the file, which is replaced if it is there, as [`save`](super::save) does.
    ///
    /// `tensor` is called once for each name, in the order of the file, and must give what was announced. Its error ends the
    /// writing and is what is answered; the path then names what it named before.
    pub fn write<E: From<CheckpointError>>(
        &self,
        path: impl AsRef<Path>,
        mut tensor: impl FnMut(&str) -> Result<Tensor, E>,
    ) -> Result<(), E> {
        let path = path.as_ref();
        let types = self.tensors.iter().map(|(name, (element, shape))| (name.as_str(), element, &shape[..]));
        write_file(path, types.collect(), &self.metadata, |name, element, shape| {
            let tensor = tensor(name)?;
            check(path, name, element, shape, &tensor)?;
            Ok(tensor)
        })
    }
}

/// Writes a file in the format that its name says, with the tensors that are asked for one at a time in the order of the file.
pub(super) fn write_file<E: From<CheckpointError>>(
    path: &Path,
    types: Types<'_>,
    metadata: &Metadata,
    mut tensor: impl FnMut(&str, &TensorElement, &[usize]) -> Result<Tensor, E>,
) -> Result<(), E> {
    let FileLayout { head, order } = formats::to_write(path)?
        .lay_out(types, metadata)
        .map_err(|problem| CheckpointError::Unsupported { path: path.to_owned(), problem })?;
    let mut failed = None;
    let written = replace(path, |out| {
        out.write_all(&head)?;
        for (name, element, shape) in &order {
            match tensor(name, element, shape) {
                Ok(tensor) => out.write_all(tensor.bytes())?,
                Err(error) => {
                    failed = Some(error);
                    return Err(io::Error::other("a tensor was not there"));
                }
            }
        }
        Ok(())
    });
    match failed {
        Some(error) => Err(error),
        None => written.map_err(|error| E::from(error.into())),
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
