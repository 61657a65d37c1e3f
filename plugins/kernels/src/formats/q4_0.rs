//! `q4_0`: a scale for 32 codes of 4 bits.

use bitquilt_ggml_blocks::{BlockQ4_0, Q4_0};

use crate::arch::DotIsa;
use crate::form::StripForm;
use crate::unpack::fields::{FieldReader, FieldWriter, split_nibbles};
use crate::unpack::{Header, Strip, Unpack};

impl Unpack for Q4_0 {
    type Form = StripForm<1, 0, 4>;
    type Block = BlockQ4_0;
    const OFFSET: i32 = 8;
    const STRIP_BYTES: usize = 18;
    const IS_CHEAP: bool = true;

    fn pack(block: &BlockQ4_0, record: &mut FieldWriter<'_>) {
        record.half(block.d);
        record.nibbles(split_nibbles(&block.qs));
    }

    #[inline(always)]
    fn strip<I: DotIsa>(fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scale = fields.half();
        Strip::scaled(fields.isa, fields.nibbles(), scale)
    }
}
