//! What the formats with a grid have in common: blocks of 256 values, of which each is quantized by itself.

use super::even_signs;
use crate::lanes::Lanes;
use crate::lanes::elementwise;
use crate::search::sums;

/// Values in a block.
pub(crate) const LEN: usize = 256;

/// The values of each block of a row, and their importance.
#[inline(always)]
pub(crate) fn blocks<'a>(
    row: &'a [f32],
    importance: Option<&'a [f32]>,
) -> impl Iterator<Item = (&'a [f32; LEN], Option<&'a [f32; LEN]>)> {
    let importance = importance.map(|importance| importance.as_chunks().0);
    row.as_chunks().0.iter().enumerate().map(move |(i, x)| (x, importance.map(|importance| &importance[i])))
}

/// A sub-block's values: `scale` times those of its groups of 8.
#[inline(always)]
pub(crate) fn scaled<V: Lanes>(groups: &[[i8; 8]], scale: f32, dst: &mut [f32]) {
    elementwise::decode::<V>(groups.as_flattened(), scale, dst);
}

/// The weights of sub-block `i`: of its importance and the block's variance or, without importance, `otherwise`.
#[inline(always)]
pub(crate) fn weights<const N: usize>(
    x: &[f32; N],
    importance: Option<&[f32; LEN]>,
    i: usize,
    variance: f32,
    otherwise: impl Fn(f32) -> f32,
) -> [f32; N] {
    match importance {
        Some(importance) => {
            let mut weights = [0.0; N];
            sums::weigh(x, &importance[N * i..][..N], variance, &mut weights);
            weights
        }
        None => x.map(otherwise),
    }
}

/// Two scales a byte, the first in the low half.
#[inline(always)]
pub(crate) fn pack_halves<const N: usize>(levels: &[u8]) -> [u8; N] {
    core::array::from_fn(|i| levels[2 * i] | levels[2 * i + 1] << 4)
}

/// Scale `i` of what [`pack_halves`] gives.
#[inline(always)]
pub(crate) fn half_of(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 2] >> (4 * (i % 2)) & 0xf
}

/// 7 bits of signs for each 8 of 32 values, and a scale above them.
#[inline(always)]
pub(crate) fn pack_even(signs: [u8; 4], level: u8) -> u32 {
    signs.iter().rev().fold(u32::from(level), |bits, &signs| bits << 7 | u32::from(signs))
}

/// All signs, and the scale, of what [`pack_even`] gives.
#[inline(always)]
pub(crate) fn unpack_even(bits: u32) -> ([u8; 4], u8) {
    (core::array::from_fn(|i| even_signs((bits >> (7 * i)) as u8)), (bits >> 28) as u8)
}
