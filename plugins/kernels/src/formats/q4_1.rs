//! `q4_1`: a scale and a minimum for 32 codes of 4 bits.

use bitquilt_ggml_blocks::{BlockQ4_1, Q4_1};

use crate::arch::DotIsa;
use crate::form::StripForm;
use crate::unpack::fields::{FieldReader, FieldWriter, split_nibbles};
use crate::unpack::{Header, Strip, Unpack};

impl Unpack for Q4_1 {
    type Form = StripForm<1, 1, 4>;
    const STRIP_BYTES: usize = 20;
    const IS_CHEAP: bool = true;

    fn block(&self) -> (usize, usize) {
        super::block_of::<Self>()
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
