//! A file that was opened: what it has, before anything of it is used.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use bitquilt_plugin_api::{DType, Element, EncodingSpec};

use super::error::{Fault, TensorProblem};
use super::file::MappedFile;
use super::{CheckpointError, TensorDict, dict, gguf, safetensors};
use crate::memory;
use crate::plugin::Registry;
use crate::tensor::{Tensor, TensorElement};

/// A safetensors or GGUF file, mapped and validated.
///
/// To see what is in it, its encodings need not be registered.
pub struct Checkpoint {
    file: MappedFile,
    format: Format,
    metadata: BTreeMap<String, String>,
    tensors: BTreeMap<String, StoredTensor>,
}

/// The format of a file.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Format {
    /// safetensors, of this library or another.
    SafeTensors,
    /// GGUF, with its header.
    Gguf(gguf::Header),
}

impl Display for Format {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::SafeTensors => f.write_str("safetensors"),
            Self::Gguf(header) => write!(f, "GGUF version {}", header.version()),
        }
    }
}

/// A tensor of a file: its type, and where its bytes are.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    element: TensorElement,
    shape: Vec<usize>,
    /// Bytes of the file.
    range: Range<usize>,
}

impl Checkpoint {
    /// Maps a file and checks all of its header. The format is told by the first bytes.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, CheckpointError> {
        let file = MappedFile::open(path.as_ref())?;
        let bytes = &file.map[..];
        let at = |fault: Fault| fault.at(&file.path);
        let (format, metadata, tensors) = if gguf::matches(bytes) {
            let gguf::Contents { header, tensors } = gguf::parse(bytes).map_err(at)?;
            let metadata = header.scalars_as_text();
            (Format::Gguf(header), metadata, tensors)
        } else if safetensors::matches(bytes) {
            let safetensors::Contents { metadata, tensors } = safetensors::parse(bytes).map_err(at)?;
            (Format::SafeTensors, metadata, tensors)
        } else {
            let found = match bytes.get(..bytes.len().min(12)) {
                None | Some([]) => "is empty".to_owned(),
                Some(first) => format!("begins with \"{}\"", first.escape_ascii()),
            };
            return Err(CheckpointError::UnknownFormat { path: file.path, found });
        };
        memory::forget_pages(&file.map, 0..file.map.len());
        Ok(Self { file, format, metadata, tensors })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// The format.
    pub fn format(&self) -> &Format {
        &self.format
    }

    /// Text by key. Of a GGUF file these are the values that are no arrays; [`Self::gguf`] has all, with their types.
    pub fn metadata(&self) -> &BTreeMap<String, String> {
        &self.metadata
    }

    /// The header of a GGUF file.
    pub fn gguf(&self) -> Option<&gguf::Header> {
        match &self.format {
            Format::Gguf(header) => Some(header),
            Format::SafeTensors => None,
        }
    }

    /// The header of a GGUF file, to take large values out of it.
    pub fn gguf_mut(&mut self) -> Option<&mut gguf::Header> {
        match &mut self.format {
            Format::Gguf(header) => Some(header),
            Format::SafeTensors => None,
        }
    }

    /// What tensors there are, by name.
    pub fn tensors(&self) -> impl ExactSizeIterator<Item = (&str, &StoredTensor)> {
        self.tensors.iter().map(|(name, stored)| (name.as_str(), stored))
    }

    /// The tensor of this name, with its encoding from `registry`.
    pub fn tensor(&self, name: &str, registry: &Registry) -> Result<Tensor, CheckpointError> {
        let stored = self.tensors.get(name).ok_or_else(|| dict::missing(name, self.tensors.keys()))?;
        stored.tensor(&self.file, registry).map_err(|problem| self.wrong(name, problem))
    }

    /// The tensor of this name as it lies in the file, whether its encoding is registered or not: to carry it over.
    pub fn as_stored(&self, name: &str) -> Result<Tensor, CheckpointError> {
        let StoredTensor { element, shape, range } =
            self.tensors.get(name).ok_or_else(|| dict::missing(name, self.tensors.keys()))?;
        let tensor = Tensor::from_mapped(element.clone(), shape.clone(), &self.file.map, range.clone());
        tensor.map_err(|error| self.wrong(name, error.into()))
    }

    fn wrong(&self, name: &str, problem: TensorProblem) -> CheckpointError {
        let (path, problem) = (self.file.path.clone(), Box::new(problem));
        CheckpointError::Tensor { path, tensor: name.to_owned(), problem }
    }

    /// All tensors, with their encodings from `registry`, and the [metadata](Self::metadata).
    pub fn load(&self, registry: &Registry) -> Result<TensorDict, CheckpointError> {
        let mut dict = TensorDict::new();
        dict.metadata_mut().clone_from(&self.metadata);
        for name in self.tensors.keys() {
            dict.insert(name, self.tensor(name, registry)?);
        }
        Ok(dict)
    }
}

impl StoredTensor {
    /// A tensor whose bytes are a range of the file; an error if their number is not the shape's.
    pub(super) fn new(
        element: TensorElement,
        shape: Vec<usize>,
        range: Range<usize>,
    ) -> Result<Self, TensorProblem> {
        element.check_byte_count(&shape, range.len())?;
        Ok(Self { element, shape, range })
    }

    /// Dtype or encoding.
    pub fn element(&self) -> Element {
        self.element.name()
    }

    /// The dtype of a dense tensor.
    pub fn dtype(&self) -> Option<DType> {
        match self.element {
            TensorElement::Dense(dtype) => Some(dtype),
            TensorElement::Encoded(_) => None,
        }
    }

    /// The encoding of an encoded tensor, as the file describes it: without a summary or the use of importance.
    pub fn encoding(&self) -> Option<&EncodingSpec> {
        match &self.element {
            TensorElement::Dense(_) => None,
            TensorElement::Encoded(spec) => Some(spec),
        }
    }

    /// The logical shape, in values.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Where in the file its bytes are.
    pub fn byte_range(&self) -> Range<usize> {
        self.range.clone()
    }

    fn tensor(&self, file: &MappedFile, registry: &Registry) -> Result<Tensor, TensorProblem> {
        let element = match &self.element {
            TensorElement::Dense(dtype) => TensorElement::Dense(*dtype),
            TensorElement::Encoded(recorded) => TensorElement::Encoded(registered(recorded, registry)?),
        };
        Ok(Tensor::from_mapped(element, self.shape.clone(), &file.map, self.range.clone())?)
    }
}

/// The encoding of the registry that reads blocks as recorded.
fn registered(recorded: &EncodingSpec, registry: &Registry) -> Result<Arc<EncodingSpec>, TensorProblem> {
    let spec = registry.require_encoding(&recorded.name).map_err(TensorProblem::UnknownEncoding)?.spec();
    let layout = |spec: &EncodingSpec| (spec.version, spec.block_len, spec.block_bytes);
    if layout(spec) != layout(recorded) {
        let (expected, found) = (Box::new(spec.clone()), Box::new(recorded.clone()));
        return Err(TensorProblem::OtherEncoding { expected, found });
    }
    Ok(Arc::new(spec.clone()))
}
