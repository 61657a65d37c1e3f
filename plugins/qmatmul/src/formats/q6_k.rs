//! `q6_k`: a signed scale of 8 bits for each 16 codes of 6 bits, times a scale for the block.

use bitquilt_ggml_blocks::{BlockQ6K, Q6K};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, bits_of, merge};
use bitquilt_kernels::{BlockForm, DotIsa, Header, Strip, Unpack};

use super::{Of, block_of};

impl Unpack for Of<Q6K> {
    type Form = BlockForm<2, 0, 6>;
    const HEADER_BYTES: usize = 2;
    const STRIP_BYTES: usize = 26;

    fn block(&self) -> (usize, usize) {
        block_of::<Q6K>()
    }

    fn offset(&self) -> i32 {
        32
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockQ6K = bytemuck::from_bytes(block);
        record.half(block.d);
        for s in 0..8 {
            let (half, quarter) = (s / 4, s % 4);
            record.byte(block.scales[2 * s] as u8);
            record.byte(block.scales[2 * s + 1] as u8);
            record.nibbles(bits_of(&block.ql[64 * half + quarter % 2 * 32..], quarter / 2 * 4, 15));
            record.crumbs(bits_of(&block.qh[32 * half..], quarter * 2, 3));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        Header::scaled(fields.isa, fields.half())
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        let scales = [
            fields.isa.mul(header.scale, fields.signed_byte()),
            fields.isa.mul(header.scale, fields.signed_byte()),
        ];
        let low = fields.nibbles();
        Strip::halves(fields.isa, merge(fields.isa, low, fields.crumbs()), scales)
    }
}
