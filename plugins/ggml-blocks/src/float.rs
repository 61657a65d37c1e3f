//! The small floats that blocks carry as scales.

use std::ops::Neg;

use bytemuck::{Pod, Zeroable};

/// An IEEE 754 binary16 in little-endian bytes, so that a block that holds it may start at any address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Pod, Zeroable)]
#[repr(transparent)]
pub struct Half([u8; 2]);

impl From<Half> for half::f16 {
    fn from(value: Half) -> Self {
        Self::from_le_bytes(value.0)
    }
}

impl Half {
    /// Zero.
    pub const ZERO: Self = Self([0; 2]);

    /// The nearest binary16, ties to even; beyond 65504 an infinity, for NaN 0xfe00.
    ///
    /// The values of a row are finite, so that a NaN is one that arithmetic made of an overflow. Its sign depends on the
    /// processor; bytes do not, and have that of x86.
    ///
    /// Without branches, so that a loop of it becomes vector code: the float adder does the rounding, by adding a power
    /// of two whose last place is that of the result.
    #[inline(always)]
    pub fn from_f32(value: f32) -> Self {
        const TWO_112: f32 = f32::from_bits((127 + 112) << 23);
        const TWO_MINUS_110: f32 = f32::from_bits((127 - 110) << 23);
        let bits = value.to_bits();
        let magnitude = bits & 0x7fff_ffff;
        // What overflows a binary16 becomes an infinity here; everything else is multiplied by 4.
        let scaled = value.abs() * TWO_112 * TWO_MINUS_110;
        // Below binary16's normal range all results have the last place of its smallest normal.
        let exponent = (magnitude & 0x7f80_0000).max(0x3880_0000);
        let rounded = (f32::from_bits(exponent + (15 << 23)) + scaled).to_bits();
        let finite = ((rounded >> 13) & 0x7c00) + (rounded & 0x0fff);
        let signed = (bits >> 16) & 0x8000 | finite;
        Self::from_bits(if magnitude > 0x7f80_0000 { 0xfe00 } else { signed as u16 })
    }

    /// The value, exactly; a signaling NaN becomes quiet.
    #[inline(always)]
    pub fn to_f32(self) -> f32 {
        const TWO_MINUS_112: f32 = f32::from_bits((127 - 112) << 23);
        let bits = u32::from(self.to_bits());
        let magnitude = bits & 0x7fff;
        // The exponent is rebiased by a multiplication, which keeps infinities and NaN what they are.
        let normal = f32::from_bits((magnitude << 13) + (0xe0 << 23)) * TWO_MINUS_112;
        let subnormal = f32::from_bits(magnitude | (126 << 23)) - 0.5;
        let value = if magnitude < 0x0400 { subnormal } else { normal };
        f32::from_bits(value.to_bits() | (bits & 0x8000) << 16)
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

impl Neg for Half {
    type Output = Self;

    #[inline(always)]
    fn neg(self) -> Self {
        Self::from_bits(self.to_bits() ^ 0x8000)
    }
}

#[cfg(test)]
mod tests {
    use super::Half;
    use half::f16;

    #[test]
    fn every_half_has_its_value() {
        for bits in 0..=u16::MAX {
            let (ours, expected) = (Half::from_bits(bits).to_f32(), f16::from_bits(bits).to_f32());
            assert_eq!(ours.to_bits(), expected.to_bits(), "{bits:#x}");
        }
    }

    #[test]
    fn floats_round_to_the_nearest_half() {
        // Every value of the upper 19 bits, with lower bits below, at and above a tie.
        for upper in 0..1u32 << 19 {
            for lower in [0, 1, 0x0fff, 0x1000, 0x1001, 0x1fff] {
                let value = f32::from_bits(upper << 13 | lower);
                let (ours, expected) = (Half::from_f32(value).to_bits(), f16::from_f32(value).to_bits());
                if value.is_nan() {
                    assert_eq!(ours, 0xfe00, "{value:?}");
                } else {
                    assert_eq!(ours, expected, "{value:e}");
                }
            }
        }
    }
}
