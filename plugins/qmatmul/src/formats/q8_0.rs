//! `q8_0`: a scale for 32 signed bytes.

use bitquilt_ggml_blocks::{BlockQ8_0, Q8_0};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, words};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};

use super::{Of, block_of};

impl Unpack for Of<Q8_0> {
    type Form = StripForm<1, 0, 8>;
    const STRIP_BYTES: usize = 34;
    const IS_CHEAP: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<Q8_0>()
    }

    fn offset(&self) -> i32 {
        128
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockQ8_0 = bytemuck::from_bytes(block);
        record.half(block.d);
        record.bytes(words(bytemuck::cast_slice(&block.qs)).map(|codes| codes ^ 0x8080_8080));
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scale = fields.half();
        Strip::scaled(fields.isa, fields.bytes(), scale)
    }
}
