//! Tensors that tests own.

use std::ops::Range;

use bitquilt_plugin_api::{
    DType, Element, ElementView, EncodingSpec, Error, Result, Scalar, TensorType, TensorView, TensorViewMut,
};

use crate::memory::{ALIGNMENT, Buffer, Memory, Placement};

/// A tensor that a test owns.
#[derive(Clone)]
pub struct TestTensor {
    element: Element,
    shape: Vec<usize>,
    bytes: Buffer,
}

impl TestTensor {
    /// Dense values; an error if they are not as many as the shape says.
    pub fn new<T: Scalar>(shape: &[usize], values: &[T]) -> Result<Self> {
        if shape.iter().product::<usize>() != values.len() {
            return Err(Error::invalid(format_args!(
                "{} values do not fill the shape {shape:?}",
                values.len()
            )));
        }
        let (element, shape) = (Element::Dense(T::DTYPE), shape.to_vec());
        Self::copy_of(element, shape, bytemuck::cast_slice(values))
    }

    /// Encoded bytes; an error if they are not as many as the shape says. `shape` counts values.
    pub fn from_encoded(spec: &EncodingSpec, shape: &[usize], bytes: &[u8]) -> Result<Self> {
        if spec.byte_shape(shape)?.iter().product::<usize>() != bytes.len() {
            return Err(Error::invalid(format_args!(
                "{} bytes do not fill the shape {shape:?}",
                bytes.len()
            )));
        }
        let (element, shape) = (Element::Encoded(spec.name.clone()), shape.to_vec());
        Self::copy_of(element, shape, bytes)
    }

    /// Dense values of any dtype from their bytes; an error if they are not as many as the shape says.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Self> {
        let size = dtype.size().unwrap_or_default();
        if shape.iter().product::<usize>() * size != bytes.len() {
            return Err(Error::invalid(format_args!("{} bytes do not fill {dtype} {shape:?}", bytes.len())));
        }
        let (element, shape) = (Element::Dense(dtype), shape.to_vec());
        Self::copy_of(element, shape, bytes)
    }

    fn copy_of(element: Element, shape: Vec<usize>, bytes: &[u8]) -> Result<Self> {
        Ok(Self { element, shape, bytes: Buffer::copy_of(bytes, ALIGNMENT, Placement::Heap)? })
    }

    /// A tensor that is yet to be written.
    pub(super) fn blank(element: Element, shape: Vec<usize>, bytes: usize, memory: Memory) -> Result<Self> {
        Ok(Self { element, shape, bytes: Buffer::new(bytes, ALIGNMENT, memory)? })
    }

    /// A copy in a buffer that is aligned no better than it must be, so that it ends right where it is placed.
    pub(super) fn placed(&self, alignment: usize, placement: Placement) -> Result<Self> {
        let (element, shape) = (self.element.clone(), self.shape.clone());
        Ok(Self { element, shape, bytes: Buffer::copy_of(self.bytes(), alignment, placement)? })
    }

    /// Where something was written beside its bytes, if anywhere.
    pub(super) fn trespass(&self) -> Option<String> {
        self.bytes.trespass()
    }

    /// Some columns of a dense tensor.
    pub(super) fn columns(&self, columns: Range<usize>) -> Result<Self> {
        let size = self.tensor_type().dtype().and_then(DType::size).unwrap_or_default();
        let Some((len, outer)) = self.shape.split_last() else {
            return Err(Error::failed("a scalar has no columns"));
        };
        let row = |row: &[u8]| row[columns.start * size..columns.end * size].to_vec();
        let bytes: Vec<u8> = self.bytes().chunks_exact((len * size).max(1)).flat_map(row).collect();
        Self::copy_of(self.element.clone(), [outer, &[columns.len()]].concat(), &bytes)
    }

    pub(super) fn reshaped(self, shape: Vec<usize>) -> Self {
        Self { shape, ..self }
    }

    /// Element and shape.
    pub fn tensor_type(&self) -> TensorType {
        let shape = self.shape.iter().map(|dim| (*dim).into()).collect();
        TensorType { element: self.element.clone(), shape }
    }

    /// The logical shape.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.as_ref()
    }

    /// The values; an error if the tensor is encoded or of another dtype.
    pub fn values<T: Scalar>(&self) -> Result<&[T]> {
        self.view().values()
    }

    /// As a kernel reads it.
    pub fn view(&self) -> TensorView<'_> {
        TensorView::from_parts(element_view(&self.element), &self.shape, self.bytes.as_ref())
    }

    pub(super) fn view_mut(&mut self) -> TensorViewMut<'_> {
        TensorViewMut::from_parts(element_view(&self.element), &self.shape, self.bytes.as_mut())
    }
}

fn element_view(element: &Element) -> ElementView<'_> {
    match element {
        Element::Dense(dtype) => ElementView::Dense(*dtype),
        Element::Encoded(name) => ElementView::Encoded(name),
    }
}
