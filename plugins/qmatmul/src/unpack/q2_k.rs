//! `q2_k`: a scale and a minimum of 4 bits for each 16 codes of 2 bits, times a scale for each kind for the block.

use super::{
    STRIP_CODES, Strip, StripForm, Unpack,
    fields::{FieldReader, FieldWriter, bits_of, half_at},
};
use crate::arch::DotIsa;

/// See the module.
pub(crate) struct Q2K;

impl Unpack for Q2K {
    type Form = StripForm<1, 2, 6>;
    const BLOCK_LEN: usize = 256;
    const BLOCK_BYTES: usize = 84;
    const OFFSET: i32 = 0;
    const HEADER_BYTES: usize = 4;
    const STRIP_BYTES: usize = 10;

    fn pack(block: &[u8], record: &mut FieldWriter<'_>) {
        record.half(half_at(block, 80));
        record.half(-half_at(block, 82));
        for s in 0..8 {
            record.byte(block[2 * s]);
            record.byte(block[2 * s + 1]);
            record.crumbs(bits_of(&block[16 + s / 4 * 32..], s % 4 * 2, 3));
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
            // A scale times a code is at most 45: the products are codes in their own right.
            let (scale0, min0) = fields.factor_and_nibble();
            let (scale1, min1) = fields.factor_and_nibble();
            let mut codes = fields.crumbs::<0>();
            for (k, codes) in codes.iter_mut().enumerate() {
                *codes = I::scale(*codes, if k < STRIP_CODES / 2 { scale0 } else { scale1 });
            }
            let mins = [I::mul(header[1], min0), I::mul(header[1], min1)];
            Strip { codes, scales: [header[0], I::zero()], mins }
        }
    }
}
