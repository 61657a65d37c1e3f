//! `tq1_0`: 256 trits, five to a byte, one scale. 1.6875 bits a value.
//!
//! Defined by ggml: `block_tq1_0`, `quantize_row_tq1_0_ref`.

use core::mem::offset_of;

use bytemuck::{Pod, Zeroable};

use crate::float::Half;
use crate::format::{BlockFormat, Importance};
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::search::ternary;

/// 256 trits with a scale.
///
/// ```text
/// byte   0                          48             52       54
///        | qs: 32 + 16 bytes        | qh: 4 bytes  | d: f16 |
/// qs[i]        values 32 n + i          i = 0..32, n = 0..5
/// qs[32 + i]   values 160 + 16 n + i    i = 0..16, n = 0..5
/// qh[i]        values 240 + 4 n + i     i = 0..4,  n = 0..4
/// ```
///
/// A byte is the fraction `0.t0 t1 t2 t3 t4` in base 3, in 256ths and rounded up: multiplying by 3 carries
/// the next trit out of it. `x = d * (t - 1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(C)]
pub struct BlockTQ1_0 {
    /// Five trits a byte.
    pub qs: [u8; 48],
    /// Four trits a byte.
    pub qh: [u8; 4],
    /// The scale.
    pub d: Half,
}

const _: () = assert!(size_of::<BlockTQ1_0>() == 54);

impl BlockTQ1_0 {
    /// The trits minus 1: from -1 to 1.
    #[inline(always)]
    pub fn levels(&self) -> [i8; 256] {
        let mut levels = [0; 256];
        let (wide, rest) = levels.split_at_mut(160);
        let (narrow, last) = rest.split_at_mut(80);
        let (qs_wide, qs_narrow) = self.qs.split_at(32);
        unpack::<32>(qs_wide, wide);
        unpack::<16>(qs_narrow, narrow);
        unpack::<4>(&self.qh, last);
        levels
    }
}

/// The format `tq1_0`.
#[derive(Clone, Copy, Debug)]
pub struct TQ1_0;

impl BlockFormat for TQ1_0 {
    const NAME: &'static str = "tq1_0";
    const GGML_TYPE: u32 = 34;
    const BLOCK_LEN: usize = 256;
    const IMPORTANCE: Importance = Importance::Ignored;
    const ERROR_BOUND: f32 = 0.505;
    const HALVES: &'static [usize] = &[offset_of!(BlockTQ1_0, d)];
    type Block = BlockTQ1_0;

    #[inline(always)]
    fn quantize_row_in<V: Lanes>(row: &[f32], _: Option<&[f32]>, blocks: &mut [BlockTQ1_0]) {
        for (block, x) in blocks.iter_mut().zip(row.as_chunks::<256>().0) {
            let (d, trits) = ternary::quantize::<V>(x);
            block.d = d;
            let (wide, rest) = trits.split_at(160);
            let (narrow, last) = rest.split_at(80);
            let (qs_wide, qs_narrow) = block.qs.split_at_mut(32);
            pack(wide, qs_wide);
            pack(narrow, qs_narrow);
            pack(last, &mut block.qh);
        }
    }

    #[inline(always)]
    fn dequantize_in<V: Lanes>(blocks: &[BlockTQ1_0], dst: &mut [f32]) {
        for (block, dst) in blocks.iter().zip(dst.as_chunks_mut::<256>().0) {
            elementwise::decode::<V>(&block.levels(), block.d.to_f32(), dst);
        }
    }
}

/// Byte `i` takes the trits at `i`, `i + bytes.len()`, ..; where there are four, the fifth is 0.
#[inline(always)]
fn pack(trits: &[i8], bytes: &mut [u8]) {
    let stride = bytes.len();
    for (i, byte) in bytes.iter_mut().enumerate() {
        let number = (0..5).fold(0u16, |number, n| {
            number * 3 + trits.get(n * stride + i).copied().unwrap_or_default() as u16
        });
        *byte = (number * 256).div_ceil(243) as u8;
    }
}

/// The inverse of [`pack`] for `N` bytes, minus 1.
#[inline(always)]
fn unpack<const N: usize>(bytes: &[u8], levels: &mut [i8]) {
    let mut fractions = [0u8; N];
    fractions.copy_from_slice(bytes);
    for levels in levels.as_chunks_mut::<N>().0 {
        for (level, fraction) in levels.iter_mut().zip(&mut fractions) {
            // The fraction's first digit in base 3: 86 256ths are over one third, 171 are over two.
            *level = i8::from(*fraction >= 86) + i8::from(*fraction >= 171) - 1;
            *fraction = fraction.wrapping_mul(3);
        }
    }
}
