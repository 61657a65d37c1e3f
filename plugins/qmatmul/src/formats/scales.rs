//! The header of `q4_k` and `q5_k`.

use bitquilt_ggml_blocks::Half;
use bitquilt_kernels::fields::{FieldReader, FieldWriter};
use bitquilt_kernels::{DotIsa, Header};

/// Prepared bytes of a row's header of a block of `q4_k` or `q5_k`.
pub(crate) const HEADER_BYTES: usize = 12;

/// Writes the header of one row of a block of `q4_k` or `q5_k`: a scale for the scales, one for the minima, the minima. What is left are
/// the scales of the strips.
pub(crate) fn pack_header(
    d: Half,
    dmin: Half,
    scales_and_mins: [(u8, u8); 8],
    record: &mut FieldWriter<'_>,
) -> [u8; 8] {
    record.half(d);
    record.half(-dmin);
    for [(_, even), (_, odd)] in scales_and_mins.as_chunks().0 {
        record.byte_pair([*even, *odd]);
    }
    scales_and_mins.map(|(scale, _)| scale)
}

/// Reads what [`pack_header`] wrote.
#[inline(always)]
pub(crate) fn header<I: DotIsa>(fields: &mut FieldReader<'_, I>) -> Header<I> {
    let mut header = Header::scaled(fields.isa, fields.half());
    header.min_scale = fields.half();
    for pair in &mut header.mins[..4] {
        *pair = fields.byte_pair();
    }
    header
}
