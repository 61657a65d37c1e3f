//! `q2_0`: a scale for 64 codes of 2 bits, two records with one header.

use bitquilt_ggml_blocks::{BlockQ2_0, Q2_0};
use bitquilt_kernels::fields::{FieldReader, FieldWriter};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};

use super::{Of, block_of};

impl Unpack for Of<Q2_0> {
    type Form = StripForm<1, 0, 5>;
    const HEADER_BYTES: usize = 2;
    const STRIP_BYTES: usize = 8;
    const IS_STREAMED: bool = false;

    fn block(&self) -> (usize, usize) {
        block_of::<Q2_0>()
    }

    #[inline(always)]
    fn header_records(&self) -> usize {
        2
    }

    fn offset(&self) -> i32 {
        1
    }

    fn pack(&self, block: &[u8], records: &mut FieldWriter<'_>) {
        let block: &BlockQ2_0 = bytemuck::from_bytes(block);
        records.half(block.d);
        for qs in block.qs.as_chunks::<8>().0 {
            // A byte has four values that follow each other.
            let codes = qs.map(|qs| u32::from_le_bytes([0, 2, 4, 6].map(|shift| qs >> shift & 3)));
            records.crumbs(codes);
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        Header::scaled(fields.isa, fields.half())
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        Strip::scaled(fields.isa, fields.low_crumbs(), header.scale)
    }
}
