//! `q8_0`: 32 values, 8 bits each, one scale. 8.5 bits a value.
//!
//! Defined by ggml: `block_q8_0`, `quantize_row_q8_0_ref`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance, ProvenError};
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::search::blocks32::inverse;

/// 32 values of 8 bits with a scale.
///
/// ```text
/// byte   0        2                                      34
///        | d: f16 | qs: 32 signed bytes                   |
/// ```
///
/// `x = d * q`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ8_0 {
    /// The scale.
    pub d: Half,
    /// The levels.
    pub qs: [i8; 32],
}

const _: () = assert!(size_of::<BlockQ8_0>() == 34);

/// The format `q8_0`.
#[derive(Clone, Copy, Debug)]
pub struct Q8_0;

impl BlockFormat for Q8_0 {
    const NAME: &'static str = "q8_0";
    const GGML_TYPE: u32 = 8;
    const BLOCK_LEN: usize = 32;
    const IMPORTANCE: Importance = Importance::Ignored;
    const ERROR_BOUND: f32 = 0.005;
    // Half a step of m / 127, and 127 times the rounding of the scale to f16: 2^-11 of it, or 2^-25 where it is subnormal.
    const PROVEN_ERROR: Option<ProvenError> =
        Some(ProvenError { fraction: 0.005, least: 1.0 / 128.0, greatest: 8e6 });
    const HALVES: &'static [usize] = &[offset_of!(BlockQ8_0, d)];
    type Block = BlockQ8_0;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], _: Option<&[f32]>, blocks: &mut [BlockQ8_0]) {
        let (rows, _) = row.as_chunks::<32>();
        for (block, x) in blocks.iter_mut().zip(rows) {
            let d = elementwise::magnitude::<V>(x) / 127.0;
            let id = inverse(d);
            *block = BlockQ8_0 { d: Half::from_f32(d), qs: elementwise::rounded::<V, 32>(x, id) };
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ8_0], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<32>().0) {
            let d = block.d.to_f32();
            elementwise::decode::<V>(&block.qs, d, dst);
        }
    }
}
