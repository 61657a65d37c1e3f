//! `q5_0`: a scale for 32 codes of 5 bits.

use bitquilt_ggml_blocks::{BlockQ5_0, Q5_0};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, merge, split_nibbles, spread_bits};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};

use super::{Of, block_of};

impl Unpack for Of<Q5_0> {
    type Form = StripForm<1, 0, 5>;
    const STRIP_BYTES: usize = 22;

    fn block(&self) -> (usize, usize) {
        block_of::<Q5_0>()
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
