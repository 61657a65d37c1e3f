//! `q1_0`: 128 signs, one scale. 1.125 bits a value.
//!
//! Defined by ggml: `block_q1_0`, `quantize_row_q1_0_ref`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;

/// 128 values of 1 bit with a scale.
///
/// ```text
/// byte   0        2                                      18
///        | d: f16 | qs: 16 bytes                          |
/// qs[i]  bit k: value 8 i + k, set where it is not negative
/// ```
///
/// `x = d` or `x = -d`, the mean magnitude.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ1_0 {
    /// The scale.
    pub d: Half,
    /// The signs, the first value's in the lowest bit.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ1_0>() == 18);

/// The format `q1_0`.
#[derive(Clone, Copy, Debug)]
pub struct Q1_0;

impl BlockFormat for Q1_0 {
    const NAME: &'static str = "q1_0";
    const GGML_TYPE: u32 = 41;
    const BLOCK_LEN: usize = 128;
    const IMPORTANCE: Importance = Importance::Ignored;
    const ERROR_BOUND: f32 = 1.005;
    const HALVES: &'static [usize] = &[offset_of!(BlockQ1_0, d)];
    type Block = BlockQ1_0;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], _: Option<&[f32]>, blocks: &mut [BlockQ1_0]) {
        for (block, x) in blocks.iter_mut().zip(row.chunks_exact(128)) {
            let sum = x.iter().fold(0.0, |sum, x| sum + x.abs());
            block.d = Half::from_f32(sum / 128.0);
            for (bits, x) in block.qs.iter_mut().zip(x.as_chunks::<8>().0) {
                *bits = x.iter().enumerate().fold(0, |bits, (k, &x)| bits | (u8::from(x >= 0.0) << k));
            }
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ1_0], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<128>().0) {
            let d = block.d.to_f32();
            for (dst, bits) in dst.as_chunks_mut::<8>().0.iter_mut().zip(block.qs) {
                for (k, dst) in dst.iter_mut().enumerate() {
                    *dst = if (bits >> k) & 1 == 1 { d } else { -d };
                }
            }
        }
    }
}
