//! `q4_k`: a scale and a minimum of 6 bits for each 32 codes of 4 bits, times a scale for each kind for the block.

use super::{
    BlockForm, Header, Strip, Unpack,
    fields::{FieldReader, FieldWriter, bits_of, half_at},
    scales::scales_and_mins,
};
use crate::arch::DotIsa;

/// See the module.
pub(crate) struct Q4K;

impl Unpack for Q4K {
    type Form = BlockForm<1, 1, 4>;
    const BLOCK_BYTES: usize = 144;
    const OFFSET: i32 = 0;
    const HEADER_BYTES: usize = 12;
    const STRIP_BYTES: usize = 17;
    const IS_CHEAP: bool = true;

    fn pack(block: &[u8], record: &mut FieldWriter<'_>) {
        record.half(half_at(block, 0));
        record.half(-half_at(block, 2));
        let scales_and_mins = scales_and_mins(&block[4..16]);
        for [(_, even), (_, odd)] in scales_and_mins.as_chunks().0 {
            record.byte_pair([*even, *odd]);
        }
        for (s, (scale, _)) in scales_and_mins.into_iter().enumerate() {
            record.byte(scale);
            record.nibbles(bits_of(&block[16 + s / 2 * 32..], s % 2 * 4, 15));
        }
    }

    #[inline(always)]
    unsafe fn header<I: DotIsa>(fields: &mut FieldReader<I>) -> Header<I> {
        // SAFETY: the caller's contract is this one's, and `pack` wrote these fields.
        unsafe {
            let mut header = Header::scaled(fields.half());
            header.min_scale = fields.half();
            for pair in &mut header.mins[..4] {
                *pair = fields.byte_pair();
            }
            header
        }
    }

    #[inline(always)]
    unsafe fn strip<I: DotIsa>(fields: &mut FieldReader<I>, header: &Header<I>) -> Strip<I> {
        // SAFETY: the caller's contract is this one's, and `pack` wrote these fields.
        unsafe {
            let scale = I::mul(header.scale, fields.byte());
            Strip::scaled(fields.nibbles(), scale)
        }
    }
}
