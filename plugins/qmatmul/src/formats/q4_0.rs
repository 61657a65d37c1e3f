//! `q4_0`: a scale for 32 codes of 4 bits.

use bitquilt_ggml_blocks::{BlockQ4_0, Q4_0};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, split_nibbles};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};

use super::{Of, block_of};

impl Unpack for Of<Q4_0> {
    type Form = StripForm<1, 0, 4>;
    const STRIP_BYTES: usize = 18;
    const IS_CHEAP: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<Q4_0>()
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
