//! What the encodings with a grid have in common: levels of 4 bits that the scales of a block are odd multiples of, and points
//! whose values are spread, so that they need no grid.

use bitquilt_ggml_blocks::Half;
use bitquilt_kernels::fields::{FieldReader, FieldWriter, offset_table};
use bitquilt_kernels::{DotIsa, Header};

/// Prepared bytes of a row's header with a level for each strip.
pub(crate) const STRIP_HEADER: usize = 6;

/// Prepared bytes of a row's header with a level for each half of a strip.
pub(crate) const HALF_HEADER: usize = 10;

/// Writes a header: the block's scale, and the levels of each part of the strips.
pub(crate) fn pack_header<const PARTS: usize>(
    d: Half,
    levels: [[u8; 8]; PARTS],
    record: &mut FieldWriter<'_>,
) {
    record.half(d);
    for levels in levels {
        record.eight_nibbles(levels);
    }
}

/// Reads what [`pack_header`] wrote: levels are multiplied with `unit` times the block's scale.
#[inline(always)]
pub(crate) fn header<I: DotIsa, const PARTS: usize>(fields: &mut FieldReader<'_, I>, unit: f32) -> Header<I> {
    let mut header = Header::scaled(fields.isa, fields.isa.mul(fields.half(), fields.isa.splat_f32(unit)));
    for levels in &mut header.levels[..PARTS] {
        *levels = fields.eight_nibbles();
    }
    header
}

/// The scale of part `part` of the strip that `fields` begin: its level and `more`, times what the header says.
#[inline(always)]
pub(crate) fn scale<I: DotIsa>(
    fields: &FieldReader<'_, I>,
    header: &Header<I>,
    part: usize,
    more: f32,
) -> I::F32 {
    let isa = fields.isa;
    let level = isa.nibble(header.levels[part], fields.strip());
    isa.mul(isa.add(level, isa.splat_f32(more)), header.scale)
}

/// The levels of sub-blocks, two a strip: those of the first halves, and those of the second.
pub(crate) fn by_half(levels: [u8; 16]) -> [[u8; 8]; 2] {
    [0, 1].map(|half| std::array::from_fn(|s| levels[2 * s + half]))
}

/// The number of a value of the `iq2` encodings in [`IQ2_VALUES`].
pub(crate) fn iq2_number(value: i8) -> u8 {
    // The magnitudes are 8, 25, 43.
    (value.unsigned_abs() >> 4) | (u8::from(value < 0) << 2)
}

/// Added to the values of [`IQ2_VALUES`], so that none is negative.
pub(crate) const IQ2_OFFSET: i32 = 43;

/// The values of the `iq2` encodings as codes.
pub(crate) const IQ2_VALUES: [u8; 16] =
    offset_table([8, 25, 43, 0, -8, -25, -43, 0, 0, 0, 0, 0, 0, 0, 0, 0], IQ2_OFFSET);
