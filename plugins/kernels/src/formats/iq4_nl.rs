//! `iq4_nl`: a scale for 32 indices of 4 bits into a table of signed bytes.

use bitquilt_ggml_blocks::{BlockIQ4NL, IQ4NL};

use crate::arch::DotIsa;
use crate::form::StripForm;
use crate::unpack::fields::{FieldReader, FieldWriter, offset_table, split_nibbles, translate};
use crate::unpack::{Header, Strip, Unpack};

/// The encoding's table as codes.
pub(super) const VALUES: [u8; 16] = offset_table(IQ4NL::VALUES, IQ4NL::OFFSET);

impl Unpack for IQ4NL {
    type Form = StripForm<1, 0, 8>;
    type Block = BlockIQ4NL;
    const OFFSET: i32 = 128;
    const STRIP_BYTES: usize = 18;
    const IS_CHEAP: bool = true;

    fn pack(block: &BlockIQ4NL, record: &mut FieldWriter<'_>) {
        record.half(block.d);
        record.nibbles(split_nibbles(&block.qs));
    }

    #[inline(always)]
    fn strip<I: DotIsa>(fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scale = fields.half();
        Strip::scaled(fields.isa, translate(fields.isa, &VALUES, fields.nibbles()), scale)
    }
}
