//! `iq4_nl`: a scale for 32 indices of 4 bits into a table of signed bytes.

use bitquilt_ggml_blocks::{BlockIQ4NL, IQ4NL};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, offset_table, split_nibbles, translate};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};

use super::{Of, block_of};

/// Added to the values of the table, so that none is negative.
pub(super) const OFFSET: i32 = 128;

/// The encoding's table as codes.
pub(super) const VALUES: [u8; 16] = offset_table(IQ4NL::VALUES, OFFSET);

impl Unpack for Of<IQ4NL> {
    type Form = StripForm<1, 0, 8>;
    const STRIP_BYTES: usize = 18;
    const IS_CHEAP: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<IQ4NL>()
    }

    fn offset(&self) -> i32 {
        OFFSET
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockIQ4NL = bytemuck::from_bytes(block);
        record.half(block.d);
        record.nibbles(split_nibbles(&block.qs));
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scale = fields.half();
        Strip::scaled(fields.isa, translate(fields.isa, &VALUES, fields.nibbles()), scale)
    }
}
