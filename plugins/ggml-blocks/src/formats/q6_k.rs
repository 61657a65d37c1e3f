//! `q6_k`: 16 x 16 values, 6 bits each, an 8-bit scale for each 16. 6.5625 bits a value.
//!
//! Defined by ggml: `block_q6_K`, `quantize_row_q6_K_ref`, `quantize_row_q6_K_impl`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::lanes::ints;
use crate::packing;
use crate::search::sums;
use crate::search::symmetric::{self, EPSILON, Symmetric};

/// 256 values of 6 bits with sixteen scales.
///
/// ```text
/// byte   0                          128                192                   208      210
///        | ql: 2 x 64 bytes          | qh: 2 x 32 bytes | scales: 16 x i8     | d: f16 |
/// values 128 h + 32 k + i, their upper bits in qh[32 h + i], bits 2 k..2 k + 2      k = 0..4, i = 0..32
///   k = 0, 2    lower bits: ql[64 h + i],      bits 0..4 and 4..8
///   k = 1, 3    lower bits: ql[64 h + 32 + i], bits 0..4 and 4..8
/// ```
///
/// `x = d * scale * (q - 32)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockQ6K {
    /// The lower 4 bits of the levels plus 32.
    pub ql: [u8; 128],
    /// The upper 2 bits.
    pub qh: [u8; 64],
    /// The scale of each 16 values.
    pub scales: [i8; 16],
    /// The scale of the scales.
    pub d: Half,
}

const _: () = assert!(size_of::<BlockQ6K>() == 210);

/// The format `q6_k`.
#[derive(Clone, Copy, Debug)]
pub struct Q6K;

impl BlockFormat for Q6K {
    const NAME: &'static str = "q6_k";
    const GGML_TYPE: u32 = 14;
    const BLOCK_LEN: usize = 256;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 0.05;
    const HALVES: &'static [usize] = &[offset_of!(BlockQ6K, d)];
    type Block = BlockQ6K;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockQ6K]) {
        for (i, (block, x)) in blocks.iter_mut().zip(row.as_chunks::<256>().0).enumerate() {
            let importance = importance.map(|importance| &importance[256 * i..][..256]);
            *block = quantize::<V>(x, importance);
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockQ6K], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<256>().0) {
            let d = block.d.to_f32();
            let scales = block.scales.map(|scale| d * f32::from(scale));
            let halves = block.ql.chunks_exact(64).zip(block.qh.chunks_exact(32));
            for (((ql, qh), scales), dst) in
                halves.zip(scales.chunks_exact(8)).zip(dst.as_chunks_mut::<128>().0.iter_mut())
            {
                for i in 0..32 {
                    let (even, odd, high) = (ql[i], ql[32 + i], qh[i]);
                    let low = [even & 15, odd & 15, even >> 4, odd >> 4];
                    for (k, low) in low.into_iter().enumerate() {
                        let q = (low | (((high >> (2 * k)) & 3) << 4)) as i8 - 32;
                        dst[32 * k + i] = scales[2 * k + i / 16] * f32::from(q);
                    }
                }
            }
        }
    }
}

#[inline(always)]
fn quantize<V: Lanes>(x: &[f32; 256], importance: Option<&[f32]>) -> BlockQ6K {
    let (x, _) = x.as_chunks::<16>();
    let mut found = [Symmetric::default(); 16];
    for (i, (x, found)) in x.chunks(V::COUNT).zip(found.chunks_mut(V::COUNT)).enumerate() {
        let values = V::gather(x);
        let weights = match importance {
            Some(importance) => V::gather(&importance.as_chunks::<16>().0[i * V::COUNT..][..x.len()]),
            None => sums::each_squared(&values),
        };
        symmetric::search(&values, &weights, 32).store(found);
    }
    let largest = found
        .iter()
        .fold(0.0f32, |largest, found| if found.scale.abs() > largest.abs() { found.scale } else { largest });
    if largest.abs() < EPSILON {
        return BlockQ6K::zeroed();
    }
    let inverse = -128.0 / largest;
    let d = Half::from_f32(1.0 / inverse);
    let scales = found.map(|found| ints::nearest(inverse * found.scale).min(127) as i8);

    let mut levels = [0; 256];
    let sub_blocks = x.iter().zip(levels.as_chunks_mut::<16>().0);
    for (((x, levels), found), scale) in sub_blocks.zip(&found).zip(scales) {
        let scale = d.to_f32() * f32::from(scale);
        *levels = match scale {
            0.0 => found.levels::<V, 16>(x, 32),
            _ => packing::shifted(elementwise::divided::<V, 16>(x, 0.0, scale, -32, 31), 32),
        };
    }
    pack(&levels, scales, d)
}

#[inline(always)]
fn pack(levels: &[i8; 256], scales: [i8; 16], d: Half) -> BlockQ6K {
    let (mut ql, mut qh) = ([0; 128], [0; 64]);
    let halves = ql.chunks_exact_mut(64).zip(qh.chunks_exact_mut(32));
    for ((ql, qh), levels) in halves.zip(levels.as_chunks::<128>().0) {
        for i in 0..32 {
            let q: [u8; 4] = core::array::from_fn(|k| levels[32 * k + i] as u8);
            ql[i] = (q[0] & 15) | (q[2] << 4);
            ql[32 + i] = (q[1] & 15) | (q[3] << 4);
            qh[i] = (q[0] >> 4) | ((q[1] >> 4) << 2) | ((q[2] >> 4) << 4) | ((q[3] >> 4) << 6);
        }
    }
    BlockQ6K { ql, qh, scales, d }
}
