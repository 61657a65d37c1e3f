//! Tensors as they lie in a file.

use std::ops::Range;

use bitquilt_plugin_api::{DType, Element, EncodingSpec};

use super::error::TensorProblem;
use crate::tensor::TensorElement;

/// A tensor of a checkpoint: its type, and where its bytes are.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredTensor {
    element: TensorElement,
    shape: Vec<usize>,
    /// Which of the checkpoint's files.
    file: usize,
    /// Bytes of that file.
    range: Range<usize>,
}

impl StoredTensor {
    /// A tensor whose bytes are a range of the file; an error if their number is not the shape's.
    pub(super) fn new(
        element: TensorElement,
        shape: Vec<usize>,
        range: Range<usize>,
    ) -> Result<Self, TensorProblem> {
        element.check_byte_count(&shape, range.len())?;
        Ok(Self { element, shape, file: 0, range })
    }

    /// The same, in another of a checkpoint's files.
    pub(super) fn in_file(self, file: usize) -> Self {
        Self { file, ..self }
    }

    /// Dtype, or the name of the encoding, or of the type if it is [opaque](Self::is_opaque).
    pub fn element(&self) -> Element {
        self.element.name()
    }

    /// Which of the checkpoint's files has it.
    pub(super) fn file(&self) -> usize {
        self.file
    }

    pub(super) fn tensor_element(&self) -> &TensorElement {
        &self.element
    }

    /// Whether the type is one that this version knows by its name alone, such as `F4` of safetensors or `ggml.137`, the type of that
    /// number in ggml. Such a tensor can be carried over, and its values cannot be used.
    pub fn is_opaque(&self) -> bool {
        matches!(self.element, TensorElement::Opaque(_))
    }

    /// The dtype of a dense tensor.
    pub fn dtype(&self) -> Option<DType> {
        self.element.dtype()
    }

    /// The encoding of an encoded tensor, as the file describes it: without a summary or the use of importance.
    pub fn encoding(&self) -> Option<&EncodingSpec> {
        self.element.spec()
    }

    /// The logical shape, in values.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// Where in [its file](super::Checkpoint::file_of) its bytes are.
    pub fn byte_range(&self) -> Range<usize> {
        self.range.clone()
    }
}
