//! `iq4_nl`: 32 values, 4 bits each that select one of sixteen unevenly spaced values, one scale. 4.5 bits a value.
//!
//! Defined by ggml: `block_iq4_nl`, `quantize_row_iq4_nl_impl`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::packing;
use crate::search::blocks32::inverse;
use crate::search::codebook::{self, VALUES};
use crate::search::sums;

/// 32 values of 4 bits with a scale.
///
/// ```text
/// byte   0        2                                      18
///        | d: f16 | qs: 16 bytes                          |
/// qs[i]  bits 0..4: value i       bits 4..8: value 16 + i
/// ```
///
/// `x = d * VALUES[q]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockIQ4NL {
    /// The scale.
    pub d: Half,
    /// The indices: values 0..16 in the low nibbles, 16..32 in the high ones.
    pub qs: [u8; 16],
}

const _: () = assert!(size_of::<BlockIQ4NL>() == 18);

/// The format `iq4_nl`.
#[derive(Clone, Copy, Debug)]
pub struct IQ4NL;

impl IQ4NL {
    /// The values that the indices stand for.
    pub const VALUES: [i8; 16] = VALUES;
}

impl BlockFormat for IQ4NL {
    const NAME: &'static str = "iq4_nl";
    const GGML_TYPE: u32 = 20;
    const BLOCK_LEN: usize = 32;
    const IMPORTANCE: Importance = Importance::Optional;
    const ERROR_BOUND: f32 = 0.2;
    const HALVES: &'static [usize] = &[offset_of!(BlockIQ4NL, d)];
    type Block = BlockIQ4NL;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockIQ4NL]) {
        quantize_row::<V>(row, importance, blocks);
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockIQ4NL], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<32>().0) {
            let d = block.d.to_f32();
            codebook::decode::<V>(&VALUES, &block.qs, d, dst);
        }
    }
}

#[inline(always)]
fn quantize_row<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [BlockIQ4NL]) {
    let (rows, _) = row.as_chunks::<32>();
    let mut weights = [[0.0; 32]; 16];
    let mut scales = [0.0; 16];
    for (i, (x, blocks)) in rows.chunks(V::COUNT).zip(blocks.chunks_mut(V::COUNT)).enumerate() {
        let values = V::gather(x);
        let weights = match importance {
            Some(importance) => {
                let importance = &importance[i * V::COUNT * 32..];
                for ((weights, x), importance) in weights.iter_mut().zip(x).zip(importance.chunks_exact(32)) {
                    sums::weigh(x, importance, sums::squares(x) * (2.0 / 32.0), weights);
                }
                V::gather(&weights[..x.len()])
            }
            None => sums::each_squared(&values),
        };
        codebook::search(&values, &weights).store(&mut scales[..x.len()]);
        for ((block, x), &scale) in blocks.iter_mut().zip(x).zip(&scales) {
            let indices = codebook::indices::<V>(x, inverse(scale));
            *block = BlockIQ4NL { d: Half::from_f32(scale), qs: packing::nibbles(&indices) };
        }
    }
}
