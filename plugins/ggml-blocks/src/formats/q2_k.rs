//! `q2_k`: 16 x 16 values, 2 bits each, a 4-bit scale and minimum for each 16. 2.625 bits a value.
//!
//! Defined by ggml: `block_q2_K`, `quantize_row_q2_K_ref`, `quantize_row_q2_K_impl`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::packing;
use crate::search::affine::{Affine, Measure, Search};
use crate::search::positive;
use crate::search::sums;

/// 256 values of 2 bits with sixteen scales and minimums.
///
/// ```text
/// byte   0                  16                        80       82          84
///        | scales: 16 bytes | qs: 2 x 32 bytes         | d: f16 | dmin: f16 |
/// scales[j]       bits 0..4: scale of values 16 j..      bits 4..8: their minimum
/// qs[32 h + i]    bits 2 k..2 k + 2: value 128 h + 32 k + i                       k = 0..4
/// ```
///
/// `x = d * scale * q - dmin * min`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ2K {
    /// The scale, and above it the minimum, of each 16 values.
    pub scales: [u8; 16],
    /// The levels.
    pub qs: [u8; 64],
    /// The scale of the scales.
    pub d: Half,
    /// The scale of the minimums.
    pub dmin: Half,
}

const _: () = assert!(size_of::<BlockQ2K>() == 84);

/// The highest level of a value.
const TOP: u8 = 3;
/// The highest level of a scale.
const SCALE_TOP: u8 = 15;
const PLAIN: Search = Search { top: TOP, first: -0.5, step: 0.1, steps: 15, measure: Measure::Absolute };

/// The format `q2_k`.
#[derive(Clone, Copy, Debug)]
pub struct Q2K;

impl BlockFormat for Q2K {
    const NAME: &'static str = "q2_k";
    const GGML_TYPE: u32 = 10;
    const BLOCK_LEN: usize = 256;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 0.9;
    const HALVES: &'static [usize] = &[offset_of!(BlockQ2K, d), offset_of!(BlockQ2K, dmin)];
    type Block = BlockQ2K;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockQ2K]) {
        for (i, (block, x)) in blocks.iter_mut().zip(row.as_chunks::<256>().0).enumerate() {
            *block = match importance {
                Some(importance) => quantize_important::<V>(x, &importance[256 * i..][..256]),
                None => quantize_plain::<V>(x),
            };
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ2K], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<256>().0) {
            let (d, dmin) = (block.d.to_f32(), block.dmin.to_f32());
            let levels = packing::unpack_pairs(&block.qs);
            let parts = dst.as_chunks_mut::<16>().0.iter_mut().zip(levels.as_chunks::<16>().0);
            for ((dst, levels), scale) in parts.zip(block.scales) {
                let (scale, min) = (d * f32::from(scale & 15), dmin * f32::from(scale >> 4));
                elementwise::decode_affine::<V>(levels, scale, -min, dst);
            }
        }
    }
}

#[inline(always)]
fn quantize_plain<V: Lanes>(x: &[f32; 256]) -> BlockQ2K {
    let mut found = [Affine::default(); 16];
    for (x, found) in x.as_chunks::<16>().0.chunks(V::COUNT).zip(found.chunks_mut(V::COUNT)) {
        let values = V::gather(x);
        let mut weights = values;
        for weight in &mut weights {
            *weight = weight.abs();
        }
        PLAIN.run(&values, &weights).store(found);
    }
    let scales = positive::even_steps(&found.map(|found| found.scale), SCALE_TOP);
    let mins = positive::even_steps(&found.map(|found| found.offset), SCALE_TOP);
    finish::<V>(x, &found, scales, mins)
}

#[inline(always)]
fn quantize_important<V: Lanes>(x: &[f32; 256], importance: &[f32]) -> BlockQ2K {
    let mut weights = [0.0; 256];
    sums::weigh(x, importance, sums::squares(x) / 256.0, &mut weights);
    let important = Search::with_importance(TOP);
    let (mut found, mut sums) = ([Affine::default(); 16], [0.0; 16]);
    let lanes = x.as_chunks::<16>().0.chunks(V::COUNT).zip(weights.as_chunks::<16>().0.chunks(V::COUNT));
    for (((x, weights), found), sums) in lanes.zip(found.chunks_mut(V::COUNT)).zip(sums.chunks_mut(V::COUNT))
    {
        let weights = V::gather(weights);
        sums::total(&weights).store(sums);
        important.run(&V::gather(x), &weights).store(found);
    }
    let scales = positive::search(&found.map(|found| found.scale), &sums, SCALE_TOP);
    let mins = positive::search(&found.map(|found| found.offset), &sums, SCALE_TOP);
    finish::<V>(x, &found, scales, mins)
}

/// Packs the scales and minimums, then quantizes the values with those.
#[inline(always)]
fn finish<V: Lanes>(
    x: &[f32; 256],
    found: &[Affine; 16],
    scales: (f32, [u8; 16]),
    mins: (f32, [u8; 16]),
) -> BlockQ2K {
    let (d, dmin) = (Half::from_f32(scales.0), Half::from_f32(mins.0));
    let scales: [u8; 16] = core::array::from_fn(|i| scales.1[i] | (mins.1[i] << 4));
    let mut levels = [0; 256];
    let sub_blocks = x.as_chunks::<16>().0.iter().zip(levels.as_chunks_mut::<16>().0);
    for (((x, levels), found), scale) in sub_blocks.zip(found).zip(scales) {
        let min = dmin.to_f32() * f32::from(scale >> 4);
        let scale = d.to_f32() * f32::from(scale & 15);
        *levels = match scale {
            0.0 => found.levels::<V, 16>(x, TOP),
            _ => elementwise::divided::<V, 16>(x, min, scale, 0, i32::from(TOP)),
        };
    }
    BlockQ2K { scales, qs: packing::pairs(&levels), d, dmin }
}
