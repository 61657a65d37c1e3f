//! `q2_k`: a scale and a minimum of 4 bits for each 16 codes of 2 bits, times a scale for each kind for the block.

use bitquilt_ggml_blocks::{BlockQ2K, Q2K};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, bits_of};
use bitquilt_kernels::{DotIsa, Header, IntegerForm, STRIP_CODES, Strip, Unpack};

use super::{Of, block_of};

impl Unpack for Of<Q2K> {
    type Form = IntegerForm<2, 2, 4, 6>;
    const HEADER_BYTES: usize = 12;
    const STRIP_BYTES: usize = 9;

    fn block(&self) -> (usize, usize) {
        block_of::<Q2K>()
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockQ2K = bytemuck::from_bytes(block);
        record.half(block.d);
        record.half(-block.dmin);
        // A byte has a scale in its lower half, a minimum in its upper.
        let scales_and_mins = block.scales.as_chunks::<2>().0;
        for [even, odd] in scales_and_mins {
            record.byte(even >> 4 | odd & 0xf0);
        }
        for (s, [even, odd]) in scales_and_mins.iter().enumerate() {
            record.byte(even & 15 | odd << 4);
            record.crumb_halves(bits_of(&block.qs[s / 4 * 32..], s % 4 * 2, 3));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        let mut header = Header::scaled(fields.isa, fields.half());
        header.min_scale = fields.half();
        for pair in &mut header.mins {
            *pair = fields.nibble_pair();
        }
        header
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scales = fields.nibble_pair();
        Strip::integer(fields.isa, fields.crumb_halves(), scales)
    }

    #[inline(always)]
    fn scaled_strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        // A scale times a code is at most 45: the products are codes in their own right.
        let [lower, upper] = fields.factors();
        let mut codes = fields.crumb_halves();
        let (lower_codes, upper_codes) = codes.split_at_mut(STRIP_CODES / 2);
        for codes in lower_codes {
            *codes = fields.isa.scale(*codes, lower);
        }
        for codes in upper_codes {
            *codes = fields.isa.scale(fields.isa.shr::<2>(*codes), upper);
        }
        Strip::scaled(fields.isa, codes, fields.isa.splat_f32(0.0))
    }
}
