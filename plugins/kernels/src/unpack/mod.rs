//! How encodings are unpacked.
//!
//! A weight is prepared for the kernels row group by row group: as many rows as the instruction set has lanes.
//! A group is a sequence of *records*, one for each block of activations: a header, then a *strip* for each 32 values. An encoded block
//! is one record or several, and a few that follow each other may have one header ([`Unpack::header_records`]). Headers and strips are
//! sequences of fields, and a field holds that field of all rows side by side, so that
//! one load fills the lanes ([`fields`]). [`Unpack::pack`] writes the fields in the order in which [`Unpack::header`] and
//! [`Unpack::strip`] read them.
//!
//! A strip unpacks to unsigned codes, and factors for them. With codes `q`, the encoding's offset `o`, a scale `s` for
//! each part of the strip (the whole, or two halves) and a minimum `m` for each part, its values are
//! `s * (q - o) + m`; an encoding has an offset or minima, never both. Encodings with blocks of 256 values are multiplied
//! with blocks of as many activations, and their minima are in the header: integers, and one scale for all. So are the scales of
//! `q2_k` and `q3_k` ([`IntegerForm`]), whose codes are few bits: those of the upper half of a strip stay where they lie in their
//! bytes, as multiples of a power of two.

pub mod fields;

use crate::arch::{CodeSource, DotIsa};
use crate::form::{Form, MAX_STRIPS, STRIP_CODES, STRIP_LEN};
use fields::{FieldReader, FieldWriter};

/// An encoding that the integer kernels can unpack: a value, which may hold what is only known when the program runs.
pub trait Unpack: Send + Sync + 'static {
    /// The form of its strips.
    type Form: Form;
    /// Prepared bytes of a row's header.
    const HEADER_BYTES: usize = 0;
    /// Prepared bytes of a row's strip.
    const STRIP_BYTES: usize;
    /// Whether a strip unpacks in about a dozen instructions, few enough to hide behind the products of a tile.
    const IS_CHEAP: bool = false;
    /// Whether few columns, but more than one, may be multiplied with strips that are unpacked in registers, again for each tile: code
    /// of its own for each width of a tile, where slabs share theirs with all encodings of the form.
    const IS_STREAMED: bool = true;

    /// Whether a prepared block has considerably more bytes than an encoded one. Then a weight may stay as it is encoded
    /// ([`CompactWeight`](crate::CompactWeight)), and [`pack`](Self::pack) is called at each product: it allocates nothing.
    const IS_SPREAD: bool = false;

    /// The number of values in an encoded block, a multiple of those in a record, and the number of its bytes.
    fn block(&self) -> (usize, usize);

    /// The number of records that share a header, which comes before the first of them: 1, or, where a record is one strip, a divisor of
    /// [`MAX_STRIPS`] and of the records of a block. So a scale of more values than a strip has is prepared once.
    #[inline(always)]
    fn header_records(&self) -> usize {
        1
    }

    /// What is to be taken from each code.
    fn offset(&self) -> i32 {
        0
    }

    /// What is to be taken from the codes of a [`scaled_strip`](Self::scaled_strip).
    fn scaled_offset(&self) -> i32 {
        self.offset()
    }

    /// Writes one row of the records of an encoded block, one record after the other: its header, unless it shares that of a record before
    /// it, then its strips.
    fn pack(&self, block: &[u8], records: &mut FieldWriter<'_>);

    /// Reads the header of a record, or of those that share it: what [`strip`](Self::strip) is to be given.
    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        Header::empty(fields.isa)
    }

    /// Reads a strip of the record that has this header.
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I>;

    /// Reads a strip whose codes take their scales, if these are integers.
    #[inline(always)]
    fn scaled_strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        self.strip(fields, header)
    }
}

/// Prepared bytes of `n` values of a row, whole blocks.
pub(crate) fn prepared_bytes<E: Unpack>(unpack: &E, n: usize) -> usize {
    let header_len = E::Form::STRIPS * STRIP_LEN * unpack.header_records();
    n / STRIP_LEN * E::STRIP_BYTES + n / header_len * E::HEADER_BYTES
}

/// An unpacked header of a row group.
pub struct Header<I: DotIsa> {
    /// What the scales of the strips are multiples of, or the scale of each.
    pub scale: I::F32,
    /// What the minima are multiples of, or the minimum of each strip.
    pub min_scale: I::F32,
    /// Two minima a lane, half of those that the form says.
    pub mins: [I::Codes; MAX_STRIPS],
    /// What the scales of the strips are made of, eight numbers of 4 bits a lane, where [`Unpack::strip`] takes them from here: those of
    /// the whole strips, or of their halves.
    pub levels: [I::Codes; 2],
}

impl<I: DotIsa> Clone for Header<I> {
    #[inline(always)]
    fn clone(&self) -> Self {
        *self
    }
}

impl<I: DotIsa> Copy for Header<I> {}

impl<I: DotIsa> Header<I> {
    /// Zeros.
    #[inline(always)]
    pub fn empty(isa: I) -> Self {
        Self::scaled(isa, isa.splat_f32(0.0))
    }

    /// A header without minima.
    #[inline(always)]
    pub fn scaled(isa: I, scale: I::F32) -> Self {
        let none = isa.splat(0);
        Self { scale, min_scale: isa.splat_f32(0.0), mins: [none; MAX_STRIPS], levels: [none; 2] }
    }
}

/// An unpacked strip of a row group.
pub struct Strip<I: DotIsa> {
    /// Codes `4 * k .. 4 * k + 4` of each row at `k`.
    pub codes: [I::Codes; STRIP_CODES],
    /// As many as the form says.
    pub scales: [I::F32; 2],
    /// As many as the form says.
    pub mins: [I::F32; 2],
    /// Integer scales, two a lane.
    pub integer_scales: I::Codes,
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
    #[inline(always)]
    pub fn empty(isa: I) -> Self {
        Self::scaled(isa, [isa.splat(0); STRIP_CODES], isa.splat_f32(0.0))
    }

    /// A strip with one scale.
    #[inline(always)]
    pub fn scaled(isa: I, codes: [I::Codes; STRIP_CODES], scale: I::F32) -> Self {
        Self::affine(isa, codes, scale, isa.splat_f32(0.0))
    }

    /// A strip with one scale and one minimum.
    #[inline(always)]
    pub fn affine(isa: I, codes: [I::Codes; STRIP_CODES], scale: I::F32, min: I::F32) -> Self {
        let zero = isa.splat_f32(0.0);
        Self { codes, scales: [scale, zero], mins: [min, zero], integer_scales: isa.splat(0) }
    }

    /// A strip whose scale is that of its header.
    #[inline(always)]
    pub fn whole(isa: I, codes: [I::Codes; STRIP_CODES]) -> Self {
        Self::scaled(isa, codes, isa.splat_f32(0.0))
    }

    /// A strip with a scale for each half.
    #[inline(always)]
    pub fn halves(isa: I, codes: [I::Codes; STRIP_CODES], scales: [I::F32; 2]) -> Self {
        Self { scales, ..Self::scaled(isa, codes, isa.splat_f32(0.0)) }
    }

    /// A strip with an integer scale for each half.
    #[inline(always)]
    pub fn integer(isa: I, codes: [I::Codes; STRIP_CODES], integer_scales: I::Codes) -> Self {
        Self { integer_scales, ..Self::scaled(isa, codes, isa.splat_f32(0.0)) }
    }
}

impl<I: DotIsa> CodeSource<I> for Strip<I> {
    #[inline(always)]
    fn codes(&self, _isa: I, k: usize) -> I::Codes {
        self.codes[k]
    }
}
