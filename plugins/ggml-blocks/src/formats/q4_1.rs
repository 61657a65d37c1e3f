//! `q4_1`: 32 values, 4 bits each, one scale and one minimum. 5 bits a value.
//!
//! Defined by ggml: `block_q4_1`, `quantize_row_q4_1_ref`, `quantize_row_q4_1_impl`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance, ProvenError};
use crate::lanes::Lanes;
use crate::lanes::elementwise::{self, truncated};
use crate::packing;
use crate::search::blocks32::{self, inverse, range};

/// 32 values of 4 bits with a scale and a minimum.
///
/// ```text
/// byte   0        2        4                             20
///        | d: f16 | m: f16 | qs: 16 bytes                 |
/// qs[i]  bits 0..4: value i       bits 4..8: value 16 + i
/// ```
///
/// `x = d * q + m`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ4_1 {
    /// The scale.
    pub d: Half,
    /// The minimum: the value of level 0.
    pub m: Half,
    /// The levels: values 0..16 in the low nibbles, 16..32 in the high ones.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ4_1>() == 20);

/// The format `q4_1`.
#[derive(Clone, Copy, Debug)]
pub struct Q4_1;

impl BlockFormat for Q4_1 {
    const NAME: &'static str = "q4_1";
    const GGML_TYPE: u32 = 3;
    const BLOCK_LEN: usize = 32;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 0.16;
    // Half a step of the range, 2 m / 15 at most, 15 times the rounding of the scale to f16, and that of the minimum.
    const PROVEN_ERROR: Option<ProvenError> =
        Some(ProvenError { fraction: 0.07, least: 1.0 / 1024.0, greatest: 65000.0 });
    const HALVES: &'static [usize] = &[offset_of!(BlockQ4_1, d), offset_of!(BlockQ4_1, m)];
    type Block = BlockQ4_1;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockQ4_1]) {
        let pack = |d, m, levels: [i8; 32]| BlockQ4_1 {
            d: Half::from_f32(d),
            m: Half::from_f32(m),
            qs: packing::nibbles(&levels),
        };
        if let Some(importance) = importance {
            return blocks32::affine::<V, _>(row, importance, 15, blocks, pack);
        }
        let (rows, _) = row.as_chunks::<32>();
        for (block, x) in blocks.iter_mut().zip(rows) {
            let (min, max) = range::<V>(x);
            let d = (max - min) / 15.0;
            let id = inverse(d);
            *block = pack(d, min, packing::at_most(truncated::<V, 32>(x, min, id, 0.5), 15));
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ4_1], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<32>().0) {
            let (d, m) = (block.d.to_f32(), block.m.to_f32());
            let levels = packing::unpack_nibbles(&block.qs);
            elementwise::decode_affine::<V>(levels.as_flattened(), d, m, dst);
        }
    }
}
