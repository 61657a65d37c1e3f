//! `iq4_xs`: a scale for a block, a signed scale of 6 bits for each 32 indices into the table of `iq4_nl`.

use super::{
    BlockForm, Header, Strip, Unpack,
    fields::{FieldReader, FieldWriter, half_at, split_nibbles, translate},
    iq4_nl::VALUES,
};
use crate::arch::DotIsa;

/// See the module.
pub(crate) struct Iq4Xs;

impl Unpack for Iq4Xs {
    type Form = BlockForm<1, 0, 8>;
    const BLOCK_BYTES: usize = 136;
    const OFFSET: i32 = 128;
    const HEADER_BYTES: usize = 2;
    const STRIP_BYTES: usize = 17;
    const IS_CHEAP: bool = true;

    fn pack(block: &[u8], record: &mut FieldWriter<'_>) {
        record.half(half_at(block, 0));
        let high = u16::from_le_bytes([block[2], block[3]]);
        for s in 0..8 {
            let low = block[4 + s / 2] >> (s % 2 * 4) & 15;
            let scale = low | ((high >> (2 * s) & 3) as u8) << 4;
            record.byte((scale as i8 - 32) as u8);
            record.nibbles(split_nibbles(&block[8 + 16 * s..]));
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
            let scale = I::mul(header.scale, fields.signed_byte());
            Strip::scaled(translate::<I>(&VALUES, fields.nibbles()), scale)
        }
    }
}
