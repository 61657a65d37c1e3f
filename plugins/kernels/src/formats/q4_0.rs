//! `q4_0`: a scale for 32 codes of 4 bits.

use bitquilt_ggml_blocks::{BlockQ4_0, Q4_0};

use crate::arch::DotIsa;
use crate::form::StripForm;
use crate::unpack::fields::{FieldReader, FieldWriter, split_nibbles};
use crate::unpack::{Header, Strip, Unpack};

impl Unpack for Q4_0 {
    type Form = StripForm<1, 0, 4>;
    const STRIP_BYTES: usize = 18;
    const IS_CHEAP: bool = true;

    fn block(&self) -> (usize, usize) {
        super::block_of::<Self>()
    }

    fn offset(&self) -> i32 {
        8
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockQ4_0 = bytemuck::from_bytes(block);
        record.half(block.d);
        record.nibbles(split_nibbles(&block.qs));
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scale = fields.half();
        Strip::scaled(fields.isa, fields.nibbles(), scale)
    }
}
