//! Owned tensors: immutable, cheap to clone, aligned to 64 bytes.

use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::sync::Arc;

use bitquilt_plugin_api::{
    DType, Element, ElementView, EncodingSpec, Scalar, ShapeDisplay, TensorType, TensorView,
};
use memmap2::Mmap;

use crate::memory::{self, AlignedBytes};

mod element;
mod error;

pub use error::TensorError;

use element::check_bytes;
pub(crate) use element::{Opaque, TensorElement, dense_bytes, encoded_bytes, value_count};
pub(crate) use error::brief;

/// The dtypes of values that encodings take, which are encodings, too.
pub(crate) const FLOATS: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

/// A tensor: a dtype or an encoding, a shape, and bytes that never change.
///
/// Clones share the bytes. A tensor of a checkpoint shares the mapped file.
#[derive(Clone)]
pub struct Tensor {
    element: TensorElement,
    shape: Vec<usize>,
    storage: Storage,
}

#[derive(Clone)]
enum Storage {
    Owned(Arc<AlignedBytes>),
    Mapped(Arc<Mmap>, Range<usize>),
    /// So many bytes of another owner's.
    Lent(Arc<dyn Lender>, usize),
}

/// Who owns bytes that a tensor is made of where they lie.
trait Lender: AsRef<[u8]> + Send + Sync {}
impl<T: AsRef<[u8]> + Send + Sync> Lender for T {}

impl Tensor {
    /// A tensor of these values.
    pub fn new<T: Scalar>(
        shape: impl Into<Vec<usize>>,
        values: impl AsRef<[T]>,
    ) -> Result<Self, TensorError> {
        Self::from_bytes(T::DTYPE, shape, bytemuck::cast_slice(values.as_ref()))
    }

    /// A tensor of one value everywhere.
    ///
    /// # Panics
    /// If there is no memory for it; [`Self::try_full`] answers an error.
    pub fn full<T: Scalar>(shape: impl Into<Vec<usize>>, value: T) -> Self {
        Self::try_full(shape, value).unwrap_or_else(|error| panic!("{error}"))
    }

    /// A tensor of one value everywhere, of a shape that a program does not choose itself.
    pub fn try_full<T: Scalar>(shape: impl Into<Vec<usize>>, value: T) -> Result<Self, TensorError> {
        let (element, shape) = (TensorElement::Dense(T::DTYPE), shape.into());
        let mut data = element.memory(&shape)?;
        bytemuck::cast_slice_mut::<u8, T>(&mut data).fill(value);
        Ok(Self::owned(element, shape, data))
    }

    /// A tensor of rank 0.
    pub fn scalar<T: Scalar>(value: T) -> Self {
        Self::full([], value)
    }

    /// A dense tensor of these bytes, in the machine's (little-endian) order.
    pub fn from_bytes(dtype: DType, shape: impl Into<Vec<usize>>, bytes: &[u8]) -> Result<Self, TensorError> {
        let shape = shape.into();
        let element = TensorElement::Dense(dtype);
        check_bytes(&element, &shape, bytes)?;
        let data = element.copy_of(&shape, bytes)?;
        Ok(Self::owned(element, shape, data))
    }

    /// A tensor of blocks of an encoding; `shape` counts values. The one way by which raw bytes become encoded data.
    pub fn from_encoded(
        encoding: &EncodingSpec,
        shape: impl Into<Vec<usize>>,
        bytes: &[u8],
    ) -> Result<Self, TensorError> {
        let shape = shape.into();
        let element = TensorElement::Encoded(Arc::new(encoding.clone()));
        check_bytes(&element, &shape, bytes)?;
        let data = element.copy_of(&shape, bytes)?;
        Ok(Self::owned(element, shape, data))
    }

    /// Whether another tensor is this one: of the same type, in the same memory.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        self.tensor_type() == other.tensor_type() && self.bytes().as_ptr() == other.bytes().as_ptr()
    }

    /// The same values as data of an encoding, in the same memory, where that is what they are already: f16 and bf16 are both dtypes
    /// and encodings, which qmatmul and qgather take. None for an encoding that stores them in another way.
    pub fn as_encoded(&self, encoding: &EncodingSpec) -> Option<Self> {
        let dtype = self.dtype()?;
        let is_own = dtype.to_string() == encoding.name
            && encoding.block_len == 1
            && dtype.size() == Some(encoding.block_bytes);
        let element = TensorElement::Encoded(Arc::new(encoding.clone()));
        is_own.then(|| Self { element, shape: self.shape.clone(), storage: self.storage.clone() })
    }

    /// The opposite of [`Self::as_encoded`]: data of an encoding of the name and size of a dtype as values of that, copied where they are
    /// not aligned for it. None for others, and if there is no memory for the copy.
    pub(crate) fn as_dense(&self) -> Option<Self> {
        let element = TensorElement::Dense(self.float_dtype().filter(|_| self.encoding().is_some())?);
        if self.bytes().as_ptr().addr().is_multiple_of(element.alignment()) {
            return Some(Self { element, shape: self.shape.clone(), storage: self.storage.clone() });
        }
        let data = element.copy_of(&self.shape, self.bytes()).ok()?;
        Some(Self::owned(element, self.shape.clone(), data))
    }

    /// The dtype of f32, f16 and bf16 values, whether they are dense or [data of the encoding](Self::as_encoded) of that name.
    pub fn float_dtype(&self) -> Option<DType> {
        match self.encoding() {
            None => self.dtype().filter(|dtype| FLOATS.contains(dtype)),
            Some(encoding) => FLOATS.into_iter().find(|dtype| {
                let is_own = encoding.block_len == 1 && dtype.size() == Some(encoding.block_bytes);
                is_own && dtype.to_string() == encoding.name
            }),
        }
    }

    /// A dense tensor of memory that was filled for it.
    pub(crate) fn from_memory(
        dtype: DType,
        shape: Vec<usize>,
        data: AlignedBytes,
    ) -> Result<Self, TensorError> {
        let element = TensorElement::Dense(dtype);
        check_bytes(&element, &shape, &data)?;
        Ok(Self::owned(element, shape, data))
    }

    /// An encoded tensor of memory that was filled for it.
    pub(crate) fn from_encoded_memory(
        encoding: Arc<EncodingSpec>,
        shape: Vec<usize>,
        data: AlignedBytes,
    ) -> Result<Self, TensorError> {
        let element = TensorElement::Encoded(encoding);
        check_bytes(&element, &shape, &data)?;
        Ok(Self::owned(element, shape, data))
    }

    /// A tensor of a part of a mapped file; copied if it is not aligned for its dtype there.
    pub(crate) fn from_mapped(
        element: TensorElement,
        shape: Vec<usize>,
        file: &Arc<Mmap>,
        range: Range<usize>,
    ) -> Result<Self, TensorError> {
        let bytes = file.get(range.clone()).unwrap_or_default();
        check_bytes(&element, &shape, bytes)?;
        if bytes.as_ptr().addr().is_multiple_of(element.alignment()) {
            return Ok(Self { element, shape, storage: Storage::Mapped(Arc::clone(file), range) });
        }
        let data = element.copy_of(&shape, bytes)?;
        Ok(Self::owned(element, shape, data))
    }

    /// A dense tensor of bytes that somebody else owns, where they lie; of a copy, if they are not aligned for the dtype there.
    ///
    /// The owner answers the same bytes each time, nobody changes them while the tensor or a clone of it lives, and it may be dropped on
    /// any thread.
    pub fn from_owner(
        dtype: DType,
        shape: impl Into<Vec<usize>>,
        owner: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<Self, TensorError> {
        Self::lent(TensorElement::Dense(dtype), shape.into(), owner)
    }

    /// As [`Self::from_owner`], of blocks of an encoding; `shape` counts values.
    pub fn from_encoded_owner(
        encoding: &EncodingSpec,
        shape: impl Into<Vec<usize>>,
        owner: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<Self, TensorError> {
        Self::lent(TensorElement::Encoded(Arc::new(encoding.clone())), shape.into(), owner)
    }

    fn lent(
        element: TensorElement,
        shape: Vec<usize>,
        owner: impl AsRef<[u8]> + Send + Sync + 'static,
    ) -> Result<Self, TensorError> {
        let bytes = owner.as_ref();
        check_bytes(&element, &shape, bytes)?;
        if !bytes.as_ptr().addr().is_multiple_of(element.alignment()) {
            let data = element.copy_of(&shape, bytes)?;
            return Ok(Self::owned(element, shape, data));
        }
        let len = bytes.len();
        Ok(Self { element, shape, storage: Storage::Lent(Arc::new(owner), len) })
    }

    fn owned(element: TensorElement, shape: Vec<usize>, data: AlignedBytes) -> Self {
        Self { element, shape, storage: Storage::Owned(Arc::new(data)) }
    }

    /// Dtype or encoding; or, of a tensor of a file, the name of a type that this version does not read.
    pub fn element(&self) -> Element {
        self.element.name()
    }

    /// Whether the values can be used, once an encoding is there: the type is not known by its name alone.
    pub(crate) fn check_usable(&self) -> Result<(), TensorError> {
        match &self.element {
            TensorElement::Dense(_) | TensorElement::Encoded(_) => Ok(()),
            TensorElement::Opaque(opaque) => Err(TensorError::Opaque { name: opaque.name.clone() }),
        }
    }

    /// Dtype or encoding, with the layout of its blocks.
    pub(crate) fn tensor_element(&self) -> &TensorElement {
        &self.element
    }

    /// The dtype of a dense tensor.
    pub fn dtype(&self) -> Option<DType> {
        self.element.dtype()
    }

    /// The encoding of an encoded tensor.
    pub fn encoding(&self) -> Option<&EncodingSpec> {
        self.element.spec()
    }

    /// The logical shape, in values.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The shape of the bytes: `[.., bytes a row]` for an encoded tensor, the logical shape for a dense one.
    pub fn byte_shape(&self) -> Vec<usize> {
        self.element.byte_shape(&self.shape)
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The element and shape as a type.
    pub fn tensor_type(&self) -> TensorType {
        self.element.tensor_type(&self.shape)
    }

    /// All bytes.
    pub fn bytes(&self) -> &[u8] {
        match &self.storage {
            Storage::Owned(data) => data,
            Storage::Mapped(file, range) => &file[range.clone()],
            Storage::Lent(owner, len) => &(**owner).as_ref()[..*len],
        }
    }

    /// Lets the system have back the pages of a mapped tensor, until somebody reads them again. Others do nothing.
    pub(crate) fn forget_pages(&self) {
        if let Storage::Mapped(file, range) = &self.storage {
            memory::forget_pages(file, range.clone());
        }
    }

    /// Moves a small mapped tensor to memory of its own: to read it is to have a large piece of the file around it resident.
    pub(crate) fn detach_small(&mut self) {
        const SMALL: usize = 64 << 10;
        if matches!(&self.storage, Storage::Mapped(_, range) if range.len() <= SMALL)
            && let Some(data) = AlignedBytes::copy_of(self.bytes())
        {
            self.forget_pages();
            self.storage = Storage::Owned(Arc::new(data));
        }
    }

    /// The values, row-major; an error if the tensor is encoded or of another dtype.
    pub fn values<T: Scalar>(&self) -> Result<&[T], TensorError> {
        match self.element {
            TensorElement::Dense(dtype) if dtype == T::DTYPE => Ok(bytemuck::cast_slice(self.bytes())),
            _ => Err(TensorError::WrongDType { expected: T::DTYPE, found: self.element.name() }),
        }
    }

    /// A view as kernels see it.
    pub fn view(&self) -> TensorView<'_> {
        let element = match &self.element {
            TensorElement::Dense(dtype) => ElementView::Dense(*dtype),
            TensorElement::Encoded(spec) => ElementView::Encoded(&spec.name),
            TensorElement::Opaque(opaque) => ElementView::Encoded(&opaque.name),
        };
        TensorView::from_parts(element, &self.shape, self.bytes())
    }
}

impl PartialEq for Tensor {
    /// Whether type and bytes are the same.
    fn eq(&self, other: &Self) -> bool {
        self.element == other.element && self.shape == other.shape && self.bytes() == other.bytes()
    }
}

impl Debug for Tensor {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "Tensor({}, {} bytes)", self.tensor_type(), self.bytes().len())
    }
}

/// A view's type, for messages.
pub(crate) fn describe(view: &TensorView<'_>) -> String {
    match view.element() {
        ElementView::Dense(dtype) => format!("{dtype} {}", ShapeDisplay(view.shape())),
        ElementView::Encoded(name) => format!("{name} {}", ShapeDisplay(view.shape())),
    }
}

#[cfg(test)]
mod tests;
