//! `mxfp4`: a power of two for 32 floats of 4 bits (OCP Microscaling, E2M1 with an E8M0 scale).

use bitquilt_ggml_blocks::{BlockMXFP4, MXFP4};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, offset_table, split_nibbles, translate};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};
use half::bf16;

use super::{Of, block_of};

/// Added to the values of the table, so that none is negative.
const OFFSET: i32 = 12;

/// Twice the encoding's values as codes.
const VALUES: [u8; 16] = offset_table(MXFP4::DOUBLED, OFFSET);

impl Unpack for Of<MXFP4> {
    type Form = StripForm<1, 0, 5>;
    const STRIP_BYTES: usize = 18;
    const IS_CHEAP: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<MXFP4>()
    }

    fn offset(&self) -> i32 {
        OFFSET
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockMXFP4 = bytemuck::from_bytes(block);
        // A power of two: exact.
        record.bfloat(bf16::from_f32(block.half_scale()));
        record.nibbles(split_nibbles(&block.qs));
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scale = fields.bfloat();
        Strip::scaled(fields.isa, translate(fields.isa, &VALUES, fields.nibbles()), scale)
    }
}
