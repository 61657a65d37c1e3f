//! `iq3_xxs`: a scale of 4 bits for each 32 signed points of a grid, times a scale for the block.

use bitquilt_ggml_blocks::{BlockIQ3XXS, IQ3XXS};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, code_words, offset_table, translate};
use bitquilt_kernels::{BlockForm, DotIsa, Header, Strip, Unpack};

use super::levels;
use super::{Of, block_of};

/// Added to the values, so that none is negative.
const OFFSET: i32 = 62;

/// The values as codes: those above zero, and the same below it.
const VALUES: [u8; 16] =
    offset_table([4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62], OFFSET);

/// The number of a value in the table.
fn number(value: i8) -> u8 {
    (value.unsigned_abs() / 8) | (u8::from(value < 0) << 3)
}

impl Unpack for Of<IQ3XXS> {
    type Form = BlockForm<1, 0, 7>;
    const HEADER_BYTES: usize = levels::STRIP_HEADER;
    const STRIP_BYTES: usize = 16;
    const IS_STREAMED: bool = false;
    const IS_SPREAD: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<IQ3XXS>()
    }

    fn offset(&self) -> i32 {
        OFFSET
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockIQ3XXS = bytemuck::from_bytes(block);
        levels::pack_header(block.d, [std::array::from_fn(|s| block.sub_block(s).0)], record);
        for s in 0..8 {
            let (_, groups) = block.sub_block(s);
            record.nibbles(code_words(groups.as_flattened(), number));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        levels::header::<I, 1>(fields, 0.5)
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        let scale = levels::scale(fields, header, 0, 0.5);
        Strip::scaled(fields.isa, translate(fields.isa, &VALUES, fields.nibbles()), scale)
    }
}
