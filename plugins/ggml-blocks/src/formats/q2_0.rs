//! `q2_0`: 64 values, 2 bits each, one scale. 2.25 bits a value.
//!
//! Defined by ggml: `block_q2_0`, `quantize_row_q2_0_ref`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::lanes::ints;
use crate::search::blocks32::inverse;

/// 64 values of 2 bits with a scale.
///
/// ```text
/// byte   0        2                                      18
///        | d: f16 | qs: 16 bytes                          |
/// qs[i]  bits 2 k..2 k + 2: value 4 i + k                        k = 0..4
/// ```
///
/// `x = d * (q - 1)`: -d, 0, d or 2 d.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ2_0 {
    /// The scale.
    pub d: Half,
    /// The levels plus 1, the first value's in the lowest bits.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ2_0>() == 18);

/// The format `q2_0`.
#[derive(Clone, Copy, Debug)]
pub struct Q2_0;

impl BlockFormat for Q2_0 {
    const NAME: &'static str = "q2_0";
    const GGML_TYPE: u32 = 42;
    const BLOCK_LEN: usize = 64;
    const IMPORTANCE: Importance = Importance::Ignored;
    const ERROR_BOUND: f32 = 0.505;
    const HALVES: &'static [usize] = &[offset_of!(BlockQ2_0, d)];
    type Block = BlockQ2_0;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], _: Option<&[f32]>, blocks: &mut [BlockQ2_0]) {
        for (block, x) in blocks.iter_mut().zip(row.as_chunks::<64>().0) {
            let d = elementwise::magnitude::<V>(x);
            let id = inverse(d);
            let levels = x.map(|x| (ints::round(x * id).clamp(-1, 2) + 1) as u8);
            block.d = Half::from_f32(d);
            for (bits, levels) in block.qs.iter_mut().zip(levels.as_chunks::<4>().0) {
                *bits = levels[0] | (levels[1] << 2) | (levels[2] << 4) | (levels[3] << 6);
            }
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ2_0], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<64>().0) {
            let d = block.d.to_f32();
            for (dst, bits) in dst.as_chunks_mut::<4>().0.iter_mut().zip(block.qs) {
                for (k, dst) in dst.iter_mut().enumerate() {
                    *dst = f32::from(((bits >> (2 * k)) & 3) as i8 - 1) * d;
                }
            }
        }
    }
}
