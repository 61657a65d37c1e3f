//! `iq3_s`: a scale of 4 bits for each 32 signed points of a grid, times a scale for the block.

use bitquilt_ggml_blocks::{BlockIQ3S, IQ3S};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, code_words};
use bitquilt_kernels::{BlockForm, DotIsa, Header, Strip, Unpack};

use super::levels;
use super::{Of, block_of};

/// The largest magnitude; all are odd.
const OFFSET: i32 = 15;

impl Unpack for Of<IQ3S> {
    type Form = BlockForm<1, 0, 7>;
    const HEADER_BYTES: usize = levels::STRIP_HEADER;
    const STRIP_BYTES: usize = 16;
    const IS_STREAMED: bool = false;
    const IS_SPREAD: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<IQ3S>()
    }

    fn offset(&self) -> i32 {
        OFFSET
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockIQ3S = bytemuck::from_bytes(block);
        levels::pack_header(block.d, [std::array::from_fn(|s| block.sub_block(s).0)], record);
        for s in 0..8 {
            let (_, groups) = block.sub_block(s);
            record.nibbles(code_words(groups.as_flattened(), |value| ((value + OFFSET as i8) / 2) as u8));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        levels::header::<I, 1>(fields, 2.0)
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        let scale = levels::scale(fields, header, 0, 0.5);
        Strip::scaled(fields.isa, fields.doubled_nibbles(), scale)
    }
}
