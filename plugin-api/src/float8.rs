//! The two 8-bit floats of the Open Compute Project (OCP 8-bit Floating Point Specification, revision 1.0).
//!
//! A value is made of its sign, exponent and fraction as an IEEE 754 number is. What is too large is not clamped: as in ml_dtypes,
//! JAX and PyTorch it becomes the infinity of `f8_e5m2`, and NaN in `f8_e4m3`, which has no infinities.

use bytemuck::{Pod, Zeroable};

/// 4 bits of exponent (bias 7) and 3 of fraction: `f8_e4m3`, the format that others call E4M3FN.
///
/// There are no infinities, and NaN is `0x7f` and `0xff` alone. The largest value is 448, the smallest above zero 2⁻⁹.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct F8E4M3(u8);

/// 5 bits of exponent (bias 15) and 2 of fraction: `f8_e5m2`, the upper half of a binary16.
///
/// Infinities are `0x7c` and `0xfc`, and what is above them NaN. The largest value is 57344, the smallest above zero 2⁻¹⁶.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Pod, Zeroable)]
#[repr(transparent)]
pub struct F8E5M2(u8);

impl F8E4M3 {
    /// The value of these bits.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn to_bits(self) -> u8 {
        self.0
    }

    /// The nearest value, ties to the even fraction; NaN for what is above 464 in magnitude, infinities included.
    pub fn from_f64(value: f64) -> Self {
        const NAN: u8 = 0x7f;
        Self(encode::<3, 7>(value, NAN, NAN))
    }

    /// The nearest value, as [`Self::from_f64`] finds it.
    pub fn from_f32(value: f32) -> Self {
        Self::from_f64(value.into())
    }

    /// The same value.
    pub fn to_f32(self) -> f32 {
        match self.0 & 0x7f {
            0x7f => f32::NAN.copysign(sign(self.0)),
            magnitude => decode::<3, 7>(magnitude).copysign(sign(self.0)),
        }
    }
}

impl F8E5M2 {
    /// The value of these bits.
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The bits.
    pub const fn to_bits(self) -> u8 {
        self.0
    }

    /// The nearest value, ties to the even fraction; infinity for what is 61440 and more in magnitude.
    pub fn from_f64(value: f64) -> Self {
        Self(encode::<2, 15>(value, 0x7c, 0x7e))
    }

    /// The nearest value, as [`Self::from_f64`] finds it.
    pub fn from_f32(value: f32) -> Self {
        Self::from_f64(value.into())
    }

    /// The same value.
    pub fn to_f32(self) -> f32 {
        match self.0 & 0x7f {
            0x7c => f32::INFINITY.copysign(sign(self.0)),
            0x7d.. => f32::NAN.copysign(sign(self.0)),
            magnitude => decode::<2, 15>(magnitude).copysign(sign(self.0)),
        }
    }
}

/// A number of the sign of the bits.
fn sign(bits: u8) -> f32 {
    if bits & 0x80 == 0 { 1.0 } else { -1.0 }
}

/// The finite value of bits without a sign.
fn decode<const FRACTION: u32, const BIAS: i32>(magnitude: u8) -> f32 {
    let power = |exponent: i32| f32::from_bits(((exponent + 127) as u32) << 23);
    let (exponent, fraction) = (i32::from(magnitude >> FRACTION), magnitude & ((1 << FRACTION) - 1));
    let significand = if exponent == 0 { fraction } else { fraction | 1 << FRACTION };
    f32::from(significand) * power(exponent.max(1) - BIAS - FRACTION as i32)
}

/// The bits of the nearest value; `overflow` stands for what is too large, and both it and `nan` have no sign.
fn encode<const FRACTION: u32, const BIAS: i32>(value: f64, overflow: u8, nan: u8) -> u8 {
    let sign = u8::from(value.is_sign_negative()) << 7;
    if value.is_nan() {
        return sign | nan;
    }
    let magnitude = value.abs();
    let exponent = ((magnitude.to_bits() >> 52) as i32 - 1023).max(1 - BIAS);
    // In steps of the last bit of the fraction, which are exact. A fraction that rounds up to the next power of two carries into the exponent.
    let step = FRACTION as i32 - exponent;
    if step < FRACTION as i32 - 64 {
        return sign | overflow;
    }
    let steps = (magnitude * f64::from_bits(((step + 1023) as u64) << 52)).round_ties_even() as i32;
    let bits = ((exponent + BIAS - 1) << FRACTION) + steps;
    sign | bits.min(overflow.into()) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A format, as its codes are said to be.
    struct Format {
        fraction: i32,
        bias: i32,
        /// The code without a sign of the largest finite value.
        largest: u8,
        decode: fn(u8) -> f32,
        encode: fn(f64) -> u8,
        /// Codes without a sign of what is too large, and of NaN.
        overflow: u8,
        nan: u8,
    }

    const FORMATS: [Format; 2] = [
        Format {
            fraction: 3,
            bias: 7,
            largest: 0x7e,
            decode: |bits| F8E4M3::from_bits(bits).to_f32(),
            encode: |value| F8E4M3::from_f64(value).to_bits(),
            overflow: 0x7f,
            nan: 0x7f,
        },
        Format {
            fraction: 2,
            bias: 15,
            largest: 0x7b,
            decode: |bits| F8E5M2::from_bits(bits).to_f32(),
            encode: |value| F8E5M2::from_f64(value).to_bits(),
            overflow: 0x7c,
            nan: 0x7e,
        },
    ];

    impl Format {
        /// The formula of the specification, for the codes of finite values.
        fn value(&self, magnitude: u8) -> f64 {
            let codes = 2f64.powi(self.fraction);
            let (exponent, fraction) = (f64::from(magnitude) / codes, f64::from(magnitude) % codes / codes);
            match exponent.floor() as i32 {
                0 => fraction * 2f64.powi(1 - self.bias),
                exponent => (1.0 + fraction) * 2f64.powi(exponent - self.bias),
            }
        }
    }

    #[test]
    fn all_codes_are_the_values_of_the_formula_and_come_back() {
        for format in FORMATS {
            for magnitude in 0..0x80u8 {
                for (sign, factor) in [(0, 1.0), (0x80, -1.0)] {
                    let found = (format.decode)(magnitude | sign);
                    if magnitude <= format.largest {
                        let expected = (format.value(magnitude) * factor) as f32;
                        assert_eq!(found.to_bits(), expected.to_bits(), "{magnitude:#x}");
                        assert_eq!((format.encode)(found.into()), magnitude | sign, "{found}");
                    } else if format.overflow != format.nan && magnitude == format.overflow {
                        assert_eq!(found, f32::INFINITY * factor as f32);
                        assert_eq!((format.encode)(found.into()), magnitude | sign);
                    } else {
                        assert!(found.is_nan() && found.is_sign_negative() == (sign != 0), "{magnitude:#x}");
                        assert_eq!((format.encode)(found.into()), format.nan | sign);
                    }
                }
            }
        }
        assert_eq!((F8E4M3::from_bits(0x7e).to_f32(), F8E5M2::from_bits(0x7b).to_f32()), (448.0, 57344.0));
    }

    #[test]
    fn values_round_to_the_nearest_and_ties_to_even() {
        for format in FORMATS {
            for low in 0..=format.largest {
                // Above the largest there would be a value, were its code not taken.
                let (begin, end) = (format.value(low), format.value(low + 1));
                let high = if low == format.largest { format.overflow } else { low + 1 };
                let middle = f64::midpoint(begin, end);
                let tie = if low % 2 == 0 { low } else { high };
                for (value, expected) in [
                    (middle, tie),
                    (middle.next_down(), low),
                    (middle.next_up(), high),
                    (end.next_down(), high),
                    (begin.next_up(), low),
                ] {
                    assert_eq!((format.encode)(value), expected, "{value:e}");
                    assert_eq!((format.encode)(-value), expected | 0x80, "-{value:e}");
                }
            }
            for large in [1e6, 1e30, f64::from(f32::MAX), f64::MAX, f64::INFINITY] {
                assert_eq!((format.encode)(large), format.overflow, "{large:e}");
                assert_eq!((format.encode)(-large), format.overflow | 0x80, "-{large:e}");
            }
            for small in [0.0, f64::from_bits(1), f64::MIN_POSITIVE, 1e-30] {
                assert_eq!(((format.encode)(small), (format.encode)(-small)), (0, 0x80), "{small:e}");
            }
        }
    }
}
