//! `q5_1`: 32 values, 5 bits each, one scale and one minimum. 6 bits a value.
//!
//! Defined by ggml: `block_q5_1`, `quantize_row_q5_1_ref`, `quantize_row_q5_1_impl`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance, ProvenError};
use crate::lanes::Lanes;
use crate::lanes::elementwise::{self, truncated};
use crate::packing;
use crate::search::blocks32::{self, inverse, range};

/// 32 values of 5 bits with a scale and a minimum.
///
/// ```text
/// byte   0        2        4              8                              24
///        | d: f16 | m: f16 | qh: 4 bytes  | qs: 16 bytes                  |
/// qh     bit i of the little-endian u32: value i, upper bit
/// qs[i]  bits 0..4: value i              bits 4..8: value 16 + i
/// ```
///
/// `x = d * q + m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ5_1 {
    /// The scale.
    pub d: Half,
    /// The minimum: the value of level 0.
    pub m: Half,
    /// The upper bit of each level, in a little-endian u32.
    pub qh: [u8; 4],
    /// The lower bits of the levels.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ5_1>() == 24);

/// The format `q5_1`.
#[derive(Clone, Copy, Debug)]
pub struct Q5_1;

impl BlockFormat for Q5_1 {
    const NAME: &'static str = "q5_1";
    const GGML_TYPE: u32 = 7;
    const BLOCK_LEN: usize = 32;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 0.08;
    // Half a step of the range, 2 m / 31 at most, 31 times the rounding of the scale to f16, and that of the minimum.
    const PROVEN_ERROR: Option<ProvenError> =
        Some(ProvenError { fraction: 0.035, least: 1.0 / 1024.0, greatest: 65000.0 });
    const HALVES: &'static [usize] = &[offset_of!(BlockQ5_1, d), offset_of!(BlockQ5_1, m)];
    type Block = BlockQ5_1;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockQ5_1]) {
        if let Some(importance) = importance {
            return blocks32::affine::<V, _>(row, importance, 31, blocks, pack::<V>);
        }
        let (rows, _) = row.as_chunks::<32>();
        for (block, x) in blocks.iter_mut().zip(rows) {
            let (min, max) = range::<V>(x);
            let d = (max - min) / 31.0;
            let id = inverse(d);
            *block = pack::<V>(d, min, truncated::<V, 32>(x, min, id, 0.5));
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ5_1], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<32>().0) {
            let (d, m) = (block.d.to_f32(), block.m.to_f32());
            let levels = packing::join_fifth_bits(&block.qs, block.qh);
            elementwise::decode_affine::<V>(&levels, d, m, dst);
        }
    }
}

#[inline(always)]
fn pack<V: Lanes>(d: f32, m: f32, levels: [i8; 32]) -> BlockQ5_1 {
    BlockQ5_1 {
        d: Half::from_f32(d),
        m: Half::from_f32(m),
        qh: packing::fifth_bits::<V>(&levels),
        qs: packing::nibbles(&levels),
    }
}
