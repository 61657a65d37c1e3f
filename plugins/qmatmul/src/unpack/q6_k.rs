//! `q6_k`: a signed scale of 8 bits for each 16 codes of 6 bits, times a scale for the block.

use super::{
    BlockForm, Header, Strip, Unpack,
    fields::{FieldReader, FieldWriter, bits_of, half_at, merge},
};
use crate::arch::DotIsa;

/// See the module.
pub(crate) struct Q6K;

impl Unpack for Q6K {
    type Form = BlockForm<2, 0, 6>;
    const BLOCK_BYTES: usize = 210;
    const OFFSET: i32 = 32;
    const HEADER_BYTES: usize = 2;
    const STRIP_BYTES: usize = 26;

    fn pack(block: &[u8], record: &mut FieldWriter<'_>) {
        record.half(half_at(block, 208));
        for s in 0..8 {
            let (half, quarter) = (s / 4, s % 4);
            record.byte(block[192 + 2 * s]);
            record.byte(block[193 + 2 * s]);
            record.nibbles(bits_of(&block[64 * half + quarter % 2 * 32..], quarter / 2 * 4, 15));
            record.crumbs(bits_of(&block[128 + 32 * half..], quarter * 2, 3));
        }
    }

    #[inline(always)]
    unsafe fn header<I: DotIsa>(fields: &mut FieldReader<I>) -> Header<I> {
        // SAFETY: the caller's contract is this one's, and `pack` wrote these fields.
        unsafe { Header::scaled(fields.half()) }
    }

    #[inline(always)]
    unsafe fn strip<I: DotIsa>(fields: &mut FieldReader<I>, header: &Header<I>) -> Strip<I> {
        // SAFETY: the caller's contract is this one's, and `pack` wrote these fields.
        unsafe {
            let scales =
                [I::mul(header.scale, fields.signed_byte()), I::mul(header.scale, fields.signed_byte())];
            let low = fields.nibbles();
            Strip::halves(merge::<I>(low, fields.crumbs()), scales)
        }
    }
}
