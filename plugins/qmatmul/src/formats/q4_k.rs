//! `q4_k`: a scale and a minimum of 6 bits for each 32 codes of 4 bits, times a scale for each kind for the block.

use bitquilt_ggml_blocks::{BlockQ4K, Q4K};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, bits_of};
use bitquilt_kernels::{BlockForm, DotIsa, Header, Strip, Unpack};

use super::scales;
use super::{Of, block_of};

impl Unpack for Of<Q4K> {
    type Form = BlockForm<1, 1, 4>;
    const HEADER_BYTES: usize = scales::HEADER_BYTES;
    const STRIP_BYTES: usize = 17;
    const IS_CHEAP: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<Q4K>()
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockQ4K = bytemuck::from_bytes(block);
        for (s, scale) in
            scales::pack_header(block.d, block.dmin, block.scales_and_mins(), record).into_iter().enumerate()
        {
            record.byte(scale);
            record.nibbles(bits_of(&block.qs[s / 2 * 32..], s % 2 * 4, 15));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        scales::header(fields)
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        let scale = fields.isa.mul(header.scale, fields.byte());
        Strip::scaled(fields.isa, fields.nibbles(), scale)
    }
}
