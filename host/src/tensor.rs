//! Owned tensors: immutable, cheap to clone, aligned to 64 bytes.

use std::fmt::{self, Debug, Formatter};
use std::ops::Range;
use std::sync::Arc;

use bitquilt_plugin_api::{
    DType, Dim, Element, ElementView, EncodingSpec, Scalar, ShapeDisplay, TensorType, TensorView,
};
use memmap2::Mmap;

use crate::memory::{self, AlignedBytes};
use crate::text::Brief;

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

/// What a tensor is made of, with what is needed to count its bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TensorElement {
    /// Values.
    Dense(DType),
    /// Blocks.
    Encoded(Arc<EncodingSpec>),
    /// Bytes of a type that is known by its name alone.
    Opaque(Arc<Opaque>),
}

/// A type of a file that nobody here can read, of a tensor of so many bytes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Opaque {
    pub(crate) name: String,
    pub(crate) bytes: usize,
    /// Whether the name is a dtype of safetensors.
    pub(crate) is_dtype: bool,
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

/// Why bytes and a shape are no tensor, or a tensor is not what was asked for.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorError {
    /// The shape has more values than memory can hold.
    #[error("a tensor of shape {} has more bytes than this machine can address", ShapeDisplay(.shape))]
    TooLarge {
        /// The shape.
        shape: Vec<usize>,
    },
    /// There is not so much memory.
    #[error("{} {} needs {bytes} bytes of memory, which cannot be had here", brief(.element), ShapeDisplay(.shape))]
    OutOfMemory {
        /// Dtype or encoding.
        element: Element,
        /// The logical shape.
        shape: Vec<usize>,
        /// The bytes.
        bytes: usize,
    },
    /// The number of bytes is not the shape's.
    #[error("{} {} needs {expected} bytes, {found} were given", brief(.element), ShapeDisplay(.shape))]
    ByteCount {
        /// Dtype or encoding.
        element: Element,
        /// The logical shape.
        shape: Vec<usize>,
        /// Bytes the shape needs.
        expected: usize,
        /// Bytes there were.
        found: usize,
    },
    /// The tensor holds something else.
    #[error("the tensor holds {} values, {expected} were asked for", brief(.found))]
    WrongDType {
        /// What was asked for.
        expected: DType,
        /// What the tensor holds.
        found: Element,
    },
    /// The rows of a tensor are no whole number of blocks.
    #[error("the rows of {} are {row_len} values long, no multiple of the {block_len} values in a block of `{}`", ShapeDisplay(.shape), Brief(.encoding))]
    RowLength {
        /// The encoding's name.
        encoding: String,
        /// The logical shape.
        shape: Vec<usize>,
        /// Values in a row; 1 for a scalar.
        row_len: usize,
        /// Values in a block.
        block_len: usize,
    },
    /// A dtype that this version does not know has no size.
    #[error("{dtype} is no dtype this version knows")]
    UnknownDType {
        /// The dtype.
        dtype: DType,
    },
    /// The type of the tensor is known by its name alone.
    #[error(
        "the tensor is of the type {}, whose values this version does not read; it can be saved again, and is of no other use",
        Brief(.name)
    )]
    Opaque {
        /// The type, as the file that the tensor is of names it.
        name: String,
    },
    /// A bool tensor has bytes other than 0 and 1.
    #[error("byte {index} of a bool tensor is {value}; only 0 and 1 are booleans")]
    NotBool {
        /// Position of the first such byte.
        index: usize,
        /// Its value.
        value: u8,
    },
}

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
        match self.element {
            TensorElement::Dense(dtype) => Some(dtype),
            TensorElement::Encoded(_) | TensorElement::Opaque(_) => None,
        }
    }

    /// The encoding of an encoded tensor.
    pub fn encoding(&self) -> Option<&EncodingSpec> {
        match &self.element {
            TensorElement::Encoded(spec) => Some(spec),
            TensorElement::Dense(_) | TensorElement::Opaque(_) => None,
        }
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

impl TensorElement {
    /// The dtype, or the name of the encoding or type.
    pub(crate) fn name(&self) -> Element {
        match self {
            Self::Dense(dtype) => Element::Dense(*dtype),
            Self::Encoded(spec) => Element::Encoded(spec.name.clone()),
            Self::Opaque(opaque) => Element::Encoded(opaque.name.clone()),
        }
    }

    /// The alignment that reading the bytes as values needs.
    pub(crate) fn alignment(&self) -> usize {
        match self {
            Self::Dense(dtype) => dtype.size().unwrap_or(1),
            Self::Encoded(_) | Self::Opaque(_) => 1,
        }
    }

    /// Whether a file has tensors of both in the same way: a bool tensor that has other bytes than 0 and 1 is a bool tensor there.
    pub(crate) fn is_stored_as(&self, other: &Self) -> bool {
        let is_bool = |element: &Self| match element {
            Self::Dense(dtype) => *dtype == DType::BOOL,
            Self::Encoded(_) => false,
            Self::Opaque(opaque) => opaque.is_dtype && opaque.name == "BOOL",
        };
        self == other || is_bool(self) && is_bool(other)
    }

    /// The type of a tensor of this shape.
    pub(crate) fn tensor_type(&self, shape: &[usize]) -> TensorType {
        TensorType { element: self.name(), shape: shape.iter().copied().map(Dim::Fixed).collect() }
    }

    /// The shape of the bytes of a tensor of this shape, whose rows were found to be whole blocks.
    pub(crate) fn byte_shape(&self, shape: &[usize]) -> Vec<usize> {
        match self {
            Self::Dense(_) => shape.to_vec(),
            Self::Encoded(spec) => spec.byte_shape(shape).unwrap_or_default(),
            Self::Opaque(opaque) if opaque.is_dtype => shape.to_vec(),
            Self::Opaque(opaque) => vec![opaque.bytes],
        }
    }

    /// The bytes of a tensor of this shape.
    pub(crate) fn bytes(&self, shape: &[usize]) -> Result<usize, TensorError> {
        match self {
            Self::Dense(dtype) => dense_bytes(*dtype, shape),
            Self::Encoded(spec) => encoded_bytes(spec, shape),
            Self::Opaque(opaque) => value_count(shape).map(|_| opaque.bytes),
        }
    }

    /// Zeroed memory for a tensor of this shape.
    pub(crate) fn memory(&self, shape: &[usize]) -> Result<AlignedBytes, TensorError> {
        let bytes = self.bytes(shape)?;
        AlignedBytes::zeroed(bytes).ok_or_else(|| self.out_of_memory(shape, bytes))
    }

    fn copy_of(&self, shape: &[usize], bytes: &[u8]) -> Result<AlignedBytes, TensorError> {
        AlignedBytes::copy_of(bytes).ok_or_else(|| self.out_of_memory(shape, bytes.len()))
    }

    fn out_of_memory(&self, shape: &[usize], bytes: usize) -> TensorError {
        TensorError::OutOfMemory { element: self.name(), shape: shape.to_vec(), bytes }
    }

    /// Whether a tensor of this shape has `found` bytes.
    pub(crate) fn check_byte_count(&self, shape: &[usize], found: usize) -> Result<(), TensorError> {
        let expected = self.bytes(shape)?;
        if found != expected {
            let (element, shape) = (self.name(), shape.to_vec());
            return Err(TensorError::ByteCount { element, shape, expected, found });
        }
        Ok(())
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

/// A dtype, or the name of an encoding, which may be a file's.
pub(crate) fn brief(element: &Element) -> String {
    Brief(&element.to_string()).to_string()
}

/// The values in a shape, if memory can count them.
pub(crate) fn value_count(shape: &[usize]) -> Result<usize, TensorError> {
    // Zero-length dimensions must not hide that the others overflow when they are multiplied in another order.
    let product =
        shape.iter().filter(|dim| **dim != 0).try_fold(1usize, |product, dim| product.checked_mul(*dim));
    match product {
        Some(_) if shape.contains(&0) => Ok(0),
        Some(count) => Ok(count),
        None => Err(TensorError::TooLarge { shape: shape.to_vec() }),
    }
}

/// The bytes of a dense tensor.
pub(crate) fn dense_bytes(dtype: DType, shape: &[usize]) -> Result<usize, TensorError> {
    let size = dtype.size().ok_or(TensorError::UnknownDType { dtype })?;
    value_count(shape)?
        .checked_mul(size)
        .filter(|bytes| isize::try_from(*bytes).is_ok())
        .ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec() })
}

/// The bytes of an encoded tensor.
pub(crate) fn encoded_bytes(spec: &EncodingSpec, shape: &[usize]) -> Result<usize, TensorError> {
    let row_len = shape.last().copied().unwrap_or(1);
    if shape.is_empty() || spec.block_len == 0 || !row_len.is_multiple_of(spec.block_len) {
        let (encoding, block_len) = (spec.name.clone(), spec.block_len);
        return Err(TensorError::RowLength { encoding, shape: shape.to_vec(), row_len, block_len });
    }
    (value_count(shape)? / spec.block_len)
        .checked_mul(spec.block_bytes)
        .filter(|bytes| isize::try_from(*bytes).is_ok())
        .ok_or_else(|| TensorError::TooLarge { shape: shape.to_vec() })
}

fn check_bytes(element: &TensorElement, shape: &[usize], bytes: &[u8]) -> Result<(), TensorError> {
    element.check_byte_count(shape, bytes.len())?;
    if *element == TensorElement::Dense(DType::BOOL)
        && let Some(index) = bytes.iter().position(|byte| *byte > 1)
    {
        return Err(TensorError::NotBool { index, value: bytes[index] });
    }
    Ok(())
}

/// A view's type, for messages.
pub(crate) fn describe(view: &TensorView<'_>) -> String {
    match view.element() {
        ElementView::Dense(dtype) => format!("{dtype} {}", ShapeDisplay(view.shape())),
        ElementView::Encoded(name) => format!("{name} {}", ShapeDisplay(view.shape())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tensor_gives_back_what_it_was_made_of() {
        let tensor = Tensor::new([1, 2, 2], [1i32, 2, 3, 4]).unwrap();
        assert_eq!(tensor.values::<i32>().unwrap(), [1, 2, 3, 4]);
        assert_eq!(tensor.to_string_type(), "i32 [1, 2, 2]");
        assert_eq!(Tensor::full([10, 5], -1.23f32).values::<f32>().unwrap(), [-1.23f32; 50]);
        assert_eq!(Tensor::scalar(7u8).shape(), [0usize; 0]);
        for tensor in [Tensor::full([3], 1u8), Tensor::full([0], 1.0f64)] {
            assert!(tensor.bytes().as_ptr().addr().is_multiple_of(64));
        }
    }

    #[test]
    fn what_is_both_dtype_and_encoding_is_taken_as_either_in_the_same_memory() {
        let dense = Tensor::full([2, 3], half::f16::ONE);
        let encoded = dense.as_encoded(&EncodingSpec::new("f16", 1, 2)).unwrap();
        assert_eq!(encoded.encoding().unwrap().name, "f16");
        assert_eq!((encoded.shape(), encoded.bytes().as_ptr()), (dense.shape(), dense.bytes().as_ptr()));
        for other in [("bf16", 1, 2), ("f16", 2, 4), ("f16", 1, 4)] {
            assert!(dense.as_encoded(&EncodingSpec::new(other.0, other.1, other.2)).is_none(), "{other:?}");
        }
        assert!(encoded.as_encoded(&EncodingSpec::new("f16", 1, 2)).is_none());
    }

    #[test]
    fn bytes_that_do_not_fit_are_refused() {
        let spec = EncodingSpec::new("q", 32, 18);
        let wrong = Tensor::from_encoded(&spec, [4, 64], &[0; 143]).unwrap_err();
        assert_eq!(wrong.to_string(), "q [4, 64] needs 144 bytes, 143 were given");
        let wrong = Tensor::from_encoded(&spec, [4, 33], &[0; 144]).unwrap_err();
        assert!(wrong.to_string().contains("33 values long, no multiple of the 32"));
        assert!(matches!(Tensor::new([2, 2], [1f32; 3]), Err(TensorError::ByteCount { .. })));
        assert!(matches!(
            Tensor::from_bytes(DType::BOOL, [2], &[1, 2]),
            Err(TensorError::NotBool { index: 1, .. })
        ));
        let huge = [usize::MAX, usize::MAX, 0];
        assert!(matches!(Tensor::from_bytes(DType::U8, huge, &[]), Err(TensorError::TooLarge { .. })));
    }

    #[test]
    fn memory_that_cannot_be_had_is_an_error() {
        let error = Tensor::try_full([1 << 30, 1 << 20], 1f32).map(drop).unwrap_err().to_string();
        let bytes = 1u64 << 52;
        assert_eq!(
            error,
            format!("f32 [1073741824, 1048576] needs {bytes} bytes of memory, which cannot be had here")
        );
        let error = Tensor::try_full([usize::MAX, 2], 1f32).map(drop).unwrap_err().to_string();
        assert!(error.ends_with("has more bytes than this machine can address"), "{error}");
    }

    #[test]
    fn a_mapped_tensor_is_the_same_in_memory_of_its_own() {
        let bytes: Vec<u8> = (0..100_000u32).map(|index| (index % 251) as u8).collect();
        let mut file = tempfile::tempfile().unwrap();
        std::io::Write::write_all(&mut file, &bytes).unwrap();
        // SAFETY: nobody else has the file.
        let file = Arc::new(unsafe { Mmap::map(&file) }.unwrap());
        let mapped = |range: Range<usize>| {
            let (element, shape) = (TensorElement::Dense(DType::U8), vec![range.len()]);
            Tensor::from_mapped(element, shape, &file, range).unwrap()
        };
        let (mut small, mut large) = (mapped(5000..9000), mapped(9000..100_000));
        small.detach_small();
        large.detach_small();
        assert!(matches!(small.storage, Storage::Owned(_)) && matches!(large.storage, Storage::Mapped(..)));
        assert_eq!((small.bytes(), large.bytes()), (&bytes[5000..9000], &bytes[9000..]));
    }

    #[test]
    fn a_wrong_dtype_is_an_error() {
        let error = Tensor::full([2], 1.0f32).values::<i32>().unwrap_err();
        assert_eq!(error.to_string(), "the tensor holds f32 values, i32 were asked for");
    }

    impl Tensor {
        fn to_string_type(&self) -> String {
            self.tensor_type().to_string()
        }
    }
}
