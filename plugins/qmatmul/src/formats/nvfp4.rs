//! `nvfp4`: a scale for each 16 floats of 4 bits (E2M1 with UE4M3 scales), 64 values in two records.

use bitquilt_ggml_blocks::{BlockNVFP4, NVFP4};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, offset_table, translate, words};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};
use half::bf16;

use super::{Of, block_of};

/// Added to the values of the table, so that none is negative.
const OFFSET: i32 = 12;

/// Twice the encoding's values as codes.
const VALUES: [u8; 16] = offset_table(NVFP4::DOUBLED, OFFSET);

impl Unpack for Of<NVFP4> {
    type Form = StripForm<2, 0, 5>;
    const STRIP_BYTES: usize = 20;
    const IS_STREAMED: bool = false;

    fn block(&self) -> (usize, usize) {
        block_of::<NVFP4>()
    }

    fn offset(&self) -> i32 {
        OFFSET
    }

    fn pack(&self, block: &[u8], records: &mut FieldWriter<'_>) {
        let block: &BlockNVFP4 = bytemuck::from_bytes(block);
        let scales = block.half_scales();
        for (scales, qs) in scales.as_chunks::<2>().0.iter().zip(block.qs.as_chunks::<16>().0) {
            for scale in scales {
                // Four significant bits: exact.
                records.bfloat(bf16::from_f32(*scale));
            }
            // Of each 8 bytes, the low nibbles are 8 values, the high ones the next.
            let packed: [u32; 4] = words(qs);
            records
                .nibbles(std::array::from_fn(|k| packed[k / 4 * 2 + k % 2] >> (k % 4 / 2 * 4) & 0x0f0f_0f0f));
        }
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scales = [fields.bfloat(), fields.bfloat()];
        Strip::halves(fields.isa, translate(fields.isa, &VALUES, fields.nibbles()), scales)
    }
}
