//! Products with weights of declared encodings, beside their formula in f64: every kind of declaration that is prepared in its own way,
//! every instruction set of the machine, one column to many.

#![allow(clippy::unwrap_used)]

mod random;

use bitquilt_declared::{Declaration, DeclaredEncoding};
use bitquilt_kernels::{Isa, PackedWeight, Serial};
use bitquilt_plugin_api::{PreparedMemory, QuantizationEncoding, Rows};
use bitquilt_qmatmul::declared;
use half::bf16;

/// Values in a block of activations.
const STRIP: usize = 32;

/// A declaration, and how far a value of a weight is at most from what the kernels multiply: as a part of its block's largest.
struct Case {
    text: &'static str,
    rounding: f64,
}

const fn exact(text: &'static str) -> Case {
    Case { text, rounding: 0.0 }
}

const NF4: &str = "values = [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.091050036, 0.0, 0.0795803, \
    0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]\n";

/// Prepared as integers: by the width of codes, and by factors.
const CASES: [Case; 23] = [
    exact(
        "block_len = 128\nblock_bytes = 34\ncodes = { at = 2, bits = 2 }\nvalues = [-1.0, 0.0, 1.0]\nunused = 0.0\nscale = { at = 0, dtype = \"f16\" }",
    ),
    exact(
        "block_len = 64\nblock_bytes = 26\ncodes = { at = 2, bits = 3 }\noffset = 4\nscale = { at = 0, dtype = \"f16\" }",
    ),
    exact(
        "block_len = 32\nblock_bytes = 18\ncodes = { at = 2, bits = 4 }\nsigned = true\nscale = { at = 0, dtype = \"f16\" }",
    ),
    exact(
        "block_len = 32\nblock_bytes = 18\ncodes = { at = 2, bits = 4, order = \"halves\" }\noffset = 8\nscale = { at = 0, dtype = \"f16\" }",
    ),
    exact(
        "block_len = 32\nblock_bytes = 22\ncodes = { at = 2, bits = 5 }\noffset = 16\nscale = { at = 0, dtype = \"f16\" }",
    ),
    exact(
        "block_len = 32\nblock_bytes = 26\ncodes = { at = 2, bits = 6 }\noffset = 32\nscale = { at = 0, dtype = \"f16\" }",
    ),
    exact(
        "block_len = 32\nblock_bytes = 34\ncodes = { at = 2, bits = 8 }\nsigned = true\nscale = { at = 0, dtype = \"f16\" }",
    ),
    exact(
        "block_len = 32\nblock_bytes = 6\ncodes = { at = 2, bits = 1 }\nvalues = [-1.0, 1.0]\nscale = { at = 0, dtype = \"f16\" }",
    ),
    // E2M1, whose doubled values are integers.
    exact(
        "block_len = 32\nblock_bytes = 17\ncodes = { at = 1, dtype = \"f4_e2m1\" }\nscale = { at = 0, dtype = \"e8m0\" }",
    ),
    // Zero points.
    exact(
        "block_len = 128\nblock_bytes = 67\ncodes = { at = 3, bits = 4 }\nscale = { at = 0, dtype = \"f16\" }\nzero = { at = 2, bits = 4 }",
    ),
    exact(
        "block_len = 64\nblock_bytes = 67\ncodes = { at = 3, bits = 8 }\nscale = { at = 0, dtype = \"f16\" }\nzero = { at = 2, bits = 8 }",
    ),
    exact(
        "block_len = 32\nblock_bytes = 15\ncodes = { at = 3, bits = 3 }\nscale = { at = 0, dtype = \"f16\" }\nzero = { at = 2, bits = 3 }",
    ),
    // Zero points that are negative, or no whole numbers.
    exact(
        "block_len = 64\nblock_bytes = 67\ncodes = { at = 3, bits = 8 }\nsigned = true\nscale = { at = 0, dtype = \"f16\" }\nzero = { at = 2, bits = 8 }",
    ),
    exact(
        "block_len = 64\nblock_bytes = 36\ncodes = { at = 4, bits = 4 }\nscale = { at = 0, dtype = \"f16\" }\nzero = { at = 2, dtype = \"f16\" }",
    ),
    // Minima, groups and scales of other types.
    exact(
        "block_len = 128\nblock_bytes = 72\ngroups = 2\ncodes = { at = 8, bits = 4 }\nscale = { at = 0, dtype = \"bf16\" }\nmin = { at = 4, dtype = \"bf16\" }",
    ),
    exact(
        "block_len = 64\nblock_bytes = 72\ncodes = { at = 8, bits = 8 }\nscale = { at = 0, dtype = \"f32\" }\nmin = { at = 4, dtype = \"f32\" }",
    ),
    exact(
        "block_len = 256\nblock_bytes = 137\ngroups = 8\ncodes = { at = 9, bits = 4 }\noffset = 8\nscale = { at = 0, bits = 6 }\nsuper_scale = { at = 7, dtype = \"f16\" }",
    ),
    exact(
        "block_len = 64\nblock_bytes = 40\ngroups = 4\ncodes = { at = 8, dtype = \"f4_e2m1\" }\nscale = { at = 0, dtype = \"f8_e4m3\" }\nsuper_scale = { at = 4, dtype = \"f32\" }",
    ),
    exact(
        "block_len = 96\nblock_bytes = 52\ngroups = 2\ncodes = { at = 4, bits = 4 }\noffset = 8\nscale = { at = 0, dtype = \"f16\" }",
    ),
    exact(
        "block_len = 96\nblock_bytes = 50\ncodes = { at = 2, bits = 4 }\noffset = 8\nscale = { at = 0, dtype = \"f16\" }",
    ),
    // Groups of as many strips as a slab has, and of more.
    exact(
        "block_len = 256\nblock_bytes = 130\ncodes = { at = 2, bits = 4 }\noffset = 8\nscale = { at = 0, dtype = \"f16\" }",
    ),
    exact(
        "block_len = 1024\nblock_bytes = 264\ngroups = 2\ncodes = { at = 8, bits = 2 }\nscale = { at = 0, dtype = \"f16\" }\nmin = { at = 4, dtype = \"f16\" }",
    ),
    exact(
        "block_len = 96\nblock_bytes = 84\ngroups = 6\ncodes = { at = 12, bits = 6 }\noffset = 32\nscale = { at = 0, dtype = \"f16\" }",
    ),
];

fn parse(text: &str) -> Declaration {
    Declaration::parse(&format!("name = \"my.case\"\n{text}"))
        .unwrap_or_else(|error| panic!("{error}:\n{text}"))
}

/// What the kernels make of activations, in f64: signed bytes with a scale for each block.
fn rounded(x: &[f32]) -> Vec<f64> {
    let block = |x: &[f32]| {
        let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let (scale, inverse) = (largest / 127.0, 127.0 / largest);
        x.iter().map(|x| f64::from((x * inverse).round_ties_even()) * f64::from(scale)).collect::<Vec<_>>()
    };
    x.chunks(STRIP).flat_map(block).collect()
}

/// Multiplies by the kernels of each instruction set, and compares with `expected(row, x)`, the sum and that of the magnitudes.
fn check(declaration: &Declaration, tolerance: f64, expected: impl Fn(&[f32], &[f32]) -> (f64, f64)) {
    let (encoding, kernels) = (DeclaredEncoding::new(declaration.clone()), declared(declaration));
    // An odd number of blocks: slabs end within a group of strips that share a header, or after one.
    let n = kernels.row_step() * 3;
    for p in [1, 17, 50] {
        let weights = random::normal(p as u64, n * p, 4);
        let mut blocks = vec![0; n * p / declaration.block_len() * declaration.block_bytes()];
        encoding.quantize(Rows::new(&weights, n).unwrap(), None, &mut blocks).unwrap();
        let mut decoded = vec![0.0; n * p];
        encoding.dequantize(&blocks, &mut decoded).unwrap();
        for isa in Isa::available().filter(|isa| kernels.serving(*isa) == *isa) {
            let weight =
                PackedWeight::pack(&kernels, isa, n, p, &blocks, &Serial, PreparedMemory::on_heap).unwrap();
            for m in [1, 2, 3, 8, 13] {
                let x = random::normal(m as u64 + 100, n * m, 4);
                let format = weight.activations();
                let mut stored = vec![0; format.bytes(n, m).unwrap()];
                format.store(isa, n, &x, &mut stored, &Serial).unwrap();
                let mut out = vec![f32::NAN; m * p];
                weight.multiply(&stored, m, &mut out, &Serial).unwrap();
                for (c, x) in x.chunks(n).enumerate() {
                    for (r, row) in decoded.chunks(n).enumerate() {
                        let (sum, magnitudes) = expected(row, x);
                        let found = f64::from(out[c * p + r]);
                        assert!(
                            (found - sum).abs() <= tolerance * magnitudes,
                            "{isa}, {m} columns, {p} rows, at {c}, {r}: {found}, expected {sum} (of {magnitudes})\n{}",
                            declaration.to_text()
                        );
                    }
                }
            }
        }
    }
}

fn sums(row: &[f32], x: impl Iterator<Item = f64>) -> (f64, f64) {
    row.iter().zip(x).fold((0.0, 0.0), |(sum, magnitudes), (w, x)| {
        let product = f64::from(*w) * x;
        (sum + product, magnitudes + product.abs())
    })
}

#[test]
fn integers_are_multiplied_exactly_with_rounded_activations() {
    for Case { text, rounding } in CASES {
        // Minima and zero points take differences of large sums.
        check(&parse(text), 2e-5 + rounding, |row, x| sums(row, rounded(x).into_iter()));
    }
}

#[test]
fn tables_are_rounded_to_the_grid_that_the_note_says() {
    let text = format!(
        "block_len = 64\nblock_bytes = 34\ncodes = {{ at = 2, bits = 4 }}\n{NF4}scale = {{ at = 0, dtype = \"f16\" }}"
    );
    let declaration = parse(&text);
    assert!(
        declared(&declaration).note().contains("rounded to integers of 8 bits"),
        "{}",
        declared(&declaration).note()
    );
    // A level is at most half a point from the grid: of the block's largest value, 1 / 254 at most.
    check(&declaration, 0.012, |row, x| sums(row, rounded(x).into_iter()));
}

#[test]
fn what_is_no_grid_is_multiplied_as_bfloat16() {
    for text in [
        "block_len = 32\nblock_bytes = 36\ncodes = { at = 4, dtype = \"f8_e4m3\" }\nscale = { at = 0, dtype = \"f32\" }",
        // Groups of other lengths, blocks shorter than a strip.
        "block_len = 40\nblock_bytes = 22\ncodes = { at = 2, bits = 4 }\noffset = 8\nscale = { at = 0, dtype = \"f16\" }",
        "block_len = 48\nblock_bytes = 30\ngroups = 3\ncodes = { at = 6, bits = 4 }\noffset = 8\nscale = { at = 0, dtype = \"f16\" }",
        "block_len = 16\nblock_bytes = 10\ncodes = { at = 2, bits = 4 }\noffset = 8\nscale = { at = 0, dtype = \"f16\" }",
    ] {
        let declaration = parse(text);
        assert!(declared(&declaration).note().contains("bfloat16"));
        // Activations may be rounded, too.
        check(&declaration, 6e-3, |row, x| {
            let row: Vec<f32> = row.iter().map(|w| bf16::from_f32(*w).to_f32()).collect();
            sums(&row, x.iter().map(|x| f64::from(*x)))
        });
    }
}
