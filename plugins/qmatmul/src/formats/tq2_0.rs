//! `tq2_0`: a scale for a block of codes of 2 bits.

use bitquilt_ggml_blocks::{BlockTQ2_0, TQ2_0};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, bits_of};
use bitquilt_kernels::{DotIsa, Header, Strip, Unpack, WholeForm};

use super::{Of, block_of};

impl Unpack for Of<TQ2_0> {
    type Form = WholeForm<2>;
    const HEADER_BYTES: usize = 2;
    const STRIP_BYTES: usize = 8;
    const IS_STREAMED: bool = false;

    fn block(&self) -> (usize, usize) {
        block_of::<TQ2_0>()
    }

    fn offset(&self) -> i32 {
        1
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockTQ2_0 = bytemuck::from_bytes(block);
        record.half(block.d);
        for s in 0..8 {
            record.crumbs(bits_of(&block.qs[s / 4 * 32..], s % 4 * 2, 3));
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
