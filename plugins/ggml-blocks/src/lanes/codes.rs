//! Integers beside floats in the lanes of a register, and tables that they look up.

use core::ops::{Add, Mul, Sub};

use crate::lanes::ints;

/// A register of f32 lanes that come with an integer each. A code is an integer made of levels of a few bits.
pub trait CodeLanes: Copy {
    /// An integer for each lane.
    type Codes: Copy;
    /// 8 floats, the same for all lanes.
    type Table: Copy + Add<Output = Self::Table> + Sub<Output = Self::Table> + Mul<Output = Self::Table>;

    /// `value` in every lane.
    fn splat_code(value: u32) -> Self::Codes;
    /// The first `COUNT` integers.
    fn load_codes(src: &[u32]) -> Self::Codes;
    /// The first `COUNT` integers, extended by zeros.
    fn load_short_codes(src: &[u16]) -> Self::Codes;
    /// Writes the first `COUNT` integers.
    fn store_codes(codes: Self::Codes, dst: &mut [u32]);

    /// The nearest integer, ties to even, clamped to `0..=top`.
    fn nearest_level(self, top: u32) -> Self::Codes;
    /// `code | level << at`, with `at < 32`.
    fn put_level(codes: Self::Codes, levels: Self::Codes, at: u32) -> Self::Codes;
    /// `code >> at`, with `at < 32`.
    fn from_level(codes: Self::Codes, at: u32) -> Self::Codes;

    /// A table of these entries.
    fn table(entries: &[f32; 8]) -> Self::Table;
    /// The entry that the low 3 bits of each lane's code number.
    fn entries(table: Self::Table, codes: Self::Codes) -> Self;
}

/// The table of `f32`, the one-lane register.
#[derive(Clone, Copy)]
pub struct Entries([f32; 8]);

impl Add for Entries {
    type Output = Self;
    #[inline(always)]
    fn add(self, other: Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] + other.0[i]))
    }
}

impl Sub for Entries {
    type Output = Self;
    #[inline(always)]
    fn sub(self, other: Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] - other.0[i]))
    }
}

impl Mul for Entries {
    type Output = Self;
    #[inline(always)]
    fn mul(self, other: Self) -> Self {
        Self(core::array::from_fn(|i| self.0[i] * other.0[i]))
    }
}

impl CodeLanes for f32 {
    type Codes = u32;
    type Table = Entries;

    #[inline(always)]
    fn splat_code(value: u32) -> u32 {
        value
    }
    #[inline(always)]
    fn load_codes(src: &[u32]) -> u32 {
        src[0]
    }
    #[inline(always)]
    fn load_short_codes(src: &[u16]) -> u32 {
        u32::from(src[0])
    }
    #[inline(always)]
    fn store_codes(codes: u32, dst: &mut [u32]) {
        dst[0] = codes;
    }
    #[inline(always)]
    fn nearest_level(self, top: u32) -> u32 {
        ints::nearest(self).clamp(0, top as i32) as u32
    }
    #[inline(always)]
    fn put_level(codes: u32, levels: u32, at: u32) -> u32 {
        codes | levels << at
    }
    #[inline(always)]
    fn from_level(codes: u32, at: u32) -> u32 {
        codes >> at
    }
    #[inline(always)]
    fn table(entries: &[f32; 8]) -> Entries {
        Entries(*entries)
    }
    #[inline(always)]
    fn entries(table: Entries, codes: u32) -> f32 {
        table.0[(codes & 7) as usize]
    }
}
