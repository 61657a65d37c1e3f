//! `mxfp4`: a power of two for 32 floats of 4 bits (OCP Microscaling, E2M1 with an E8M0 scale).

use bitquilt_ggml_blocks::{BlockMXFP4, MXFP4};
use half::bf16;

use crate::arch::DotIsa;
use crate::form::StripForm;
use crate::unpack::fields::{FieldReader, FieldWriter, offset_table, split_nibbles, translate};
use crate::unpack::{Header, Strip, Unpack};

/// Twice the encoding's values as codes.
const VALUES: [u8; 16] = offset_table(MXFP4::DOUBLED, MXFP4::OFFSET);

impl Unpack for MXFP4 {
    type Form = StripForm<1, 0, 5>;
    type Block = BlockMXFP4;
    const OFFSET: i32 = 12;
    const STRIP_BYTES: usize = 18;
    const IS_CHEAP: bool = true;

    fn pack(block: &BlockMXFP4, record: &mut FieldWriter<'_>) {
        // A power of two: exact.
        record.bfloat(bf16::from_f32(block.half_scale()));
        record.nibbles(split_nibbles(&block.qs));
    }

    #[inline(always)]
    fn strip<I: DotIsa>(fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scale = fields.bfloat();
        Strip::scaled(fields.isa, translate(fields.isa, &VALUES, fields.nibbles()), scale)
    }
}
