//! `q1_0`: a scale for 128 signs, four records.

use bitquilt_ggml_blocks::{BlockQ1_0, Q1_0};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, spread_bits};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};

use super::{Of, block_of};

impl Unpack for Of<Q1_0> {
    type Form = StripForm<1, 0, 5>;
    const STRIP_BYTES: usize = 6;
    const IS_STREAMED: bool = false;
    const IS_SPREAD: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<Q1_0>()
    }

    fn offset(&self) -> i32 {
        8
    }

    fn pack(&self, block: &[u8], records: &mut FieldWriter<'_>) {
        let block: &BlockQ1_0 = bytemuck::from_bytes(block);
        for bits in block.qs.as_chunks::<4>().0 {
            records.half(block.d);
            records.bits(spread_bits(bits));
        }
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        // Codes are 0 and 16, from which 8 is taken: eight times the signs.
        let scale = fields.isa.mul(fields.half(), fields.isa.splat_f32(0.125));
        Strip::scaled(fields.isa, fields.bits(), scale)
    }
}
