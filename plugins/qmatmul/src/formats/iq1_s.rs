//! `iq1_s`: a scale of 3 bits and a shift for each 32 trits, times a scale for the block.
//!
//! Eighths of a value are `s * (8 * t - 1)`, with a trit `t` from -1 to 1 and the scale `s`, where the shift is below zero. Where it is
//! above, they are `-s * (8 * -t - 1)`: the scale takes the sign of the shift, and the trit the other.

use bitquilt_ggml_blocks::{BlockIQ1S, IQ1S};
use bitquilt_kernels::fields::{FieldReader, FieldWriter, code_words};
use bitquilt_kernels::{BlockForm, DotIsa, Header, Strip, Unpack};

use super::levels;
use super::{Of, block_of};

/// What is taken from a code, sixteen times a trit and one more: twice an eighth below that.
pub(super) const OFFSET: i32 = 18;

/// Of all odd numbers from -15 to 15 the number of the one with magnitude `2 * level + 1`.
pub(super) fn signed_level(level: u8, minus: bool) -> u8 {
    if minus { 7 - level } else { 8 + level }
}

/// What is to be added to a level for half of the odd number.
pub(super) const HALF: f32 = -7.5;

/// Of the block's scale: codes are sixteenths, and a level and [`HALF`] half of a scale.
pub(super) const UNIT: f32 = 0.125;

/// One more than a trit that stands for `eighths`, or than the other of its sign.
pub(super) fn trit(eighths: i8, other: bool) -> u8 {
    (if other { 8 - eighths } else { 8 + eighths }) as u8 / 8
}

impl Unpack for Of<IQ1S> {
    type Form = BlockForm<1, 0, 7>;
    const HEADER_BYTES: usize = levels::STRIP_HEADER;
    const STRIP_BYTES: usize = 8;
    const IS_STREAMED: bool = false;
    const IS_SPREAD: bool = true;

    fn block(&self) -> (usize, usize) {
        block_of::<IQ1S>()
    }

    fn offset(&self) -> i32 {
        OFFSET
    }

    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let block: &BlockIQ1S = bytemuck::from_bytes(block);
        let scales = std::array::from_fn(|s| {
            let (level, minus, _) = block.sub_block(s);
            signed_level(level, !minus)
        });
        levels::pack_header(block.d, [scales], record);
        for s in 0..8 {
            let (_, minus, groups) = block.sub_block(s);
            record.crumbs(code_words(groups.as_flattened(), |eighths| trit(eighths, !minus)));
        }
    }

    #[inline(always)]
    fn header<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>) -> Header<I> {
        levels::header::<I, 1>(fields, UNIT)
    }

    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, header: &Header<I>) -> Strip<I> {
        let scale = levels::scale(fields, header, 0, HALF);
        Strip::scaled(fields.isa, fields.crumbs(), scale)
    }
}
