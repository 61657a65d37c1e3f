//! One f32 algorithm for several blocks at a time.
//!
//! A search for a scale adds up floats, and the order of a sum decides its last bit. So a search is never split over
//! the lanes of a register: each lane runs the whole search, in its own order, for a block of its own. The searches
//! are written once, over [`Lanes`]; with [`f32`], the one-lane register, they are the scalar reference. The searches in
//! a grid have few blocks but many candidates for each: there the lanes are candidates, which is as good.

mod avx2;
mod avx512;
pub(crate) mod codes;
pub(crate) mod dispatch;
pub(crate) mod elementwise;
pub(crate) mod ints;
mod neon;

use core::ops::{Add, Div, Mul, Neg, Sub};

use codes::CodeLanes;

/// Operators of lanes, an instruction each.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! operators {
    ($lanes:ident: $($trait:ident $name:ident $instruction:ident),*) => {
        $(impl core::ops::$trait for $lanes {
            type Output = Self;

            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                // SAFETY: the features are there, see the type.
                Self(unsafe { $instruction(self.0, other.0) })
            }
        })*
    };
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use operators;

/// A register of f32 lanes, of one instruction set. All operations are IEEE 754's, lane by lane, each rounded by itself.
pub trait Lanes:
    CodeLanes
    + Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// Number of lanes.
    const COUNT: usize;
    /// A boolean for each lane.
    type Mask: Copy;

    /// `value` in every lane.
    fn splat(value: f32) -> Self;
    /// Transposes at most `COUNT` rows: lane `k` of vector `i` is `rows[k][i]`, or 0 where there is no row `k`.
    fn gather<const N: usize>(rows: &[[f32; N]]) -> [Self; N];
    /// The first `COUNT` values.
    fn load(src: &[f32]) -> Self;
    /// The first `COUNT` integers.
    fn from_bytes(src: &[i8]) -> Self;
    /// Writes the first `dst.len()` lanes, at most `COUNT`.
    fn store(self, dst: &mut [f32]);

    /// |self|.
    fn abs(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// `ints::nearest`, then clamped to `low..=high`.
    fn nearest(self, low: i32, high: i32) -> Self;

    /// `ints::truncate`, of which the low bytes are written to the first `COUNT` of `dst`.
    fn truncate(self, dst: &mut [i8]);
    /// The smallest of the lanes, none of which is NaN.
    fn least(self) -> f32;

    /// self < other.
    fn lt(self, other: Self) -> Self::Mask;
    /// self != other; true where one is NaN.
    fn ne(self, other: Self) -> Self::Mask;
    /// Both.
    fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// True in some lane.
    fn any(mask: Self::Mask) -> bool;
    /// A bit for each lane, that of the first lowest.
    fn bits(mask: Self::Mask) -> u32;
    /// `yes` where the mask is true, `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// `yes` where the mask is true, `no` elsewhere.
    fn select_codes(mask: Self::Mask, yes: Self::Codes, no: Self::Codes) -> Self::Codes;

    /// `table[index & 15]` for each index.
    fn look_up(table: &[i8; 16], indices: [i8; 16]) -> [i8; 16];
    /// A bit for each byte, that of the first lowest: set where it is negative.
    fn sign_bits(bytes: [i8; 32]) -> u32;
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
