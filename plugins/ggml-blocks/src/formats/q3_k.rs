//! `q3_k`: 16 x 16 values, 3 bits each, a 6-bit scale for each 16. 3.4375 bits a value.
//!
//! Defined by ggml: `block_q3_K`, `quantize_row_q3_K_ref`, `quantize_row_q3_K_impl`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::lanes::ints;
use crate::packing::{self, shifted};
use crate::search::refined;
use crate::search::sums;
use crate::search::symmetric::{self, Symmetric};

/// 256 values of 3 bits with sixteen scales.
///
/// ```text
/// byte   0                 32                   96                   108      110
///        | hmask: 32 bytes | qs: 2 x 32 bytes    | scales: 12 bytes    | d: f16 |
/// hmask[i]        bit k: value 32 k + i, upper bit                               k = 0..8
/// qs[32 h + i]    bits 2 k..2 k + 2: value 128 h + 32 k + i, lower bits          k = 0..4
/// scales[i]       bits 0..4: scale i, lower bits   bits 4..8: scale 8 + i, lower bits    i = 0..8
/// scales[8 + i]   bits 2 k..2 k + 2: scale 4 k + i, upper bits                   i = 0..4
/// ```
///
/// `x = d * (scale - 32) * (q - 4)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ3K {
    /// The upper bits of the levels plus 4.
    pub hmask: [u8; 32],
    /// The lower two bits.
    pub qs: [u8; 64],
    /// Sixteen scales plus 32, of 6 bits.
    pub scales: [u8; 12],
    /// The scale of the scales.
    pub d: Half,
}

const _: () = assert!(size_of::<BlockQ3K>() == 110);

impl BlockQ3K {
    /// The scale of each 16 values, from -32 to 31.
    #[inline(always)]
    pub fn unpacked_scales(&self) -> [i8; 16] {
        core::array::from_fn(|i| {
            let low = if i < 8 { self.scales[i] & 15 } else { self.scales[i - 8] >> 4 };
            let high = (self.scales[8 + i % 4] >> (i / 4 * 2)) & 3;
            (low | (high << 4)) as i8 - 32
        })
    }
}

/// The levels of a value are from -4 to 3.
const HALF: i8 = 4;
/// The levels of a scale are from -32 to 31.
const SCALE_HALF: i8 = 32;

/// The format `q3_k`.
#[derive(Clone, Copy, Debug)]
pub struct Q3K;

impl BlockFormat for Q3K {
    const NAME: &'static str = "q3_k";
    const GGML_TYPE: u32 = 11;
    const BLOCK_LEN: usize = 256;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 0.4;
    const HALVES: &'static [usize] = &[offset_of!(BlockQ3K, d)];
    type Block = BlockQ3K;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockQ3K]) {
        let rows = row.as_chunks::<256>().0;
        match importance {
            Some(importance) => {
                for ((block, x), importance) in blocks.iter_mut().zip(rows).zip(importance.chunks_exact(256))
                {
                    *block = quantize_important::<V>(x, importance);
                }
            }
            None => {
                for (blocks, rows) in blocks.chunks_mut(GROUP).zip(rows.chunks(GROUP)) {
                    quantize_plain::<V>(rows, blocks);
                }
            }
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ3K], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.to_f32();
            let scales = block.unpacked_scales().map(|scale| d * f32::from(scale));
            let mut levels = packing::unpack_pairs(&block.qs);
            packing::join_plane::<2>(&mut levels, &block.hmask);
            let levels = shifted(levels, -4);
            let parts = dst.as_chunks_mut::<16>().0.iter_mut().zip(levels.as_chunks::<16>().0);
            for ((dst, levels), scale) in parts.zip(scales) {
                elementwise::decode::<V>(levels, scale, dst);
            }
        }
    }
}

/// Registers searched side by side.
const SETS: usize = 4;
/// Blocks searched at once: with 16 lanes they fill the registers.
const GROUP: usize = SETS;

/// Quantizes at most [`GROUP`] blocks.
#[inline(always)]
fn quantize_plain<V: Lanes>(x: &[[f32; 256]], blocks: &mut [BlockQ3K]) {
    let mut found = [0.0; 16 * GROUP];
    let sub_blocks = x.as_flattened().as_chunks::<16>().0.chunks(SETS * V::COUNT);
    for (x, found) in sub_blocks.zip(found.chunks_mut(SETS * V::COUNT)) {
        let mut sets = [[V::splat(0.0); 16]; SETS];
        for (set, x) in sets.iter_mut().zip(x.chunks(V::COUNT)) {
            *set = V::gather(x);
        }
        let (scales, _) = refined::search(&sets, HALF);
        for (scales, found) in scales.into_iter().zip(found.chunks_mut(V::COUNT)) {
            scales.store(found);
        }
    }
    for ((block, x), found) in blocks.iter_mut().zip(x).zip(found.as_chunks::<16>().0) {
        let (d, scales) = quantize_scales(found);
        *block = finish::<V>(x, d, scales, |x, _| {
            let (_, [levels]) = refined::search::<f32, 1, 16>(&[*x], HALF);
            levels.map(|level| level as i8)
        });
    }
}

/// The scale of the scales, and the scales plus 32.
#[inline(always)]
fn quantize_scales(scales: &[f32; 16]) -> (f32, [u8; 16]) {
    let largest = scales.iter().fold(0.0f32, |largest, &x| if x.abs() > largest.abs() { x } else { largest });
    if largest == 0.0 {
        return (0.0, [0; 16]);
    }
    let inverse = f32::from(-SCALE_HALF) / largest;
    let mut levels = [0; 16];
    for (level, scale) in levels.iter_mut().zip(scales) {
        let nearest = ints::nearest(inverse * scale) as i8;
        *level = (nearest.clamp(-SCALE_HALF, SCALE_HALF - 1) + SCALE_HALF) as u8;
    }
    (1.0 / inverse, levels)
}

#[inline(always)]
fn quantize_important<V: Lanes>(x: &[f32; 256], importance: &[f32]) -> BlockQ3K {
    let mut weights = [0.0; 256];
    sums::weigh(x, importance, 2.0 * sums::squares(x) / 256.0, &mut weights);
    let (mut found, mut sums) = ([Symmetric::default(); 16], [0.0; 16]);
    let lanes = x.as_chunks::<16>().0.chunks(V::COUNT).zip(weights.as_chunks::<16>().0.chunks(V::COUNT));
    for (((x, weights), found), sums) in lanes.zip(found.chunks_mut(V::COUNT)).zip(sums.chunks_mut(V::COUNT))
    {
        let weights = V::gather(weights);
        sums::total(&weights).store(sums);
        symmetric::search(&V::gather(x), &weights, HALF).store(found);
    }
    let scales = found.map(|found| found.scale);
    let fit = symmetric::search(&scales, &sums, SCALE_HALF);
    finish::<V>(x, fit.scale, fit.levels::<f32, 16>(&scales, SCALE_HALF).map(|level| level as u8), |x, i| {
        found[i].levels::<V, 16>(x, HALF)
    })
}

/// Packs the scales, then quantizes the values with those; sub-block `i` has the levels `fallback(x, i)` where its
/// scale is 0.
#[inline(always)]
fn finish<V: Lanes>(
    x: &[f32; 256],
    d: f32,
    scales: [u8; 16],
    fallback: impl Fn(&[f32; 16], usize) -> [i8; 16],
) -> BlockQ3K {
    let mut block = BlockQ3K { d: Half::from_f32(d), ..BlockQ3K::zeroed() };
    for i in 0..8 {
        block.scales[i] = (scales[i] & 15) | (scales[8 + i] << 4);
    }
    for i in 0..4 {
        block.scales[8 + i] = (0..4).fold(0, |byte, k| byte | ((scales[4 * k + i] >> 4) << (2 * k)));
    }

    let mut levels = [0; 256];
    let sub_blocks = x.as_chunks::<16>().0.iter().zip(levels.as_chunks_mut::<16>().0);
    for (i, ((x, levels), scale)) in sub_blocks.zip(block.unpacked_scales()).enumerate() {
        let scale = block.d.to_f32() * f32::from(scale);
        *levels = match scale {
            0.0 => fallback(x, i),
            _ => shifted(elementwise::divided::<V, 16>(x, 0.0, scale, -4, 3), HALF),
        };
    }
    block.hmask = packing::plane::<2>(&levels);
    block.qs = packing::pairs(&levels);
    block
}
