//! `mxfp4`: a power of two for 32 floats of 4 bits (OCP Microscaling, E2M1 with an E8M0 scale).

use half::bf16;

use super::{
    Header, Strip, StripForm, Unpack,
    fields::{FieldReader, FieldWriter, split_nibbles, translate},
};
use crate::arch::DotIsa;

/// Twice the values of E2M1, 12 added to them.
const VALUES: [u8; 16] = [12, 13, 14, 15, 16, 18, 20, 24, 12, 11, 10, 9, 8, 6, 4, 0];

/// Half of the scale `2^(exponent - 127)`, since the values are doubled; the two smallest are subnormal.
fn half_scale(exponent: u8) -> bf16 {
    bf16::from_bits(match exponent {
        0 => 0x20,
        1 => 0x40,
        _ => u16::from(exponent - 1) << 7,
    })
}

/// See the module.
pub(crate) struct Mxfp4;

impl Unpack for Mxfp4 {
    type Form = StripForm<1, 0, 5>;
    const BLOCK_BYTES: usize = 17;
    const OFFSET: i32 = 12;
    const STRIP_BYTES: usize = 18;
    const IS_CHEAP: bool = true;

    fn pack(block: &[u8], record: &mut FieldWriter<'_>) {
        record.bfloat(half_scale(block[0]));
        record.nibbles(split_nibbles(&block[1..17]));
    }

    #[inline(always)]
    unsafe fn strip<I: DotIsa>(fields: &mut FieldReader<I>, _header: &Header<I>) -> Strip<I> {
        // SAFETY: the caller's contract is this one's, and `pack` wrote these fields.
        unsafe {
            let scale = fields.bfloat();
            Strip::scaled(translate::<I>(&VALUES, fields.nibbles()), scale)
        }
    }
}
