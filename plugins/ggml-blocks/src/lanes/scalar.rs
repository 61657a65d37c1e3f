//! Plain Rust: one lane.

use bitquilt_simd::Scalar;

use super::{HasLanes, Lanes, ints};

impl HasLanes for Scalar<false> {
    type Lanes = f32;
}

impl Lanes for f32 {
    const COUNT: usize = 1;
    type Mask = bool;

    #[inline(always)]
    fn splat(value: f32) -> Self {
        value
    }
    #[inline(always)]
    fn gather<const N: usize>(rows: &[[f32; N]]) -> [Self; N] {
        rows[0]
    }
    #[inline(always)]
    fn load(src: &[f32]) -> Self {
        src[0]
    }
    #[inline(always)]
    fn from_bytes(src: &[i8]) -> Self {
        f32::from(src[0])
    }
    #[inline(always)]
    fn store(self, dst: &mut [f32]) {
        dst[0] = self;
    }
    #[inline(always)]
    fn truncate(self, dst: &mut [i8]) {
        dst[0] = ints::truncate(self) as i8;
    }
    #[inline(always)]
    fn least(self) -> f32 {
        self
    }
    #[inline(always)]
    fn abs(self) -> Self {
        f32::abs(self)
    }
    #[inline(always)]
    fn sqrt(self) -> Self {
        f32::sqrt(self)
    }
    #[inline(always)]
    fn nearest(self, low: i32, high: i32) -> Self {
        ints::nearest(self).clamp(low, high) as f32
    }
    #[inline(always)]
    fn lt(self, other: Self) -> bool {
        self < other
    }
    #[inline(always)]
    fn ne(self, other: Self) -> bool {
        self != other
    }
    #[inline(always)]
    fn both(a: bool, b: bool) -> bool {
        a && b
    }
    #[inline(always)]
    fn any(mask: bool) -> bool {
        mask
    }
    #[inline(always)]
    fn bits(mask: bool) -> u32 {
        u32::from(mask)
    }
    #[inline(always)]
    fn select(mask: bool, yes: Self, no: Self) -> Self {
        if mask { yes } else { no }
    }
    #[inline(always)]
    fn select_codes(mask: bool, yes: u32, no: u32) -> u32 {
        if mask { yes } else { no }
    }
    #[inline(always)]
    fn look_up(table: &[i8; 16], indices: [i8; 16]) -> [i8; 16] {
        indices.map(|index| table[usize::from(index as u8 & 15)])
    }
    #[inline(always)]
    fn sign_bits(bytes: [i8; 32]) -> u32 {
        bytes.iter().zip(0..).fold(0, |bits, (&byte, i)| bits | (u32::from(byte < 0) << i))
    }
}
