//! `q3_k`: a signed scale of 6 bits for each 16 codes of 3 bits, times a scale for the block.

use bitquilt_ggml_blocks::{BlockQ3K, Q3K};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, bits_of};
use bitquilt_kernels::{DotIsa, Header, IntegerForm, STRIP_CODES, Strip, Unpack};

use super::{Of, block_of};

impl Unpack for Of<Q3K> {
    type Form = IntegerForm<0, 3, 6, 8>;
    const HEADER_BYTES: usize = 2;
    const STRIP_BYTES: usize = 14;

    fn block(&self) -> (usize, usize) {
        block_of::<Q3K>()
    }

    fn offset(&self) -> i32 {
        4
    }

    fn scaled_offset(&self) -> i32 {
        127
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockQ3K = bytemuck::from_bytes(block);
        record.half(block.d);
        let scales = block.unpacked_scales();
        for s in 0..8 {
            record.byte_pair([scales[2 * s] as u8, scales[2 * s + 1] as u8]);
            let low = bits_of(&block.qs[s / 4 * 32..], s % 4 * 2, 3);
            let high = bits_of(&block.hmask, s, 1);
            record.octal_halves(std::array::from_fn(|k| low[k] | high[k] << 2));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        Header::scaled(fields.isa, fields.half())
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scales = fields.byte_pair();
        Strip::integer(fields.isa, fields.octal_halves(), scales)
    }

    #[inline(always)]
    fn scaled_strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scales = fields.lane_bytes();
        let mut codes = fields.octal_halves();
        for codes in &mut codes[STRIP_CODES / 2..] {
            *codes = fields.isa.shr::<3>(*codes);
        }
        for (scale, codes) in scales.into_iter().zip(codes.as_chunks_mut::<{ STRIP_CODES / 2 }>().0) {
            // `(code - 4) * scale` is from -124 to 128: 127 more is a byte.
            let start = fields.isa.sub(
                fields.isa.splat(127),
                fields.isa.and(fields.isa.shl::<2>(scale), fields.isa.splat(0xfc)),
            );
            for codes in codes {
                *codes = fields.isa.scale_add(*codes, scale, start);
            }
        }
        Strip::scaled(fields.isa, codes, fields.isa.splat_f32(0.0))
    }
}
