//! `q5_k`: a scale and a minimum of 6 bits for each 32 codes of 5 bits, times a scale for each kind for the block.

use bitquilt_ggml_blocks::{BlockQ5K, Q5K};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, bits_of, merge};
use bitquilt_kernels::{BlockForm, DotIsa, Header, Strip, Unpack};

use super::scales;
use super::{Of, block_of};

impl Unpack for Of<Q5K> {
    type Form = BlockForm<1, 1, 5>;
    const HEADER_BYTES: usize = scales::HEADER_BYTES;
    const STRIP_BYTES: usize = 21;

    fn block(&self) -> (usize, usize) {
        block_of::<Q5K>()
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockQ5K = bytemuck::from_bytes(block);
        for (s, scale) in
            scales::pack_header(block.d, block.dmin, block.scales_and_mins(), record).into_iter().enumerate()
        {
            record.byte(scale);
            record.nibbles(bits_of(&block.qs[s / 2 * 32..], s % 2 * 4, 15));
            record.bits(bits_of(&block.qh, s, 1));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        scales::header(fields)
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        let scale = fields.isa.mul(header.scale, fields.byte());
        let low = fields.nibbles();
        Strip::scaled(fields.isa, merge(fields.isa, low, fields.bits()), scale)
    }
}
