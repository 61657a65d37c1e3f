//! How encodings are unpacked: what a file of `formats/` implements.
//!
//! A weight is prepared for the kernels row group by row group: as many rows as the instruction set has lanes.
//! A group is a sequence of *records*, one for each encoded block of its rows: a header for the block, then a
//! *strip* for each 32 values. Headers and strips are sequences of fields, and a field holds that field of all
//! rows side by side, so that one load fills the lanes ([`fields`]). [`Unpack::pack`] writes the fields in the order
//! in which [`Unpack::header`] and [`Unpack::strip`] read them.
//!
//! A strip unpacks to unsigned codes, and factors for them. With codes `q`, the encoding's offset `o`, a scale `s` for
//! each part of the strip (the whole, or two halves) and a minimum `m` for each part, its values are
//! `s * (q - o) + m`; an encoding has an offset or minima, never both. Encodings with blocks of 256 values are multiplied
//! with blocks of as many activations, and their minima are in the header: integers, and one scale for all. So are the scales of
//! `q2_k` and `q3_k` ([`IntegerForm`]), whose codes are few bits: those of the upper half of a strip stay where they lie in their
//! bytes, as multiples of a power of two.

pub(crate) mod fields;

use bytemuck::Pod;

use crate::arch::{CodeSource, DotIsa};
use crate::form::{Form, MAX_STRIPS, STRIP_CODES, STRIP_LEN};
use fields::{FieldReader, FieldWriter};

/// An encoding that the integer kernels can unpack.
pub(crate) trait Unpack: 'static {
    /// The form of its strips.
    type Form: Form;
    /// An encoded block.
    type Block: Pod;
    /// What is to be taken from each code.
    const OFFSET: i32;
    /// What is to be taken from the codes of a [`scaled_strip`](Self::scaled_strip).
    const SCALED_OFFSET: i32 = Self::OFFSET;
    /// Prepared bytes of a row's header of a block.
    const HEADER_BYTES: usize = 0;
    /// Prepared bytes of a row's strip.
    const STRIP_BYTES: usize;
    /// Whether a strip unpacks in about a dozen instructions, few enough to hide behind the products of a tile.
    const IS_CHEAP: bool = false;

    /// Writes one row of a record.
    fn pack(block: &Self::Block, record: &mut FieldWriter<'_>);

    /// Reads the header of a record: what [`strip`](Self::strip) is to be given.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; `fields` are at a record.
    #[inline(always)]
    unsafe fn header<I: DotIsa>(_fields: &mut FieldReader<I>) -> Header<I> {
        // SAFETY: the caller's contract is this one's.
        unsafe { Header::scaled(I::zero()) }
    }

    /// Reads a strip.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`]; `fields` are at a strip of the record that has this header.
    unsafe fn strip<I: DotIsa>(fields: &mut FieldReader<I>, header: &Header<I>) -> Strip<I>;

    /// Reads a strip whose codes take their scales, if these are integers.
    ///
    /// # Safety
    /// As for [`strip`](Self::strip).
    #[inline(always)]
    unsafe fn scaled_strip<I: DotIsa>(fields: &mut FieldReader<I>, header: &Header<I>) -> Strip<I> {
        // SAFETY: the caller's contract is this one's.
        unsafe { Self::strip(fields, header) }
    }
}

/// Values of an encoded block.
pub(crate) const fn block_len<E: Unpack>() -> usize {
    E::Form::STRIPS * STRIP_LEN
}

/// Prepared bytes of a row's record.
pub(crate) const fn record_bytes<E: Unpack>() -> usize {
    E::HEADER_BYTES + E::Form::STRIPS * E::STRIP_BYTES
}

/// An unpacked header of a row group.
pub(crate) struct Header<I: DotIsa> {
    /// What the scales of the strips are multiples of.
    pub(crate) scale: I::F32,
    /// What the minima are multiples of.
    pub(crate) min_scale: I::F32,
    /// Two minima a lane, half of those that the form says.
    pub(crate) mins: [I::Codes; MAX_STRIPS],
}

impl<I: DotIsa> Clone for Header<I> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<I: DotIsa> Copy for Header<I> {}

impl<I: DotIsa> Header<I> {
    /// A header without minima.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    #[inline(always)]
    pub(crate) unsafe fn scaled(scale: I::F32) -> Self {
        // SAFETY: the caller's contract is this one's.
        unsafe { Self { scale, min_scale: I::zero(), mins: [I::splat(0); MAX_STRIPS] } }
    }
}

/// An unpacked strip of a row group.
pub(crate) struct Strip<I: DotIsa> {
    /// Codes `4 * k .. 4 * k + 4` of each row at `k`.
    pub(crate) codes: [I::Codes; STRIP_CODES],
    /// As many as the form says.
    pub(crate) scales: [I::F32; 2],
    /// As many as the form says.
    pub(crate) mins: [I::F32; 2],
    /// Integer scales, two a lane.
    pub(crate) integer_scales: I::Codes,
}

impl<I: DotIsa> Clone for Strip<I> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<I: DotIsa> Copy for Strip<I> {}

impl<I: DotIsa> Strip<I> {
    /// Zeros.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    #[inline(always)]
    pub(crate) unsafe fn empty() -> Self {
        // SAFETY: the caller's contract is this one's.
        unsafe { Self::scaled([I::splat(0); STRIP_CODES], I::zero()) }
    }

    /// A strip with one scale.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    #[inline(always)]
    pub(crate) unsafe fn scaled(codes: [I::Codes; STRIP_CODES], scale: I::F32) -> Self {
        // SAFETY: the caller's contract is this one's.
        unsafe { Self::affine(codes, scale, I::zero()) }
    }

    /// A strip with one scale and one minimum.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    #[inline(always)]
    pub(crate) unsafe fn affine(codes: [I::Codes; STRIP_CODES], scale: I::F32, min: I::F32) -> Self {
        // SAFETY: the caller's contract is this one's.
        unsafe {
            let (scales, mins) = ([scale, I::zero()], [min, I::zero()]);
            Self { codes, scales, mins, integer_scales: I::splat(0) }
        }
    }

    /// A strip with a scale for each half.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    #[inline(always)]
    pub(crate) unsafe fn halves(codes: [I::Codes; STRIP_CODES], scales: [I::F32; 2]) -> Self {
        // SAFETY: the caller's contract is this one's.
        Self { scales, ..unsafe { Self::scaled(codes, I::zero()) } }
    }

    /// A strip with an integer scale for each half.
    ///
    /// # Safety
    /// As for the methods of [`DotIsa`].
    #[inline(always)]
    pub(crate) unsafe fn integer(codes: [I::Codes; STRIP_CODES], integer_scales: I::Codes) -> Self {
        // SAFETY: the caller's contract is this one's.
        Self { integer_scales, ..unsafe { Self::scaled(codes, I::zero()) } }
    }
}

impl<I: DotIsa> CodeSource<I> for Strip<I> {
    #[inline(always)]
    unsafe fn codes(&self, k: usize) -> I::Codes {
        self.codes[k]
    }
}
