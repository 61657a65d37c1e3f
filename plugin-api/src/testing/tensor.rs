//! Tensors that tests own.

use crate::{
    DType, Element, ElementView, EncodingSpec, Error, Result, Scalar, TensorType, TensorView, TensorViewMut,
};

/// A cache line: the alignment of everything that a host hands out.
#[derive(Clone, Copy, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C, align(64))]
struct Line([u8; 64]);

/// Bytes that start at a multiple of 64, and hold garbage until they are written.
#[derive(Clone)]
pub(super) struct AlignedBytes {
    lines: Vec<Line>,
    len: usize,
}

impl AlignedBytes {
    pub(super) fn garbage(len: usize) -> Self {
        Self { lines: vec![Line([0xA5; 64]); len.div_ceil(64)], len }
    }

    fn copy_of(bytes: &[u8]) -> Self {
        let mut copy = Self::garbage(bytes.len());
        copy.as_mut().copy_from_slice(bytes);
        copy
    }

    pub(super) fn as_ref(&self) -> &[u8] {
        &bytemuck::cast_slice(&self.lines)[..self.len]
    }

    pub(super) fn as_mut(&mut self) -> &mut [u8] {
        &mut bytemuck::cast_slice_mut(&mut self.lines)[..self.len]
    }
}

/// A tensor that a test owns.
#[derive(Clone)]
pub struct TestTensor {
    element: Element,
    shape: Vec<usize>,
    bytes: AlignedBytes,
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
        Ok(Self { element, shape, bytes: AlignedBytes::copy_of(bytemuck::cast_slice(values)) })
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
        Ok(Self { element, shape, bytes: AlignedBytes::copy_of(bytes) })
    }

    /// Dense values of any dtype from their bytes; an error if they are not as many as the shape says.
    pub fn from_bytes(dtype: DType, shape: &[usize], bytes: &[u8]) -> Result<Self> {
        let size = dtype.size().unwrap_or_default();
        if shape.iter().product::<usize>() * size != bytes.len() {
            return Err(Error::invalid(format_args!("{} bytes do not fill {dtype} {shape:?}", bytes.len())));
        }
        let (element, shape) = (Element::Dense(dtype), shape.to_vec());
        Ok(Self { element, shape, bytes: AlignedBytes::copy_of(bytes) })
    }

    pub(super) fn garbage(element: Element, shape: Vec<usize>, bytes: usize) -> Self {
        Self { element, shape, bytes: AlignedBytes::garbage(bytes) }
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
