//! The floats that scales and codes are stored as.

use bitquilt_plugin_api::F8E4M3;
use half::{bf16, f16};

/// How a scale, a super scale or a minimum is stored, in little-endian bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleDType {
    /// IEEE 754 binary32.
    F32,
    /// IEEE 754 binary16.
    F16,
    /// The upper half of a binary32.
    BF16,
    /// 4 bits of exponent, 3 of fraction; no infinities, NaN where all bits but the sign are 1.
    F8E4M3,
    /// A power of two, `2^(byte - 127)`; NaN for 255. It has no sign and no zero.
    E8M0,
}

impl ScaleDType {
    pub(crate) const ALL: [Self; 5] = [Self::F32, Self::F16, Self::BF16, Self::F8E4M3, Self::E8M0];

    /// Its name in a declaration.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::F8E4M3 => "f8_e4m3",
            Self::E8M0 => "e8m0",
        }
    }

    /// The dtype of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Its bytes.
    pub fn size(self) -> usize {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::BF16 => 2,
            Self::F8E4M3 | Self::E8M0 => 1,
        }
    }

    /// Whether it has negative values and zero.
    pub fn is_signed(self) -> bool {
        self != Self::E8M0
    }

    /// The value of stored bits, exactly.
    pub(crate) fn value(self, raw: u32) -> f32 {
        match self {
            Self::F32 => f32::from_bits(raw),
            Self::F16 => f16::from_bits(raw as u16).to_f32(),
            Self::BF16 => bf16::from_bits(raw as u16).to_f32(),
            Self::F8E4M3 => F8E4M3::from_bits(raw as u8).to_f32(),
            // 2^-127 is a subnormal.
            Self::E8M0 => match raw {
                0 => f32::from_bits(1 << 22),
                255.. => f32::NAN,
                exponent => f32::from_bits(exponent << 23),
            },
        }
    }

    /// The bits of the nearest finite value. What is not positive is the least value where there is no sign.
    pub(crate) fn store(self, value: f64) -> u32 {
        let largest = f64::from(self.largest());
        let value = value.clamp(-largest, largest);
        match self {
            Self::F32 => (value as f32).to_bits(),
            Self::F16 => f16::from_f32(value as f32).to_bits().into(),
            Self::BF16 => bf16::from_f32(value as f32).to_bits().into(),
            Self::F8E4M3 => F8E4M3::from_f64(value).to_bits().into(),
            Self::E8M0 => {
                let bits = value.max(f64::MIN_POSITIVE).to_bits();
                // The upper half of a binade is nearer to the next power, a tie included.
                let exponent = (bits >> 52) as i32 - 1023 + ((bits >> 51) & 1) as i32;
                (exponent + 127).clamp(0, 254) as u32
            }
        }
    }

    /// The largest finite value.
    pub(crate) fn largest(self) -> f32 {
        match self {
            Self::F32 => f32::MAX,
            Self::F16 => f16::MAX.to_f32(),
            Self::BF16 => bf16::MAX.to_f32(),
            Self::F8E4M3 => 448.0,
            Self::E8M0 => self.value(254),
        }
    }
}

/// How codes that are floats are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CodeDType {
    /// Sign, 4 bits of exponent (bias 7), 3 of fraction.
    F8E4M3,
    /// Sign, 5 bits of exponent (bias 15), 2 of fraction.
    F8E5M2,
    /// Sign, 2 bits of exponent (bias 1), 1 of fraction.
    F4E2M1,
    /// Sign, 2 bits of exponent (bias 1), 3 of fraction.
    F6E2M3,
    /// Sign, 3 bits of exponent (bias 3), 2 of fraction.
    F6E3M2,
}

impl CodeDType {
    pub(crate) const ALL: [Self; 5] = [Self::F8E4M3, Self::F8E5M2, Self::F4E2M1, Self::F6E2M3, Self::F6E3M2];

    /// Its name in a declaration.
    pub fn name(self) -> &'static str {
        match self {
            Self::F8E4M3 => "f8_e4m3",
            Self::F8E5M2 => "f8_e5m2",
            Self::F4E2M1 => "f4_e2m1",
            Self::F6E2M3 => "f6_e2m3",
            Self::F6E3M2 => "f6_e3m2",
        }
    }

    /// The dtype of a name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }

    /// Its bits.
    pub fn bits(self) -> u32 {
        match self {
            Self::F8E4M3 | Self::F8E5M2 => 8,
            Self::F6E2M3 | Self::F6E3M2 => 6,
            Self::F4E2M1 => 4,
        }
    }

    /// Bits of the fraction, and the bias of the exponent.
    pub(crate) fn shape(self) -> (u32, i32) {
        match self {
            Self::F8E4M3 => (3, 7),
            Self::F8E5M2 => (2, 15),
            Self::F4E2M1 => (1, 1),
            Self::F6E2M3 => (3, 1),
            Self::F6E3M2 => (2, 3),
        }
    }

    /// The code without a sign of the largest finite value; those above it are infinities and NaN.
    fn largest_code(self) -> u32 {
        match self {
            Self::F8E4M3 => 0x7e,
            Self::F8E5M2 => 0x7b,
            Self::F4E2M1 => 0x07,
            Self::F6E2M3 | Self::F6E3M2 => 0x1f,
        }
    }

    /// Whether a code is a number: neither an infinity nor NaN.
    pub fn is_finite(self, code: u32) -> bool {
        code & ((1 << (self.bits() - 1)) - 1) <= self.largest_code()
    }

    /// Whether every code is a number.
    pub(crate) fn is_all_finite(self) -> bool {
        self.is_finite((1 << self.bits()) - 1)
    }

    /// The value of each code. One that is an infinity or NaN has the value `unused`, or the largest value with its own sign.
    pub(crate) fn values(self, unused: Option<f32>) -> Vec<f32> {
        let (sign, largest) = (1 << (self.bits() - 1), self.largest_code());
        let value = |code: u32| match unused {
            Some(unused) if !self.is_finite(code) => unused,
            _ => {
                let value = self.magnitude((code & (sign - 1)).min(largest));
                if code & sign == 0 { value } else { -value }
            }
        };
        (0..2 * sign).map(value).collect()
    }

    fn magnitude(self, code: u32) -> f32 {
        let (fraction, bias) = self.shape();
        let (exponent, significand) = ((code >> fraction) as i32, code & ((1 << fraction) - 1));
        let significand = if exponent == 0 { significand } else { significand | 1 << fraction };
        let power = exponent.max(1) - bias - fraction as i32;
        significand as f32 * f32::from_bits(((power + 127) as u32) << 23)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_the_values_of_their_formula() {
        // Fraction bits, bias, and the largest value.
        for (dtype, fraction, bias, largest) in [
            (CodeDType::F8E4M3, 3, 7, 448.0),
            (CodeDType::F8E5M2, 2, 15, 57344.0),
            (CodeDType::F4E2M1, 1, 1, 6.0),
            (CodeDType::F6E2M3, 3, 1, 7.5),
            (CodeDType::F6E3M2, 2, 3, 28.0f32),
        ] {
            let values = dtype.values(None);
            assert_eq!(values.len(), 1 << dtype.bits());
            let half = values.len() / 2;
            for code in 0..half {
                let steps = 2f64.powi(fraction);
                let (exponent, rest) = ((code as f64 / steps).floor(), code as f64 % steps / steps);
                let value = match exponent as i32 {
                    0 => rest * 2f64.powi(1 - bias),
                    exponent => (1.0 + rest) * 2f64.powi(exponent - bias),
                };
                let expected = (value as f32).min(largest);
                assert_eq!(values[code].to_bits(), expected.to_bits(), "{dtype:?} {code:#x}");
                assert_eq!(values[half + code].to_bits(), (-expected).to_bits(), "{dtype:?} {code:#x}");
                assert_eq!(dtype.is_finite(code as u32), value <= f64::from(largest), "{dtype:?} {code:#x}");
            }
            assert_eq!(values[half - 1], largest);
        }
        assert_eq!(
            CodeDType::F8E5M2.values(Some(0.5))[0x7b..0x81],
            [57344.0, 0.5, 0.5, 0.5, 0.5, -0.0, -(2f32.powi(-16))][..6]
        );
        assert!(CodeDType::F6E3M2.is_all_finite() && !CodeDType::F8E4M3.is_all_finite());
    }

    #[test]
    fn scales_are_stored_as_the_nearest_finite_value() {
        for (dtype, value, raw, stored) in [
            (ScaleDType::F32, 0.1, 0x3dcc_cccd, 0.1f32),
            (ScaleDType::F32, 1e300, 0x7f7f_ffff, f32::MAX),
            (ScaleDType::F16, 1.0, 0x3c00, 1.0),
            (ScaleDType::F16, -1e9, 0xfbff, -65504.0),
            (ScaleDType::BF16, 1.0 + 1.0 / 256.0, 0x3f80, 1.0),
            (ScaleDType::BF16, 1.0 + 3.0 / 256.0, 0x3f82, 1.015625),
            (ScaleDType::F8E4M3, 500.0, 0x7e, 448.0),
            (ScaleDType::F8E4M3, -1.0625, 0xb8, -1.0),
            (ScaleDType::E8M0, 1.0, 127, 1.0),
            (ScaleDType::E8M0, 1.49, 127, 1.0),
            (ScaleDType::E8M0, 1.5, 128, 2.0),
            (ScaleDType::E8M0, 0.0, 0, 2f32.powi(-127)),
            (ScaleDType::E8M0, -3.0, 0, 2f32.powi(-127)),
            (ScaleDType::E8M0, 1e300, 254, 2f32.powi(127)),
        ] {
            assert_eq!(dtype.store(value), raw, "{dtype:?} {value}");
            assert_eq!(dtype.value(raw).to_bits(), stored.to_bits(), "{dtype:?} {value}");
        }
        assert!(ScaleDType::E8M0.value(255).is_nan() && ScaleDType::F8E4M3.value(0x7f).is_nan());
    }
}
