//! `q5_0`: a scale for 32 codes of 5 bits.

use bitquilt_ggml_blocks::{BlockQ5_0, Q5_0};

use crate::arch::DotIsa;
use crate::form::StripForm;
use crate::unpack::fields::{FieldReader, FieldWriter, merge, split_nibbles, spread_bits};
use crate::unpack::{Header, Strip, Unpack};

impl Unpack for Q5_0 {
    type Form = StripForm<1, 0, 5>;
    const STRIP_BYTES: usize = 22;

    fn block(&self) -> (usize, usize) {
        super::block_of::<Self>()
    }

    fn offset(&self) -> i32 {
        16
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockQ5_0 = bytemuck::from_bytes(block);
        record.half(block.d);
        record.nibbles(split_nibbles(&block.qs));
        record.bits(spread_bits(&block.qh));
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scale = fields.half();
        let low = fields.nibbles();
        Strip::scaled(fields.isa, merge(fields.isa, low, fields.bits()), scale)
    }
}
