//! `q4_1`: a scale and a minimum for 32 codes of 4 bits.

use bitquilt_ggml_blocks::{BlockQ4_1, Q4_1};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, split_nibbles};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};

use super::{Of, block_of};

impl Unpack for Of<Q4_1> {
    type Form = StripForm<1, 1, 4>;
    const STRIP_BYTES: usize = 20;
    const IS_CHEAP: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<Q4_1>()
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockQ4_1 = bytemuck::from_bytes(block);
        record.half(block.d);
        record.half(block.m);
        record.nibbles(split_nibbles(&block.qs));
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let (scale, min) = (fields.half(), fields.half());
        Strip::affine(fields.isa, fields.nibbles(), scale, min)
    }
}
