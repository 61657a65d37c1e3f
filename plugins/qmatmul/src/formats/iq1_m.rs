//! `iq1_m`: a scale of 3 bits for each 16 trits and a shift for each 8, times a scale for the block.
//!
//! The scale takes the sign of its first shift, as that of `iq1_s`; the codes of the other 8 are larger where the shifts differ.

use bitquilt_ggml_blocks::{BlockIQ1M, IQ1M};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, code_words};
use bitquilt_kernels::{BlockForm, DotIsa, Header, Strip, Unpack};

use super::iq1_s::{HALF, OFFSET, UNIT, signed_level, trit};
use super::levels;
use super::{Of, block_of};

impl Unpack for Of<IQ1M> {
    type Form = BlockForm<2, 0, 6>;
    const HEADER_BYTES: usize = levels::HALF_HEADER;
    const STRIP_BYTES: usize = 9;
    const IS_STREAMED: bool = false;
    const IS_SPREAD: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<IQ1M>()
    }

    fn offset(&self) -> i32 {
        OFFSET
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockIQ1M = bytemuck::from_bytes(block);
        let scales = std::array::from_fn(|i| {
            let (level, [minus, _], _) = block.sub_block(i);
            signed_level(level, !minus)
        });
        levels::pack_header(block.d(), levels::by_half(scales), record);
        for s in 0..8 {
            let halves = [2 * s, 2 * s + 1].map(|i| block.sub_block(i));
            let differs = halves.map(|(_, [first, second], _)| u8::from(first != second));
            record.byte(differs[0] << 2 | differs[1] << 3);
            let trits = halves
                .map(|(_, [minus, _], groups)| groups.map(|group| group.map(|x| trit(x, !minus) as i8)));
            record.crumbs(code_words(trits.as_flattened().as_flattened(), |trit| trit as u8));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        levels::header::<I, 2>(fields, UNIT)
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        let isa = fields.isa;
        let scales = [levels::scale(fields, header, 0, HALF), levels::scale(fields, header, 1, HALF)];
        let [differs, _] = fields.factors();
        // In all codes of a lane.
        let differs = isa.scale(isa.splat(1), differs);
        let mask = isa.splat(1 << 2);
        let (lower, upper) = (isa.and(differs, mask), isa.and(isa.shr::<1>(differs), mask));
        let mut codes = fields.crumbs();
        for (k, differs) in [(2, lower), (3, lower), (6, upper), (7, upper)] {
            codes[k] = isa.or(codes[k], differs);
        }
        Strip::halves(isa, codes, scales)
    }
}
