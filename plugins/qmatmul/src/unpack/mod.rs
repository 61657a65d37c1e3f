//! The encodings that have kernels of their own, a file each.
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
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod scales;

use bytemuck::Pod;

use crate::arch::{CodeSource, DotIsa};
use fields::{FieldReader, FieldWriter};

pub(crate) use self::{
    iq4_nl::Iq4Nl, iq4_xs::Iq4Xs, mxfp4::Mxfp4, q2_k::Q2K, q3_k::Q3K, q4_0::Q4_0, q4_1::Q4_1, q4_k::Q4K,
    q5_0::Q5_0, q5_1::Q5_1, q5_k::Q5K, q6_k::Q6K, q8_0::Q8_0,
};

/// Values of a row in a strip, and in a block of activations.
pub(crate) const STRIP_LEN: usize = 32;

/// The most strips of a block.
pub(crate) const MAX_STRIPS: usize = 8;

/// Registers of codes in a strip: four codes of each row in each.
pub(crate) const STRIP_CODES: usize = STRIP_LEN / 4;

/// What the products of a block need to know of its encoding; encodings of one form share compiled code.
pub(crate) trait Form: 'static {
    /// Strips of a block of activations: those of an encoded block.
    const STRIPS: usize;
    /// Scales of a strip: one, or one for each half; none where they are integers, and the header has one for all.
    const SCALES: usize;
    /// Minima of a strip: none, one, or one for each half. A block of one strip has them in the strip, others in the header.
    const MINS: usize;
    /// Bits of the largest code.
    const BITS: u32;
    /// Sums of activations that the products of a block take: one for each minimum, or else one for each scale.
    const SUMS: usize = match (Self::MINS, Self::SCALES) {
        (0, scales) => Self::STRIPS * scales,
        (mins, _) => Self::STRIPS * mins,
    };
    /// Whether the sums of products take the integer scales of the halves of a strip: the codes have not.
    const INTEGER_SCALES: bool = false;
    /// Bits by which the codes of the upper half of a strip are shifted left.
    const UPPER_SHIFT: u32 = 0;
    /// The form of strips whose codes have taken integer scales.
    type Scaled: Form;
    /// Whether the header has minima, two in a lane.
    const PAIRS: bool = Self::MINS > 0 && Self::STRIPS > 1;
}

/// Blocks of one strip.
pub(crate) struct StripForm<const SCALES: usize, const MINS: usize, const BITS: u32>;

impl<const SCALES: usize, const MINS: usize, const BITS: u32> Form for StripForm<SCALES, MINS, BITS> {
    const STRIPS: usize = 1;
    const SCALES: usize = SCALES;
    const MINS: usize = MINS;
    const BITS: u32 = BITS;
    type Scaled = Self;
}

/// Blocks of [`MAX_STRIPS`] strips.
pub(crate) struct BlockForm<const SCALES: usize, const MINS: usize, const BITS: u32>;

impl<const SCALES: usize, const MINS: usize, const BITS: u32> Form for BlockForm<SCALES, MINS, BITS> {
    const STRIPS: usize = MAX_STRIPS;
    const SCALES: usize = SCALES;
    const MINS: usize = MINS;
    const BITS: u32 = BITS;
    type Scaled = Self;
}

/// Sums of activations for blocks whose strips have two integer scales: those of each half, and, where these stand for offsets, of
/// codes that have not taken their scales, that of the block, for codes that have.
const fn integer_sums(mins: usize) -> usize {
    2 * MAX_STRIPS + if mins == 0 { 1 } else { 0 }
}

/// Blocks of [`MAX_STRIPS`] strips whose halves have integer scales. `SHIFT` is the form's [`UPPER_SHIFT`](Form::UPPER_SHIFT), `BITS`
/// are those of shifted codes, and `SCALED` those of codes that have taken their scales.
///
/// The sum over a block of codes times scale times activation is an integer below 2^24, the same whether a code or a sum is
/// multiplied with the scale.
pub(crate) struct IntegerForm<const MINS: usize, const SHIFT: u32, const BITS: u32, const SCALED: u32>;

impl<const MINS: usize, const SHIFT: u32, const BITS: u32, const SCALED: u32> Form
    for IntegerForm<MINS, SHIFT, BITS, SCALED>
{
    const STRIPS: usize = MAX_STRIPS;
    const SCALES: usize = 0;
    const MINS: usize = MINS;
    const BITS: u32 = BITS;
    const SUMS: usize = integer_sums(MINS);
    const INTEGER_SCALES: bool = true;
    const UPPER_SHIFT: u32 = SHIFT;
    type Scaled = ScaledForm<MINS, SCALED>;
}

/// Blocks of an [`IntegerForm`] whose codes have taken their scales.
pub(crate) struct ScaledForm<const MINS: usize, const BITS: u32>;

impl<const MINS: usize, const BITS: u32> Form for ScaledForm<MINS, BITS> {
    const STRIPS: usize = MAX_STRIPS;
    const SCALES: usize = 0;
    const MINS: usize = MINS;
    const BITS: u32 = BITS;
    const SUMS: usize = integer_sums(MINS);
    type Scaled = Self;
}

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
