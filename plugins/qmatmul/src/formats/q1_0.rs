//! `q1_0`: a scale for 128 signs, four records with one header.

use bitquilt_ggml_blocks::{BlockQ1_0, Q1_0};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, spread_bits};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};

use super::{Of, block_of};

impl Unpack for Of<Q1_0> {
    type Form = StripForm<1, 0, 5>;
    const HEADER_BYTES: usize = 2;
    const STRIP_BYTES: usize = 4;
    const IS_STREAMED: bool = false;

    fn block(&self) -> (usize, usize) {
        block_of::<Q1_0>()
    }

    #[inline(always)]
    fn header_records(&self) -> usize {
        4
    }

    fn offset(&self) -> i32 {
        8
    }

    fn pack(&self, block: &[u8], records: &mut FieldWriter<'_>) {
        let block: &BlockQ1_0 = bytemuck::from_bytes(block);
        records.half(block.d);
        for bits in block.qs.as_chunks::<4>().0 {
            records.bits(spread_bits(bits));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        // Codes are 0 and 16, from which 8 is taken: eight times the signs.
        let isa = fields.isa;
        Header::scaled(isa, isa.mul(fields.half(), isa.splat_f32(0.125)))
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        Strip::scaled(fields.isa, fields.bits(), header.scale)
    }
}
