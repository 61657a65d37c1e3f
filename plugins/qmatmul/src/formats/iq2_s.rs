//! `iq2_s`: a scale of 4 bits for each 16 signed points of a grid, times a scale for the block.

use bitquilt_ggml_blocks::{BlockIQ2S, IQ2S};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, code_words, translate};
use bitquilt_kernels::{BlockForm, DotIsa, Header, Strip, Unpack};

use super::levels;
use super::{Of, block_of};

impl Unpack for Of<IQ2S> {
    type Form = BlockForm<2, 0, 7>;
    const HEADER_BYTES: usize = levels::HALF_HEADER;
    const STRIP_BYTES: usize = 12;
    const IS_STREAMED: bool = false;
    const IS_SPREAD: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<IQ2S>()
    }

    fn offset(&self) -> i32 {
        levels::IQ2_OFFSET
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockIQ2S = bytemuck::from_bytes(block);
        let scales = std::array::from_fn(|i| block.sub_block(i).0);
        levels::pack_header(block.d, levels::by_half(scales), record);
        for s in 0..8 {
            let groups = [2 * s, 2 * s + 1].map(|i| block.sub_block(i).1);
            record.octal_halves(code_words(groups.as_flattened().as_flattened(), levels::iq2_number));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        levels::header::<I, 2>(fields, 0.25)
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        let scales = [levels::scale(fields, header, 0, 0.5), levels::scale(fields, header, 1, 0.5)];
        Strip::halves(fields.isa, translate(fields.isa, &levels::IQ2_VALUES, fields.octals()), scales)
    }
}
