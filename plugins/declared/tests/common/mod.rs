//! Declarations of every kind, and values to try them with.

#![allow(dead_code, reason = "each test takes what it needs")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bitquilt_declared::{Declaration, DeclaredEncoding};
use bitquilt_plugin_api::{QuantizationEncoding, Rows};

/// A name, the sizes of a block, and the other lines.
pub const KINDS: [(&str, usize, usize, &str); 29] = [
    ("nf4", 64, 34, "codes = { at = 2, bits = 4 }\nvalues = NF4\nscale = { at = 0, dtype = 'f16' }"),
    ("nf4.f32", 64, 36, "codes = { at = 4, bits = 4 }\nvalues = NF4\nscale = { at = 0, dtype = 'f32' }"),
    (
        "fp4",
        64,
        36,
        "codes = { at = 0, bits = 4, order = 'halves' }\nvalues = FP4\nscale = { at = 32, dtype = 'f32' }",
    ),
    ("af4", 64, 34, "codes = { at = 2, bits = 4 }\nvalues = AF4\nscale = { at = 0, dtype = 'bf16' }"),
    ("int3", 64, 26, "codes = { at = 2, bits = 3 }\noffset = 4\nscale = { at = 0, dtype = 'f16' }"),
    (
        "int4",
        32,
        18,
        "codes = { at = 2, bits = 4, order = 'halves' }\noffset = 8\nscale = { at = 0, dtype = 'f16' }",
    ),
    (
        "int4.zero",
        128,
        67,
        "codes = { at = 3, bits = 4 }\nscale = { at = 0, dtype = 'f16' }\nzero = { at = 2, bits = 4 }",
    ),
    (
        "mlx4.f16",
        64,
        36,
        "codes = { at = 4, bits = 4 }\nscale = { at = 0, dtype = 'f16' }\nmin = { at = 2, dtype = 'f16' }",
    ),
    (
        "mlx4.bf16",
        64,
        36,
        "codes = { at = 4, bits = 4 }\nscale = { at = 0, dtype = 'bf16' }\nmin = { at = 2, dtype = 'bf16' }",
    ),
    (
        "gptq",
        512,
        266,
        "groups = 4\ncodes = { at = 0, bits = 4 }\noffset = 1\nscale = { at = 256, dtype = 'f16' }\nzero = { at = 264, bits = 4 }",
    ),
    (
        "hqq3",
        128,
        56,
        "groups = 2\ncodes = { at = 8, bits = 3 }\nscale = { at = 0, dtype = 'f16' }\nmin = { at = 4, dtype = 'f16' }",
    ),
    (
        "hqq4.zero",
        64,
        36,
        "codes = { at = 4, bits = 4 }\nscale = { at = 0, dtype = 'f16' }\nzero = { at = 2, dtype = 'f16' }",
    ),
    (
        "hqq2.zero",
        64,
        32,
        "groups = 2\ncodes = { at = 16, bits = 2 }\noffset = 1\nscale = { at = 0, dtype = 'bf16' }\nzero = { at = 4, dtype = 'f32' }",
    ),
    (
        "onnx8",
        64,
        70,
        "groups = 2\ncodes = { at = 0, bits = 8 }\nsigned = true\nscale = { at = 64, dtype = 'f16' }\nzero = { at = 68, bits = 8 }",
    ),
    (
        "ternary",
        128,
        34,
        "codes = { at = 2, bits = 2 }\nvalues = [-1, 0, 1]\nunused = 0\nscale = { at = 0, dtype = 'f16' }",
    ),
    ("ternary.int", 128, 34, "codes = { at = 2, bits = 2 }\noffset = 1\nscale = { at = 0, dtype = 'f16' }"),
    ("int8", 32, 36, "codes = { at = 4, bits = 8 }\nsigned = true\nscale = { at = 0, dtype = 'f32' }"),
    ("int5", 20, 15, "codes = { at = 2, bits = 5 }\nsigned = true\nscale = { at = 0, dtype = 'bf16' }"),
    ("int6", 64, 50, "codes = { at = 2, bits = 6 }\noffset = 32\nscale = { at = 0, dtype = 'f16' }"),
    ("int7", 40, 37, "codes = { at = 2, bits = 7 }\noffset = 64\nscale = { at = 0, dtype = 'f16' }"),
    ("bit", 128, 18, "codes = { at = 2, bits = 1 }\nvalues = [-1, 1]\nscale = { at = 0, dtype = 'f16' }"),
    ("fp8.f32", 32, 36, "codes = { at = 4, dtype = 'f8_e4m3' }\nscale = { at = 0, dtype = 'f32' }"),
    (
        "fp8.bf16",
        32,
        34,
        "codes = { at = 0, dtype = 'f8_e5m2' }\nunused = 0\nscale = { at = 32, dtype = 'bf16' }",
    ),
    ("mxfp4", 32, 17, "codes = { at = 1, dtype = 'f4_e2m1' }\nscale = { at = 0, dtype = 'e8m0' }"),
    ("mxfp6", 32, 25, "codes = { at = 1, dtype = 'f6_e3m2' }\nscale = { at = 0, dtype = 'e8m0' }"),
    ("fp6", 64, 49, "codes = { at = 0, dtype = 'f6_e2m3' }\nscale = { at = 48, dtype = 'f8_e4m3' }"),
    (
        "nvfp4",
        64,
        40,
        "groups = 4\ncodes = { at = 8, dtype = 'f4_e2m1' }\nscale = { at = 4, dtype = 'f8_e4m3' }\nsuper_scale = { at = 0, dtype = 'f32' }",
    ),
    (
        "kquant",
        256,
        143,
        "groups = 16\ncodes = { at = 15, bits = 4 }\noffset = 8\nscale = { at = 2, bits = 6 }\nsuper_scale = { at = 0, dtype = 'f16' }",
    ),
    (
        "kquant.min",
        128,
        79,
        "groups = 4\ncodes = { at = 15, bits = 4 }\nscale = { at = 2, bits = 5 }\nsuper_scale = { at = 0, dtype = 'bf16' }\nmin = { at = 5, dtype = 'f16' }",
    ),
];

const NF4: &str = "[-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.091050036, 0.0, 0.0795803, 0.1609302,
    0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]";
const FP4: &str = "[0.0, 0.0052083333, 0.6666667, 1.0, 0.33333333, 0.5, 0.16666667, 0.25, -0.0, -0.0052083333, -0.6666667, -1.0,
    -0.33333333, -0.5, -0.16666667, -0.25]";
const AF4: &str = "[-1.0, -0.69441008, -0.51243739, -0.3736951, -0.25607552, -0.14982478, -0.04934812, 0.0, 0.04273164, 0.12934483,
    0.21961274, 0.31675666, 0.42563882, 0.55496234, 0.72424863, 1.0]";

/// The text of a kind.
pub fn text((name, block_len, block_bytes, lines): (&str, usize, usize, &str)) -> String {
    let lines = lines.replace("NF4", NF4).replace("FP4", FP4).replace("AF4", AF4);
    format!("name = 't.{name}'\nblock_len = {block_len}\nblock_bytes = {block_bytes}\n{lines}\n")
}

/// All kinds, with their names.
pub fn kinds() -> Vec<Declaration> {
    KINDS
        .iter()
        .map(|kind| Declaration::parse(&text(*kind)).unwrap_or_else(|error| panic!("{}: {error}", kind.0)))
        .collect()
}

/// The kind of this name, `t.` included.
pub fn kind(name: &str) -> Declaration {
    kinds().into_iter().find(|kind| kind.name() == name).unwrap_or_else(|| panic!("no kind is {name}"))
}

/// A sequence that is the same on each run (SplitMix64).
pub struct Random(pub u64);

impl Random {
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut bits = self.0;
        bits = (bits ^ bits >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        bits = (bits ^ bits >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        bits ^ bits >> 31
    }

    pub fn below(&mut self, count: usize) -> usize {
        (self.bits() % count as u64) as usize
    }

    pub fn uniform(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.uniform()).sum::<f32>() - 6.0
    }
}

/// Names and values of distributions.
pub fn distributions(count: usize) -> Vec<(&'static str, Vec<f32>)> {
    let draw = |seed, draw: fn(&mut Random, usize) -> f32| {
        let mut random = Random(seed);
        (0..count).map(|index| draw(&mut random, index)).collect::<Vec<f32>>()
    };
    vec![
        ("normal", draw(1, |random, _| 0.02 * random.normal())),
        (
            "heavy tails",
            draw(2, |random, _| (random.normal() / random.normal().abs().max(0.05)).clamp(-50.0, 50.0)),
        ),
        ("positive", draw(3, |random, _| random.uniform())),
        ("negative", draw(4, |random, _| -random.uniform() - 0.1)),
        ("shifted", draw(5, |random, _| 3.0 + 0.3 * random.normal())),
        ("sparse", draw(6, |random, _| if random.below(10) == 0 { random.normal() } else { 0.0 })),
        ("outliers", draw(7, |random, index| random.normal() * if index % 37 == 5 { 40.0 } else { 1.0 })),
        ("constant", vec![0.7; count]),
        ("ramp", (0..count).map(|index| (index % 64) as f32 - 31.5).collect()),
        ("zeros", vec![0.0; count]),
        ("small", draw(8, |random, _| 1e-6 * random.normal())),
        ("large", draw(9, |random, _| 1e4 * random.normal())),
    ]
}

pub fn quantize(declaration: &Declaration, values: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let mut bytes = vec![0xA5; values.len() / declaration.block_len() * declaration.block_bytes()];
    let row_len = importance.map_or(values.len(), <[f32]>::len);
    let rows = Rows::new(values, row_len).unwrap();
    DeclaredEncoding::new(declaration.clone()).quantize(rows, importance, &mut bytes).unwrap();
    bytes
}

pub fn dequantize(declaration: &Declaration, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![f32::NAN; bytes.len() / declaration.block_bytes() * declaration.block_len()];
    DeclaredEncoding::new(declaration.clone()).dequantize(bytes, &mut values).unwrap();
    values
}
