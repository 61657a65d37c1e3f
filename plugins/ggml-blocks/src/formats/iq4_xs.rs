//! `iq4_xs`: 8 x 32 values, 4 bits each that select one of sixteen unevenly spaced values, a 6-bit scale for each
//! 32. 4.25 bits a value.
//!
//! Defined by ggml: `block_iq4_xs`, `quantize_row_iq4_nl_impl`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::ints;
use crate::packing;
use crate::search::blocks32::inverse;
use crate::search::codebook::{self, VALUES};
use crate::search::sums;

/// 256 values of 4 bits with eight scales.
///
/// ```text
/// byte   0        2                    4                    8                     136
///        | d: f16 | scales_h: u16      | scales_l: 4 bytes  | qs: 8 x 16 bytes     |
/// scales_h        bits 2 k..2 k + 2: scale k, upper bits
/// scales_l[i]     bits 0..4: scale 2 i, lower bits       bits 4..8: scale 2 i + 1, lower bits
/// qs[16 k + i]    bits 0..4: value 32 k + i              bits 4..8: value 32 k + 16 + i
/// ```
///
/// `x = d * (scale - 32) * VALUES[q]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIQ4XS {
    /// The scale of the scales.
    pub d: Half,
    /// The upper 2 bits of the scales plus 32, in a little-endian u16.
    pub scales_h: [u8; 2],
    /// The lower 4 bits of the scales plus 32.
    pub scales_l: [u8; 4],
    /// The indices.
    pub qs: [u8; 128],
}

const _: () = assert!(size_of::<BlockIQ4XS>() == 136);

impl BlockIQ4XS {
    /// The scale of each 32 values, from -32 to 31.
    #[inline(always)]
    pub fn unpacked_scales(&self) -> [i8; 8] {
        let high = u16::from_le_bytes(self.scales_h);
        core::array::from_fn(|k| {
            let low = (self.scales_l[k / 2] >> (k % 2 * 4)) & 15;
            (low | (((high >> (2 * k)) & 3) << 4) as u8) as i8 - 32
        })
    }
}

/// The format `iq4_xs`.
#[derive(Clone, Copy, Debug)]
pub struct IQ4XS;

impl BlockFormat for IQ4XS {
    const NAME: &'static str = "iq4_xs";
    const GGML_TYPE: u32 = 23;
    const BLOCK_LEN: usize = 256;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 0.2;
    const HALVES: &'static [usize] = &[offset_of!(BlockIQ4XS, d)];
    type Block = BlockIQ4XS;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockIQ4XS]) {
        quantize_row::<V>(row, importance, blocks);
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockIQ4XS], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.to_f32();
            let parts = block.qs.as_chunks::<16>().0.iter().zip(dst.as_chunks_mut::<32>().0.iter_mut());
            for ((qs, dst), scale) in parts.zip(block.unpacked_scales()) {
                let scale = d * f32::from(scale);
                codebook::decode::<V>(&VALUES, qs, scale, dst);
            }
        }
    }
}

/// Super-blocks searched at once: 16 sub-blocks.
const GROUP: usize = 2;

#[inline(always)]
fn quantize_row<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockIQ4XS]) {
    let mut weights = [[0.0; 32]; 8 * GROUP];
    let mut scales = [0.0; 8 * GROUP];
    for (group, blocks) in blocks.chunks_mut(GROUP).enumerate() {
        let first = group * GROUP * 256;
        let row = &row[first..][..blocks.len() * 256];
        if let Some(importance) = importance {
            let supers = row.chunks_exact(256).zip(importance[first..].chunks_exact(256));
            for ((x, importance), weights) in supers.zip(weights.chunks_exact_mut(8)) {
                let variance = sums::squares(x) * (2.0 / 256.0);
                sums::weigh(x, importance, variance, weights.as_flattened_mut());
            }
        }
        for (lanes, x) in row.as_chunks::<32>().0.chunks(V::COUNT).enumerate() {
            let at = lanes * V::COUNT..lanes * V::COUNT + x.len();
            let values = V::gather(x);
            let weights = match importance {
                Some(_) => V::gather(&weights[at.clone()]),
                None => sums::each_squared(&values),
            };
            codebook::search(&values, &weights).store(&mut scales[at]);
        }
        let supers = blocks.iter_mut().zip(row.as_chunks::<256>().0);
        for ((block, x), scales) in supers.zip(scales.as_chunks::<8>().0) {
            *block = finish::<V>(x, scales);
        }
    }
}

/// Quantizes the scales found for the sub-blocks, then the values with those.
#[inline(always)]
fn finish<V: Lanes>(x: &[f32; 256], scales: &[f32; 8]) -> BlockIQ4XS {
    let largest = scales.iter().fold(0.0f32, |largest, &x| if x.abs() > largest.abs() { x } else { largest });
    let d = -largest / 32.0;
    let inverse_d = inverse(d);
    let (mut low, mut high) = ([0; 4], 0u16);
    let mut qs = [0; 128];
    let sub_blocks = x.as_chunks::<32>().0.iter().zip(qs.as_chunks_mut::<16>().0);
    for (k, ((x, qs), scale)) in sub_blocks.zip(scales).enumerate() {
        let level = ints::nearest(inverse_d * scale).clamp(-32, 31);
        let inverse = inverse(d * level as f32);
        *qs = packing::nibbles(&codebook::indices::<V>(x, inverse));
        let level = (level + 32) as u8;
        low[k / 2] |= (level & 15) << (k % 2 * 4);
        high |= u16::from(level >> 4) << (2 * k);
    }
    BlockIQ4XS { d: Half::from_f32(d), scales_h: high.to_le_bytes(), scales_l: low, qs }
}
