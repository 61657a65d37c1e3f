//! `q5_0`: 32 values, 5 bits each, one scale. 5.5 bits a value.
//!
//! Defined by ggml: `block_q5_0`, `quantize_row_q5_0_ref`, `quantize_row_q5_0_impl`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance, ProvenError};
use crate::lanes::Lanes;
use crate::lanes::elementwise::{self, truncated};
use crate::packing::{self, at_most, shifted};
use crate::search::blocks32::{self, inverse, largest};

/// 32 values of 5 bits with a scale.
///
/// ```text
/// byte   0        2              6                              22
///        | d: f16 | qh: 4 bytes  | qs: 16 bytes                  |
/// qh     bit i of the little-endian u32: value i, upper bit
/// qs[i]  bits 0..4: value i              bits 4..8: value 16 + i
/// ```
///
/// `x = d * (q - 16)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ5_0 {
    /// The scale.
    pub d: Half,
    /// The upper bit of each level, in a little-endian u32.
    pub qh: [u8; 4],
    /// The lower bits of the levels plus 16.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ5_0>() == 22);

/// The format `q5_0`.
#[derive(Clone, Copy, Debug)]
pub struct Q5_0;

impl BlockFormat for Q5_0 {
    const NAME: &'static str = "q5_0";
    const GGML_TYPE: u32 = 6;
    const BLOCK_LEN: usize = 32;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 0.075;
    // A whole step of m / 16 at the end that has no code, and 16 times the rounding of the scale to f16.
    const PROVEN_ERROR: Option<ProvenError> =
        Some(ProvenError { fraction: 0.065, least: 1.0 / 2048.0, greatest: 1e6 });
    const HALVES: &'static [usize] = &[offset_of!(BlockQ5_0, d)];
    type Block = BlockQ5_0;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockQ5_0]) {
        if let Some(importance) = importance {
            return blocks32::symmetric::<V, _>(row, importance, 16, blocks, pack::<V>);
        }
        let (rows, _) = row.as_chunks::<32>();
        for (block, x) in blocks.iter_mut().zip(rows) {
            let d = largest::<V>(x) / -16.0;
            let id = inverse(d);
            *block = pack::<V>(d, at_most(truncated::<V, 32>(x, 0.0, id, 16.5), 31));
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ5_0], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<32>().0) {
            let d = block.d.to_f32();
            let levels = shifted(packing::join_fifth_bits(&block.qs, block.qh), -16);
            elementwise::decode::<V>(&levels, d, dst);
        }
    }
}

#[inline(always)]
fn pack<V: Lanes>(d: f32, levels: [i8; 32]) -> BlockQ5_0 {
    BlockQ5_0 { d: Half::from_f32(d), qh: packing::fifth_bits::<V>(&levels), qs: packing::nibbles(&levels) }
}
