//! Fast products with `acme.int3`, by the kernel kit: how a block unpacks.

use bitquilt_kernels::fields::{FieldReader, FieldWriter, words};
use bitquilt_kernels::{DotIsa, Header, Strip, StripForm, Unpack};

use crate::int3::{self, BLOCK_BYTES, BLOCK_LEN, Int3};

impl Unpack for Int3 {
    /// A block is a strip of 32 values, with a scale and no minimum; codes have 4 bits at most.
    type Form = StripForm<1, 0, 4>;
    const STRIP_BYTES: usize = BLOCK_BYTES;
    const IS_STREAMED: bool = false;

    fn block(&self) -> (usize, usize) {
        (BLOCK_LEN, BLOCK_BYTES)
    }

    fn offset(&self) -> i32 {
        int3::ZERO as i32
    }

    /// Runs once for each block, when a graph is loaded.
    fn pack(&self, block: &[u8], record: &mut FieldWriter<'_>) {
        let Some(block) = block.first_chunk() else { return };
        let (scale, codes) = int3::unpack(block);
        record.half(scale);
        record.octal_halves(words(&codes));
    }

    /// Reads what `pack` wrote, for as many rows as registers have lanes.
    #[inline(always)]
    fn strip<I: DotIsa>(&self, fields: &mut FieldReader<'_, I>, _header: &Header<I>) -> Strip<I> {
        let scale = fields.half();
        Strip::scaled(fields.isa, fields.octals(), scale)
    }
}
