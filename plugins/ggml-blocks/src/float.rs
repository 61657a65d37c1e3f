//! The small floats that blocks carry as scales.

use bytemuck::{Pod, Zeroable};
use half::f16;

/// An IEEE 754 binary16 in little-endian bytes, so that a block that holds it may start at any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Half([u8; 2]);

impl Half {
    /// Zero.
    pub const ZERO: Self = Self([0; 2]);

    /// The nearest binary16, ties to even; beyond 65504 an infinity.
    #[inline(always)]
    pub fn from_f32(value: f32) -> Self {
        Self(f16::from_f32(value).to_le_bytes())
    }

    /// The value, exactly.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        f16::from_le_bytes(self.0).to_f32()
    }

    /// The value of these bits.
    #[inline(always)]
    pub const fn from_bits(bits: u16) -> Self {
        Self(bits.to_le_bytes())
    }

    /// The bits.
    #[inline(always)]
    pub const fn to_bits(self) -> u16 {
        u16::from_le_bytes(self.0)
    }
}
