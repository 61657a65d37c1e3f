//! The 6-bit scales of `q3_k`, `q4_k` and `q5_k`, as ggml packs them into 12 bytes, and the header of the latter two.

use super::{
    Header,
    fields::{FieldReader, FieldWriter, half_at},
};
use crate::arch::DotIsa;

/// Prepared bytes of a row's header of a block of `q4_k` or `q5_k`.
pub(crate) const HEADER_BYTES: usize = 12;

/// Writes the header of one row of a block of `q4_k` or `q5_k`: a scale for the scales, one for the minima, the minima. What is left are
/// the scales of the strips.
pub(crate) fn pack_header(block: &[u8], record: &mut FieldWriter<'_>) -> [u8; 8] {
    record.half(half_at(block, 0));
    record.half(-half_at(block, 2));
    let scales_and_mins = scales_and_mins(&block[4..16]);
    for [(_, even), (_, odd)] in scales_and_mins.as_chunks().0 {
        record.byte_pair([*even, *odd]);
    }
    scales_and_mins.map(|(scale, _)| scale)
}

/// Reads what [`pack_header`] wrote.
///
/// # Safety
/// As for the methods of [`DotIsa`]; `fields` are at such a header.
#[inline(always)]
pub(crate) unsafe fn header<I: DotIsa>(fields: &mut FieldReader<I>) -> Header<I> {
    // SAFETY: the caller's contract is this one's.
    unsafe {
        let mut header = Header::scaled(fields.half());
        header.min_scale = fields.half();
        for pair in &mut header.mins[..4] {
            *pair = fields.byte_pair();
        }
        header
    }
}

/// The scales and minima, eight of each, of a block of `q4_k` or `q5_k`.
///
/// The first four of each are the lower 6 bits of a byte; the others have their lower 4 bits in the last bytes,
/// and their upper 2 in the first ones'.
fn scales_and_mins(packed: &[u8]) -> [(u8, u8); 8] {
    std::array::from_fn(|j| {
        if j < 4 {
            (packed[j] & 63, packed[j + 4] & 63)
        } else {
            (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
        }
    })
}

/// The 16 signed scales of a block of `q3_k`: 4 lower bits in the first eight bytes, 2 upper in the last four.
pub(crate) fn signed_scales(packed: &[u8]) -> [i8; 16] {
    std::array::from_fn(|j| {
        let low = packed[j % 8] >> (j / 8 * 4) & 15;
        let high = packed[8 + j % 4] >> (j / 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    })
}
