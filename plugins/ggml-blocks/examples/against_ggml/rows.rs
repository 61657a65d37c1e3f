//! Rows to quantize: many distributions, and those at the edges.
//!
//! Made with operations that are exact or rounded the same everywhere: a seed's rows are the same bits on every machine.

/// xorshift64*: the rows of a seed are the same everywhere.
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        let mut random = Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        for _ in 0..8 {
            random.bits();
        }
        random
    }

    /// 64 random bits.
    pub fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to 1.
    pub fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Near a standard normal distribution.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    fn below(&mut self, count: u64) -> u64 {
        self.bits() % count
    }
}

fn power_of_two(exponent: i32) -> f32 {
    f32::from_bits(((127 + exponent) as u32) << 23)
}

fn cube(x: f32) -> f32 {
    x * x * x
}

/// Names of the kinds of rows.
pub const KINDS: &[&str] = &[
    "normal",
    "heavy tails",
    "very heavy tails",
    "least normal numbers",
    "denormals",
    "huge",
    "largest",
    "sparse",
    "ramp",
    "zeros of both signs and two values",
    "positive",
    "negative",
    "tiny, about the thresholds of zero",
    "runs",
    "near a constant",
    "any bits",
    "integers",
    "halves",
    "decoded",
    "a constant",
    "an outlier in each block",
    "blocks of other kinds",
    "one value",
    "zeros",
    "pairs of opposites",
    "small differences of magnitude",
    "powers of two",
];

/// A row of `len` values of a kind.
pub fn row(random: &mut Random, kind: usize, len: usize) -> Vec<f32> {
    let scale = power_of_two(random.below(20) as i32 - 13) * (1.0 + random.unit());
    let constant = random.normal() * scale;
    let at = random.below(len as u64) as usize;
    let finite = |x: f32| if x.is_finite() { x } else { 1.0 };
    (0..len)
        .map(|i| match KINDS[kind] {
            "normal" => random.normal() * scale,
            "heavy tails" => cube(random.normal()) * scale,
            "very heavy tails" => random.normal() / (random.normal().abs() + 1e-3),
            "least normal numbers" => random.normal() * 1e-38,
            "denormals" => random.normal() * 1e-41,
            "huge" => random.normal() * 3e37,
            "largest" => finite((2.0 * random.unit() - 1.0) * f32::MAX),
            "sparse" if random.unit() < 0.05 => random.normal(),
            "sparse" | "zeros" => 0.0,
            "ramp" => (i as f32 / len as f32 - 0.3) * scale,
            "zeros of both signs and two values" => [0.0, -0.0, scale, -scale][random.below(4) as usize],
            "positive" => random.unit() * scale,
            "negative" => -random.unit() * scale,
            "tiny, about the thresholds of zero" => {
                random.normal() * power_of_two(-(16 + i as i32 / 32 % 40))
            }
            "runs" => [scale, -0.0, random.normal()][i / 32 % 3],
            "near a constant" => 1.0 + random.normal() * 1e-6,
            "any bits" => finite(f32::from_bits(random.bits() as u32)),
            "integers" => random.below(255) as f32 - 127.0,
            "halves" => (random.below(33) as f32 - 16.0) * 0.5 * scale,
            "decoded" => (random.below(16) as f32 - 8.0) * scale * (1.0 + (i / 32 % 5) as f32),
            "a constant" => constant,
            "an outlier in each block" if i % 32 == 7 => random.normal() * scale * 1e3,
            "an outlier in each block" => random.normal() * scale,
            "blocks of other kinds" => match (i / 32).wrapping_mul(2_654_435_761) >> 7 & 7 {
                0 => 0.0,
                1 => random.normal(),
                2 => constant,
                3 => random.normal() * 1e-30,
                4 => random.normal() * 1e30,
                5 => random.unit(),
                6 => random.normal() * 1e-9,
                _ => -random.unit() * 100.0,
            },
            "one value" if i == at => scale,
            "one value" => 0.0,
            "pairs of opposites" => constant * [1.0, -1.0][i % 2] * (1 + i / 32 % 3) as f32,
            "small differences of magnitude" => {
                [1.0f32, -1.0][random.below(2) as usize] * (1.0 + random.unit() * 1e-5)
            }
            "powers of two" => {
                [1.0f32, -1.0][random.below(2) as usize] * power_of_two(random.below(9) as i32 - 4)
            }
            other => unreachable!("{other}"),
        })
        .collect()
}

/// Names of the kinds of importance.
pub const IMPORTANCES: &[&str] = &["uniform", "ones", "heavy tails", "with zeros", "zeros", "tiny", "huge"];

/// A weight for each column.
pub fn importance(random: &mut Random, kind: usize, len: usize) -> Vec<f32> {
    (0..len)
        .map(|_| match IMPORTANCES[kind] {
            "uniform" => random.unit() * 3.0,
            "ones" => 1.0,
            "heavy tails" => cube(random.normal()).abs(),
            "with zeros" if random.unit() < 0.4 => 0.0,
            "with zeros" => random.unit(),
            "zeros" => 0.0,
            "tiny" => random.unit() * 1e-30,
            "huge" => random.unit() * 1e30,
            other => unreachable!("{other}"),
        })
        .collect()
}
