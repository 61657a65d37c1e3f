//! The values that plugins are tested with.

use std::fmt::{self, Display, Formatter};

use bitquilt_plugin_api::{DType, Element, EncodingSpec, Error, QuantizationEncoding, Result, Rows};

/// A sequence that is the same each time (SplitMix64).
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(super) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ bits >> 31
    }

    /// From 0 to below 1.
    pub(super) fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// A sum of 12 uniform values, which is nearly normal: mean 0, standard deviation 1.
    pub(super) fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

/// A way to draw the value of an index.
pub(super) type Draw = fn(&mut Random, usize) -> f32;

/// The distributions of the round trip.
pub(super) const DISTRIBUTIONS: [(&str, Draw); 12] = [
    ("normal", |random, _| random.normal()),
    ("uniform", |random, _| 2.0 * random.uniform() - 1.0),
    ("laplace", |random, _| {
        let u = random.uniform() - 0.5;
        -u.signum() * (1.0 - 2.0 * u.abs()).max(1e-6).ln()
    }),
    ("heavy tails", |random, _| (random.normal() / random.normal().abs().max(0.05)).clamp(-50.0, 50.0)),
    ("log-normal", |random, index| (random.normal() * 1.5).exp() * if index % 2 == 0 { 1.0 } else { -1.0 }),
    ("positive", |random, _| random.uniform()),
    ("shifted", |random, _| 3.0 + 0.3 * random.normal()),
    ("sparse", |random, _| if random.bits().is_multiple_of(10) { random.normal() } else { 0.0 }),
    ("outliers", |random, index| random.normal() * if index % 37 == 5 { 40.0 } else { 1.0 }),
    ("constant", |_, _| 0.7),
    ("small", |random, _| 1e-3 * random.normal()),
    ("large", |random, _| 1e3 * random.normal()),
];

/// Values at the ends of what f32 has, and patterns that make a scale hard to choose.
pub(super) const EDGES: [(&str, Draw); 12] = [
    ("zeros", |_, _| 0.0),
    ("negative zeros", |_, _| -0.0),
    ("one value among zeros", |_, index| if index % 16 == 7 { -1.5 } else { 0.0 }),
    ("alternating", |_, index| if index % 2 == 0 { 1.0 } else { -1.0 }),
    ("ramp", |_, index| (index % 64) as f32 - 31.5),
    ("1e-8", |random, _| 1e-8 * random.normal()),
    ("least normal", |_, index| if index % 2 == 0 { f32::MIN_POSITIVE } else { -f32::MIN_POSITIVE }),
    ("least subnormal", |_, index| if index % 3 == 0 { f32::from_bits(1) } else { -f32::from_bits(1) }),
    ("f16's largest", |_, index| if index % 2 == 0 { 65504.0 } else { -65504.0 }),
    ("1e30", |random, _| 1e30 * random.normal()),
    ("largest", |_, index| if index % 2 == 0 { f32::MAX } else { f32::MIN }),
    ("largest among small", |random, index| if index % 16 == 3 { f32::MAX } else { random.normal() }),
];

/// Values of a distribution.
pub(super) fn draw(draw: Draw, count: usize, seed: u64) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..count).map(|index| draw(&mut random, index)).collect()
}

/// Nearly normal values.
pub(super) fn normal(count: usize, seed: u64) -> Vec<f32> {
    draw(DISTRIBUTIONS[0].1, count, seed)
}

/// What a dense tensor is filled with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Filling {
    /// Floats are nearly normal; whole numbers are 0, 1, 2 and again, so that they may be indices.
    Plain,
    /// All are 0.
    Zeros,
    /// All are 1.
    Ones,
    /// Floats that are not finite, whole numbers that are no index.
    Hostile,
}

impl Display for Filling {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain => "plain values",
            Self::Zeros => "zeros",
            Self::Ones => "ones",
            Self::Hostile => "values that are not finite and odd indices",
        })
    }
}

/// The bytes of `count` values of a dtype.
pub(super) fn dense_bytes(dtype: DType, count: usize, filling: Filling, seed: u64) -> Vec<u8> {
    let mut random = Random::new(seed);
    let size = dtype.size().unwrap_or_default();
    let is_float = [DType::F32, DType::F64, DType::F16, DType::BF16].contains(&dtype);
    let mut bytes = Vec::with_capacity(count * size);
    for index in 0..count {
        let value = match filling {
            Filling::Plain if is_float => random.normal(),
            Filling::Plain => (index % 3) as f32,
            Filling::Zeros => 0.0,
            Filling::Ones => 1.0,
            Filling::Hostile => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX, -1.0][index % 5],
        };
        let whole = match filling {
            Filling::Hostile => [-1, i64::MAX, i64::MIN, 1 << 31, 3][index % 5],
            _ => value as i64,
        };
        match dtype {
            DType::F32 => bytes.extend(value.to_le_bytes()),
            DType::F64 => bytes.extend(f64::from(value).to_le_bytes()),
            DType::F16 => bytes.extend(half::f16::from_f32(value).to_le_bytes()),
            DType::BF16 => bytes.extend(half::bf16::from_f32(value).to_le_bytes()),
            DType::BOOL => bytes.push((whole & 1) as u8),
            _ => bytes.extend(&whole.to_le_bytes()[..size]),
        }
    }
    bytes
}

/// Whether a tensor is of floats.
pub(super) fn is_dense(element: &Element) -> Option<DType> {
    match element {
        Element::Dense(dtype) => Some(*dtype),
        Element::Encoded(_) => None,
    }
}

/// The kit's own encoding, for ops that take any: f32 as it is.
pub(super) struct PlainBlocks;

/// Its name.
pub(super) const PLAIN: &str = "conformance.f32";
const PLAIN_LEN: usize = 32;

impl QuantizationEncoding for PlainBlocks {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new(PLAIN, PLAIN_LEN, PLAIN_LEN * 4).summary("f32 as it is, of the conformance kit")
    }

    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        for (bytes, value) in dst.as_chunks_mut().0.iter_mut().zip(rows.values()) {
            *bytes = value.to_le_bytes();
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        if blocks.len() != size_of_val(dst) {
            return Err(Error::invalid("the blocks do not have the values' bytes"));
        }
        for (bytes, value) in blocks.as_chunks().0.iter().zip(dst) {
            *value = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }
}
