//! `q5_1`: a scale and a minimum for 32 codes of 5 bits.

use super::{
    Header, Strip, StripForm, Unpack,
    fields::{FieldReader, FieldWriter, half_at, merge, split_nibbles, spread_bits},
};
use crate::arch::DotIsa;

/// See the module.
pub(crate) struct Q5_1;

impl Unpack for Q5_1 {
    type Form = StripForm<1, 1, 5>;
    const BLOCK_BYTES: usize = 24;
    const OFFSET: i32 = 0;
    const STRIP_BYTES: usize = 24;
    const IS_CHEAP: bool = true;

    fn pack(block: &[u8], record: &mut FieldWriter<'_>) {
        record.half(half_at(block, 0));
        record.half(half_at(block, 2));
        record.nibbles(split_nibbles(&block[8..24]));
        record.bits(spread_bits(&block[4..8]));
    }

    #[inline(always)]
    unsafe fn strip<I: DotIsa>(fields: &mut FieldReader<I>, _header: &Header<I>) -> Strip<I> {
        // SAFETY: the caller's contract is this one's, and `pack` wrote these fields.
        unsafe {
            let (scale, min) = (fields.half(), fields.half());
            let low = fields.nibbles();
            Strip::affine(merge::<I>(low, fields.bits()), scale, min)
        }
    }
}
