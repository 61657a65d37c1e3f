//! `tq1_0`: a scale for a block of trits, which are spread to 2 bits each.

use bitquilt_ggml_blocks::{BlockTQ1_0, TQ1_0};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, code_words};
use bitquilt_kernels::{DotIsa, Header, STRIP_LEN, Strip, Unpack, WholeForm};

use super::{Of, block_of};

impl Unpack for Of<TQ1_0> {
    type Form = WholeForm<2>;
    const HEADER_BYTES: usize = 2;
    const STRIP_BYTES: usize = 8;
    const IS_STREAMED: bool = false;
    const IS_SPREAD: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<TQ1_0>()
    }

    fn offset(&self) -> i32 {
        1
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockTQ1_0 = bytemuck::from_bytes(block);
        record.half(block.d);
        for levels in block.levels().as_chunks::<STRIP_LEN>().0 {
            record.crumbs(code_words(levels, |level| (level + 1) as u8));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        Header::scaled(fields.isa, fields.half())
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        Strip::whole(fields.isa, fields.low_crumbs())
    }
}
