//! `q5_1`: a scale and a minimum for 32 codes of 5 bits.

use bitquilt_ggml_blocks::{BlockQ5_1, Q5_1};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, merge, split_nibbles, spread_bits};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};

use super::{Of, block_of};

impl Unpack for Of<Q5_1> {
    type Form = StripForm<1, 1, 5>;
    const STRIP_BYTES: usize = 24;
    const IS_CHEAP: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<Q5_1>()
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockQ5_1 = bytemuck::from_bytes(block);
        record.half(block.d);
        record.half(block.m);
        record.nibbles(split_nibbles(&block.qs));
        record.bits(spread_bits(&block.qh));
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let (scale, min) = (fields.half(), fields.half());
        let low = fields.nibbles();
        Strip::affine(fields.isa, merge(fields.isa, low, fields.bits()), scale, min)
    }
}
