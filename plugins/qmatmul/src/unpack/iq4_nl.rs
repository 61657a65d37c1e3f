//! `iq4_nl`: a scale for 32 indices of 4 bits into a table of signed bytes.

use super::{
    Header, Strip, StripForm, Unpack,
    fields::{FieldReader, FieldWriter, half_at, split_nibbles, translate},
};
use crate::arch::DotIsa;

/// The table, 128 added to its entries: ggml's `kvalues_iq4nl`.
pub(super) const VALUES: [u8; 16] = [1, 24, 45, 63, 79, 93, 106, 118, 129, 141, 153, 166, 181, 197, 217, 241];

/// See the module.
pub(crate) struct Iq4Nl;

impl Unpack for Iq4Nl {
    type Form = StripForm<1, 0, 8>;
    const BLOCK_BYTES: usize = 18;
    const OFFSET: i32 = 128;
    const STRIP_BYTES: usize = 18;
    const IS_CHEAP: bool = true;

    fn pack(block: &[u8], record: &mut FieldWriter<'_>) {
        record.half(half_at(block, 0));
        record.nibbles(split_nibbles(&block[2..18]));
    }

    #[inline(always)]
    unsafe fn strip<I: DotIsa>(fields: &mut FieldReader<I>, _header: &Header<I>) -> Strip<I> {
        // SAFETY: the caller's contract is this one's, and `pack` wrote these fields.
        unsafe {
            let scale = fields.half();
            Strip::scaled(translate::<I>(&VALUES, fields.nibbles()), scale)
        }
    }
}
