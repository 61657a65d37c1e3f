//! `iq4_xs`: a scale for a block, a signed scale of 6 bits for each 32 indices into the table of `iq4_nl`.

use bitquilt_ggml_blocks::{BlockIQ4XS, IQ4XS};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, split_nibbles, translate};
use bitquilt_kernels::{BlockForm, DotIsa, Header, Strip, Unpack};

use super::iq4_nl::{OFFSET, VALUES};
use super::{Of, block_of};

impl Unpack for Of<IQ4XS> {
    type Form = BlockForm<1, 0, 8>;
    const HEADER_BYTES: usize = 2;
    const STRIP_BYTES: usize = 17;
    const IS_CHEAP: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<IQ4XS>()
    }

    fn offset(&self) -> i32 {
        OFFSET
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockIQ4XS = bytemuck::from_bytes(block);
        record.half(block.d);
        for (scale, qs) in block.unpacked_scales().into_iter().zip(block.qs.as_chunks::<16>().0) {
            record.byte(scale as u8);
            record.nibbles(split_nibbles(qs));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        Header::scaled(fields.isa, fields.half())
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        let scale = fields.isa.mul(header.scale, fields.signed_byte());
        Strip::scaled(fields.isa, translate(fields.isa, &VALUES, fields.nibbles()), scale)
    }
}
