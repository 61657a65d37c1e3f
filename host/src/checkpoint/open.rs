//! A checkpoint that was opened: what it has, before anything of it is used.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitquilt_plugin_api::{DType, EncodingSpec};

use super::container::{Contents, Format};
use super::error::TensorProblem;
use super::mapped::MappedFile;
use super::stored::StoredTensor;
use super::{CheckpointError, Metadata, TensorDict, dict, formats, shards};
use crate::registry::Registry;
use crate::tensor::{Tensor, TensorElement};

/// A safetensors or GGUF checkpoint, mapped and validated: one file, or all the shards that make a model.
///
/// To see what is in it, its encodings need not be registered.
pub struct Checkpoint {
    path: PathBuf,
    files: Vec<MappedFile>,
    format: Format,
    metadata: Metadata,
    tensors: BTreeMap<String, StoredTensor>,
}

impl Checkpoint {
    /// Maps a file and checks all of its header; of a model that is split into shards, all files.
    ///
    /// `path` is the file, any one of the shards, or the index of shards (`model.safetensors.index.json`). Shards lie in one directory
    /// and are named `NAME-00001-of-00003.gguf` and so on, or as the index says.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let path = path.as_ref();
        let (files, Contents { format, metadata, tensors }) = shards::open(path)?;
        Ok(Self { path: path.to_owned(), files, format, metadata, tensors })
    }

    /// The file that was opened.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The files that the tensors are in.
    pub fn files(&self) -> impl ExactSizeIterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// What the checkpoint says about itself. Of values that shards have of one key, the first shard's is here, and what a GGUF file says
    /// about being a shard is not.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The same, to take large values out of it.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }

    /// What tensors there are, by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), stored))
    }

    /// The file of a tensor of this checkpoint.
    pub fn file_of(&self, stored: &StoredTensor) -> &Path {
        self.files.get(stored.file()).map_or(&self.path, |file| &file.path)
    }

    /// The encodings of tensors whose declarations the checkpoint carries, by name.
    pub(crate) fn declared_encodings(&self) -> Vec<EncodingSpec> {
        let specs = self.tensors.values().filter_map(|stored| stored.encoding());
        let declared = specs.filter(|spec| spec.layout.is_some()).map(|spec| (&spec.name, spec));
        declared.collect::<BTreeMap<_, _>>().into_values().cloned().collect()
    }

    /// The tensor of this name, with its encoding from `registry`. An error says why its values cannot be used.
    pub fn tensor(&self, name: &str, registry: &Registry) -> Result<Tensor, CheckpointError> {
        let stored = self.require(name)?;
        let element = match stored.tensor_element() {
            TensorElement::Dense(dtype) => TensorElement::Dense(*dtype),
            TensorElement::Encoded(recorded) => TensorElement::Encoded(
                registered(recorded, registry).map_err(|problem| self.wrong(name, stored, problem))?,
            ),
            TensorElement::Opaque(opaque) => {
                let problem = TensorProblem::Opaque { name: opaque.name.clone() };
                return Err(self.wrong(name, stored, problem));
            }
        };
        self.map(name, stored, element)
    }

    /// The tensor of this name as it lies in the file, whether its values can be used or not: to carry it over.
    ///
    /// Those of a type that is not known, and of dtype bool with bytes other than 0 and 1, are opaque: [`Tensor::element`] is the type's
    /// name in the file, and a graph does not take them.
    pub fn as_stored(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let stored = self.require(name)?;
        let element = match stored.tensor_element() {
            TensorElement::Dense(DType::BOOL) => self.bool_element(stored),
            element => element.clone(),
        };
        self.map(name, stored, element)
    }

    /// An error if one of the files was written to since it was opened: what was read of it may be of both states.
    pub(crate) fn check_unchanged(&self) -> Result<(), CheckpointError> {
        self.files.iter().try_for_each(MappedFile::check_unchanged)
    }

    fn bool_element(&self, stored: &StoredTensor) -> TensorElement {
        let bytes = self.files[stored.file()].map.get(stored.byte_range()).unwrap_or_default();
        match bytes.iter().all(|byte| *byte <= 1) {
            true => TensorElement::Dense(DType::BOOL),
            false => formats::opaque_bool(bytes.len()),
        }
    }

    /// Type and place of the tensor of this name, or an error with the names near it.
    pub fn require(&self, name: &str) -> Result<&StoredTensor, CheckpointError> {
        self.tensors.get(name).ok_or_else(|| dict::missing(name, self.tensors.keys()))
    }

    /// The tensor of an element that has the same bytes as the stored one.
    fn map(
        &self,
        name: &str,
        stored: &StoredTensor,
        element: TensorElement,
    ) -> Result<Tensor, CheckpointError> {
        let file = &self.files[stored.file()];
        file.check_length()?;
        let tensor = Tensor::from_mapped(element, stored.shape().to_vec(), &file.map, stored.byte_range());
        tensor.map_err(|error| self.wrong(name, stored, error.into()))
    }

    fn wrong(&self, name: &str, stored: &StoredTensor, problem: TensorProblem) -> CheckpointError {
        let (path, problem) = (self.file_of(stored).to_owned(), Box::new(problem));
        CheckpointError::Tensor { path, tensor: name.to_owned(), problem }
    }

    /// All tensors, with their encodings from `registry`, and the [metadata](Self::metadata).
    ///
    /// Tensors whose values cannot be used because of their type are there [as they are stored](Self::as_stored).
    pub fn load(&self, registry: &Registry) -> Result<TensorDict, CheckpointError> {
        let mut dict = TensorDict::new();
        dict.metadata_mut().clone_from(&self.metadata);
        for (name, stored) in &self.tensors {
            let tensor = match stored.tensor_element() {
                TensorElement::Encoded(_) => self.tensor(name, registry)?,
                TensorElement::Dense(_) | TensorElement::Opaque(_) => self.as_stored(name)?,
            };
            dict.insert(name, tensor);
        }
        Ok(dict)
    }
}

/// The encoding of the registry that reads blocks as recorded.
fn registered(recorded: &EncodingSpec, registry: &Registry) -> Result<Arc<EncodingSpec>, TensorProblem> {
    let spec = registry.require_encoding(&recorded.name).map_err(TensorProblem::UnknownEncoding)?.spec();
    let layout = |spec: &EncodingSpec| (spec.version, spec.block_len, spec.block_bytes);
    let declared_otherwise = recorded.layout.is_some() && spec.layout != recorded.layout;
    if declared_otherwise {
        return Err(TensorProblem::DeclaredOtherwise { encoding: recorded.name.clone() });
    }
    if layout(spec) != layout(recorded) {
        let (expected, found) = (Box::new(spec.clone()), Box::new(recorded.clone()));
        return Err(TensorProblem::OtherEncoding { expected, found });
    }
    Ok(Arc::new(spec.clone()))
}
