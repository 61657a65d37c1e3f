//! Element types, tensor types, and views of the host's tensors.

use std::fmt::{self, Display, Formatter};
use std::marker::PhantomData;

use bytemuck::Pod;
use half::{bf16, f16};

use crate::dim::{Bindings, Dim};
use crate::float8::{F8E4M3, F8E5M2};
use crate::{Error, Result};

/// The dtype of a dense tensor's values.
///
/// An open set: a code this version does not know keeps its value and has no [`size`](Self::size).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(transparent)]
pub struct DType(pub(crate) u32);

const DTYPES: [(DType, &str, usize); 15] = [
    (DType::F32, "f32", 4),
    (DType::F64, "f64", 8),
    (DType::F16, "f16", 2),
    (DType::BF16, "bf16", 2),
    (DType::I8, "i8", 1),
    (DType::I16, "i16", 2),
    (DType::I32, "i32", 4),
    (DType::I64, "i64", 8),
    (DType::U8, "u8", 1),
    (DType::U16, "u16", 2),
    (DType::U32, "u32", 4),
    (DType::U64, "u64", 8),
    (DType::BOOL, "bool", 1),
    (DType::F8_E4M3, "f8_e4m3", 1),
    (DType::F8_E5M2, "f8_e5m2", 1),
];

impl DType {
    /// IEEE 754 binary32.
    pub const F32: Self = Self(1);
    /// IEEE 754 binary64.
    pub const F64: Self = Self(2);
    /// IEEE 754 binary16.
    pub const F16: Self = Self(3);
    /// The upper half of a binary32.
    pub const BF16: Self = Self(4);
    /// Signed 8-bit integer.
    pub const I8: Self = Self(5);
    /// Signed 16-bit integer.
    pub const I16: Self = Self(6);
    /// Signed 32-bit integer.
    pub const I32: Self = Self(7);
    /// Signed 64-bit integer.
    pub const I64: Self = Self(8);
    /// Unsigned 8-bit integer.
    pub const U8: Self = Self(9);
    /// Unsigned 16-bit integer.
    pub const U16: Self = Self(10);
    /// Unsigned 32-bit integer.
    pub const U32: Self = Self(11);
    /// Unsigned 64-bit integer.
    pub const U64: Self = Self(12);
    /// A byte that is 0 or 1.
    pub const BOOL: Self = Self(13);
    /// 8-bit float of 4 bits of exponent and 3 of fraction, without infinities: [`F8E4M3`].
    pub const F8_E4M3: Self = Self(14);
    /// 8-bit float of 5 bits of exponent and 2 of fraction: [`F8E5M2`].
    pub const F8_E5M2: Self = Self(15);

    /// The dtype of a code, whether this version knows it or not.
    pub const fn from_code(code: u32) -> Self {
        Self(code)
    }

    /// Its code.
    pub const fn code(self) -> u32 {
        self.0
    }

    /// All dtypes of this version.
    pub fn all() -> impl Iterator<Item = Self> {
        DTYPES.iter().map(|(dtype, ..)| *dtype)
    }

    /// The dtype of this name, as [`Display`] writes it.
    pub fn from_name(name: &str) -> Option<Self> {
        DTYPES.iter().find(|(_, known, _)| *known == name).map(|(dtype, ..)| *dtype)
    }

    /// Bytes of one value; none for a code that this version does not know.
    pub fn size(self) -> Option<usize> {
        DTYPES.iter().find(|(dtype, ..)| *dtype == self).map(|(.., size)| *size)
    }
}

impl Display for DType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match DTYPES.iter().find(|(dtype, ..)| dtype == self) {
            Some((_, name, _)) => f.pad(name),
            None => write!(f, "dtype#{}", self.0),
        }
    }
}

impl fmt::Debug for DType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        Display::fmt(self, f)
    }
}

/// A Rust type whose values a dense tensor can hold.
pub trait Scalar: Pod + Send + Sync {
    /// Its dtype.
    const DTYPE: DType;
}

macro_rules! scalars {
    ($($type:ty => $dtype:ident),* $(,)?) => { $(impl Scalar for $type { const DTYPE: DType = DType::$dtype; })* };
}
scalars!(f32 => F32, f64 => F64, f16 => F16, bf16 => BF16, i8 => I8, i16 => I16, i32 => I32, i64 => I64,
    u8 => U8, u16 => U16, u32 => U32, u64 => U64, F8E4M3 => F8_E4M3, F8E5M2 => F8_E5M2);

/// What a tensor is made of: values of a dtype, or blocks of a quantization encoding.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Element {
    /// Values of one dtype.
    Dense(DType),
    /// Encoded blocks: bytes that only the encoding of this name can read.
    Encoded(String),
}

impl Display for Element {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Dense(dtype) => dtype.fmt(f),
            Self::Encoded(encoding) => f.write_str(encoding),
        }
    }
}

/// An element and a logical shape: what a node of a graph yields.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TensorType {
    /// Dtype or encoding.
    pub element: Element,
    /// The logical shape, outermost dimension first.
    pub shape: Vec<Dim>,
}

impl TensorType {
    /// A dense type.
    pub fn dense<D: Into<Dim>>(dtype: DType, shape: impl IntoIterator<Item = D>) -> Self {
        Self { element: Element::Dense(dtype), shape: shape.into_iter().map(Into::into).collect() }
    }

    /// A dense type of f32 values.
    pub fn f32<D: Into<Dim>>(shape: impl IntoIterator<Item = D>) -> Self {
        Self::dense(DType::F32, shape)
    }

    /// A type of blocks of `encoding`; `shape` counts values, not bytes.
    pub fn encoded<D: Into<Dim>>(encoding: impl Into<String>, shape: impl IntoIterator<Item = D>) -> Self {
        Self {
            element: Element::Encoded(encoding.into()),
            shape: shape.into_iter().map(Into::into).collect(),
        }
    }

    /// The dtype of a dense type.
    pub fn dtype(&self) -> Option<DType> {
        match &self.element {
            Element::Dense(dtype) => Some(*dtype),
            Element::Encoded(_) => None,
        }
    }

    /// The encoding's name of an encoded type.
    pub fn encoding(&self) -> Option<&str> {
        match &self.element {
            Element::Dense(_) => None,
            Element::Encoded(encoding) => Some(encoding),
        }
    }

    /// Number of dimensions.
    pub fn rank(&self) -> usize {
        self.shape.len()
    }

    /// The shape in numbers, if no dimension has a symbol.
    pub fn fixed_shape(&self) -> Option<Vec<usize>> {
        self.shape.iter().map(Dim::fixed).collect()
    }

    /// The shape in numbers under `bindings`.
    pub fn evaluate(&self, bindings: &Bindings) -> Result<Vec<usize>> {
        self.shape.iter().map(|dim| dim.evaluate(bindings)).collect()
    }
}

impl Display for TensorType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.element, ShapeDisplay(&self.shape))
    }
}

/// Writes a shape as `[batch, 64]`.
pub struct ShapeDisplay<'a, D>(pub &'a [D]);

impl<D: Display> Display for ShapeDisplay<'_, D> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("[")?;
        for (index, dim) in self.0.iter().enumerate() {
            if index > 0 {
                f.write_str(", ")?;
            }
            dim.fmt(f)?;
        }
        f.write_str("]")
    }
}

/// The element of a view: a dtype, or the name of an encoding that outlives the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ElementView<'a> {
    /// Values of one dtype.
    Dense(DType),
    /// Blocks of the encoding of this name.
    Encoded(&'a str),
}

/// A tensor of the host that a kernel reads. Contiguous, row-major, aligned for its dtype.
#[derive(Clone, Copy, Debug)]
pub struct TensorView<'a> {
    element: ElementView<'a>,
    shape: &'a [usize],
    bytes: &'a [u8],
}

impl<'a> TensorView<'a> {
    /// A view of dense values. `data.len()` is the product of `shape`.
    pub fn dense<T: Scalar>(shape: &'a [usize], data: &'a [T]) -> Self {
        Self::from_parts(ElementView::Dense(T::DTYPE), shape, bytemuck::cast_slice(data))
    }

    /// A view from its parts; `shape` is the logical one.
    pub fn from_parts(element: ElementView<'a>, shape: &'a [usize], bytes: &'a [u8]) -> Self {
        Self { element, shape, bytes }
    }

    /// Dtype or encoding.
    pub fn element(&self) -> ElementView<'a> {
        self.element
    }

    /// The logical shape.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// All bytes.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The values; an error if the tensor is encoded or of another dtype.
    pub fn values<T: Scalar>(&self) -> Result<&'a [T]> {
        check_dtype::<T>(self.element)?;
        bytemuck::try_cast_slice(self.bytes).map_err(|error| misaligned(T::DTYPE, error))
    }
}

/// A tensor of the host that a kernel writes: an output, or a state. Contiguous, row-major, aligned to 64 bytes.
#[derive(Debug)]
pub struct TensorViewMut<'a> {
    element: ElementView<'a>,
    shape: &'a [usize],
    bytes: &'a mut [u8],
}

impl<'a> TensorViewMut<'a> {
    /// A view from its parts; `shape` is the logical one.
    pub fn from_parts(element: ElementView<'a>, shape: &'a [usize], bytes: &'a mut [u8]) -> Self {
        Self { element, shape, bytes }
    }

    /// Dtype or encoding.
    pub fn element(&self) -> ElementView<'a> {
        self.element
    }

    /// The logical shape.
    pub fn shape(&self) -> &'a [usize] {
        self.shape
    }

    /// All bytes.
    pub fn into_bytes(self) -> &'a mut [u8] {
        self.bytes
    }

    /// The values; an error if the tensor is encoded or of another dtype.
    pub fn into_values<T: Scalar>(self) -> Result<&'a mut [T]> {
        check_dtype::<T>(self.element)?;
        bytemuck::try_cast_slice_mut(self.bytes).map_err(|error| misaligned(T::DTYPE, error))
    }
}

fn check_dtype<T: Scalar>(element: ElementView<'_>) -> Result<()> {
    match element {
        ElementView::Dense(dtype) if dtype == T::DTYPE => Ok(()),
        ElementView::Dense(dtype) => {
            Err(Error::invalid(format_args!("the tensor holds {dtype} values, not {}", T::DTYPE)))
        }
        ElementView::Encoded(name) => Err(Error::invalid(format_args!(
            "the tensor holds blocks of the encoding `{name}`, not {} values; decode it first",
            T::DTYPE
        ))),
    }
}

fn misaligned(dtype: DType, error: bytemuck::PodCastError) -> Error {
    Error::failed(format_args!("the tensor's bytes cannot be read as {dtype}: {error}"))
}

/// Scratch memory of each worker: [`Scratch::per_worker`](crate::Scratch) bytes apiece, aligned to 64.
pub struct WorkerScratch<'a> {
    base: *mut u8,
    stride: usize,
    bytes: usize,
    workers: usize,
    borrow: PhantomData<&'a mut [u8]>,
}

// SAFETY: the memory is plain bytes; the one way to reach it is unsafe and asks for one user a worker at a time.
unsafe impl Sync for WorkerScratch<'_> {}
// SAFETY: as above.
unsafe impl Send for WorkerScratch<'_> {}

impl<'a> WorkerScratch<'a> {
    /// Cuts `memory` into one piece of `bytes` for each of `workers`, each `stride` bytes from the last.
    ///
    /// An error says that the pieces overlap or that the memory is too small for them.
    pub fn new(memory: &'a mut [u8], stride: usize, bytes: usize, workers: usize) -> Result<Self> {
        let fits = stride >= bytes && stride.checked_mul(workers).is_some_and(|need| need <= memory.len());
        if !fits {
            return Err(Error::invalid(format_args!(
                "{} bytes do not hold {workers} pieces of {bytes} bytes, {stride} apart",
                memory.len()
            )));
        }
        Ok(Self { base: memory.as_mut_ptr(), stride, bytes, workers, borrow: PhantomData })
    }

    /// No memory for any number of workers.
    pub fn none() -> Self {
        let workers = usize::MAX;
        Self {
            base: std::ptr::NonNull::<u128>::dangling().as_ptr().cast(),
            stride: 0,
            bytes: 0,
            workers,
            borrow: PhantomData,
        }
    }

    /// The first worker's memory; that of worker `w` is `w` times [`Self::stride`] bytes further on.
    pub fn as_ptr(&self) -> *mut u8 {
        self.base
    }

    /// Bytes from one worker's memory to the next's.
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Bytes of each worker.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory of `worker`, holding what it held before.
    ///
    /// # Safety
    /// No two slices of one worker may be alive at a time. A task that `par_for` runs for `worker` may take that
    /// worker's, since tasks of one worker run one after the other.
    ///
    /// # Panics
    /// If there are fewer workers.
    #[allow(clippy::mut_from_ref)]
    pub unsafe fn worker(&self, worker: usize) -> &mut [u8] {
        assert!(worker < self.workers, "worker {worker} of {}", self.workers);
        // SAFETY: the piece lies inside the memory (checked in `new`), which `'a` borrows mutably; pieces of two workers
        // do not overlap, and the caller holds no other slice of this one.
        unsafe { std::slice::from_raw_parts_mut(self.base.add(worker * self.stride), self.bytes) }
    }
}
