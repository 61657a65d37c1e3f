//! `q4_0`: 32 values, 4 bits each, one scale. 4.5 bits a value.
//!
//! Defined by ggml: `block_q4_0`, `quantize_row_q4_0_ref`, `quantize_row_q4_0_impl`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::elementwise::{self, truncated};
use crate::packing::{self, at_most, shifted};
use crate::search::blocks32::{self, inverse, largest};

/// 32 values of 4 bits with a scale.
///
/// ```text
/// byte   0        2                                      18
///        | d: f16 | qs: 16 bytes                          |
/// qs[i]  bits 0..4: value i       bits 4..8: value 16 + i
/// ```
///
/// `x = d * (q - 8)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ4_0 {
    /// The scale.
    pub d: Half,
    /// The levels plus 8: values 0..16 in the low nibbles, 16..32 in the high ones.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockQ4_0>() == 18);

/// The format `q4_0`.
#[derive(Clone, Copy, Debug)]
pub struct Q4_0;

impl BlockFormat for Q4_0 {
    const NAME: &'static str = "q4_0";
    const GGML_TYPE: u32 = 2;
    const BLOCK_LEN: usize = 32;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 0.15;
    const HALVES: &'static [usize] = &[offset_of!(BlockQ4_0, d)];
    type Block = BlockQ4_0;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockQ4_0]) {
        let pack = |d, levels: [i8; 32]| BlockQ4_0 { d: Half::from_f32(d), qs: packing::nibbles(&levels) };
        if let Some(importance) = importance {
            return blocks32::symmetric::<V, _>(row, importance, 8, blocks, pack);
        }
        let (rows, _) = row.as_chunks::<32>();
        for (block, x) in blocks.iter_mut().zip(rows) {
            let d = largest::<V>(x) / -8.0;
            let id = inverse(d);
            *block = pack(d, at_most(truncated::<V, 32>(x, 0.0, id, 8.5), 15));
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ4_0], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<32>().0) {
            let d = block.d.to_f32();
            let levels = shifted(packing::unpack_32(&block.qs), -8);
            elementwise::decode::<V>(&levels, d, dst);
        }
    }
}
