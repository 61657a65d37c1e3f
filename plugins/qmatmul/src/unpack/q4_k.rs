//! `q4_k`: a scale and a minimum of 6 bits for each 32 codes of 4 bits, times a scale for each kind for the block.

use super::{
    Strip, StripForm, Unpack,
    fields::{FieldReader, FieldWriter, bits_of, half_at},
    scales::scales_and_mins,
};
use crate::arch::DotIsa;

/// See the module.
pub(crate) struct Q4K;

impl Unpack for Q4K {
    type Form = StripForm<1, 1, 4>;
    const BLOCK_LEN: usize = 256;
    const BLOCK_BYTES: usize = 144;
    const OFFSET: i32 = 0;
    const HEADER_BYTES: usize = 4;
    const STRIP_BYTES: usize = 18;
    const IS_CHEAP: bool = true;

    fn pack(block: &[u8], record: &mut FieldWriter<'_>) {
        record.half(half_at(block, 0));
        record.half(-half_at(block, 2));
        for (s, (scale, min)) in scales_and_mins(&block[4..16]).into_iter().enumerate() {
            record.byte(scale);
            record.byte(min);
            record.nibbles(bits_of(&block[16 + s / 2 * 32..], s % 2 * 4, 15));
        }
    }

    #[inline(always)]
    unsafe fn header<I: DotIsa>(fields: &mut FieldReader<I>) -> [I::F32; 2] {
        // SAFETY: the caller's contract is this one's, and `pack` wrote these fields.
        unsafe { [fields.half(), fields.half()] }
    }

    #[inline(always)]
    unsafe fn strip<I: DotIsa>(fields: &mut FieldReader<I>, header: [I::F32; 2]) -> Strip<I> {
        // SAFETY: the caller's contract is this one's, and `pack` wrote these fields.
        unsafe {
            let scale = I::mul(header[0], fields.byte());
            let min = I::mul(header[1], fields.byte());
            Strip::affine(fields.nibbles(), scale, min)
        }
    }
}
