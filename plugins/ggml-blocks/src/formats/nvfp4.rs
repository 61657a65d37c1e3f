//! `nvfp4`: 4 x 16 values in E2M1, an UE4M3 scale for each 16. 4.5 bits a value.
//!
//! Defined by ggml: `block_nvfp4`, `quantize_row_nvfp4_ref`.

use bytemuck::{Pod, Zeroable};

use crate::e2m1::{self, DOUBLED};
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::packing;

/// 64 values of 4 bits with four scales.
///
/// ```text
/// byte   0                    4                                      36
///        | d: 4 x UE4M3       | qs: 4 x 8 bytes                       |
/// qs[8 k + i]    bits 0..4: value 16 k + i       bits 4..8: value 16 k + 8 + i
/// ```
///
/// `x = UE4M3(d) * E2M1(q)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockNVFP4 {
    /// The scale of each 16 values.
    pub d: [u8; 4],
    /// The values.
    pub qs: [u8; 32],
}

const _: () = assert!(size_of::<BlockNVFP4>() == 36);

impl BlockNVFP4 {
    /// Halves of the scales, of at most four significant bits: what [`NVFP4::DOUBLED`] is multiplied with.
    #[inline(always)]
    pub fn half_scales(&self) -> [f32; 4] {
        self.d.map(e2m1::half_ue4m3)
    }
}

/// The format `nvfp4`.
#[derive(Clone, Copy, Debug)]
pub struct NVFP4;

impl NVFP4 {
    /// Twice the values of E2M1 that the codes stand for.
    pub const DOUBLED: [i8; 16] = DOUBLED;
}

impl BlockFormat for NVFP4 {
    const NAME: &'static str = "nvfp4";
    const GGML_TYPE: u32 = 40;
    const BLOCK_LEN: usize = 64;
    const IMPORTANCE: Importance = Importance::Ignored;
    const ERROR_BOUND: f32 = 0.255;
    type Block = BlockNVFP4;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], _: Option<&[f32]>, blocks: &mut [BlockNVFP4]) {
        for (block, x) in blocks.iter_mut().zip(row.chunks_exact(64)) {
            let parts = x.as_chunks::<16>().0.iter().zip(block.qs.as_chunks_mut::<8>().0);
            for ((x, qs), d) in parts.zip(&mut block.d) {
                let max = elementwise::magnitude::<V>(x);
                *d = e2m1::to_ue4m3(max / 6.0);
                *qs = packing::nibbles(&e2m1::indices::<V, 16>(x, e2m1::half_ue4m3(*d)));
            }
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockNVFP4], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<64>().0) {
            let parts = block.qs.as_chunks::<8>().0.iter().zip(dst.as_chunks_mut::<16>().0.iter_mut());
            for ((qs, dst), &d) in parts.zip(&block.d) {
                let scale = e2m1::half_ue4m3(d);
                let mut indices = [0; 16];
                indices.copy_from_slice(packing::unpack_nibbles(qs).as_flattened());
                elementwise::decode::<V>(&V::look_up(&DOUBLED, indices), scale, dst);
            }
        }
    }
}
