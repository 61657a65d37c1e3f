//! What holds for every format, whatever the values and whatever the bytes.

use bitquilt_ggml_blocks::{FORMATS, Format, Importance};
use proptest::prelude::*;

const ROW: usize = 768;

/// The largest error of a value that is quantized and decoded, as a fraction of the largest magnitude in its block,
/// without importance (`plain`) or with a constant one. Magnitudes near 1: a scale is neither zero nor infinite.
fn error_bound(format: &str, plain: bool) -> f32 {
    match format {
        "f16" => 0.0005,
        "bf16" => 0.004,
        "q8_0" => 0.005,
        "q6_k" => 0.05,
        "q5_1" => 0.08,
        "q5_0" => 0.075,
        "q5_k" => 0.12,
        "q4_1" => 0.16,
        "q4_0" => 0.15,
        "q4_k" => 0.2,
        "iq4_nl" | "iq4_xs" => 0.2,
        "mxfp4" | "nvfp4" => 0.255,
        "q3_k" => 0.4,
        "q2_0" | "tq1_0" | "tq2_0" => 0.505,
        "q2_k" => 0.9,
        "q1_0" => 1.005,
        "iq2_s" => 0.85,
        "iq2_xs" | "iq2_xxs" | "iq3_xxs" => 1.05,
        // In ggml a sub-block of zeros takes no room among the points and signs: from there on they are others'.
        "iq3_s" => 2.2,
        "iq1_s" => 1.3,
        // Without importance zeros weigh nothing, and a value may have an eighth for its level.
        "iq1_m" if plain => 21.0,
        "iq1_m" => 1.4,
        name => panic!("{name} has no bound"),
    }
}

fn encode(format: &Format, row: &[f32], importance: Option<&[f32]>) -> Vec<u8> {
    let mut bytes = vec![0; format.row_bytes(row.len()).expect("whole blocks")];
    format.quantize(row, row.len(), importance, &mut bytes);
    bytes
}

fn decode(format: &Format, bytes: &[u8]) -> Vec<f32> {
    let mut values = vec![0.0; bytes.len() / format.block_bytes * format.block_len];
    format.dequantize(bytes, &mut values);
    values
}

/// Encodings of a row without importance (`true`), where that is allowed, and with a constant one.
fn encodings(format: &Format, row: &[f32]) -> Vec<(bool, Vec<u8>)> {
    let plain = (format.importance != Importance::Required).then(|| (true, encode(format, row, None)));
    plain.into_iter().chain([(false, encode(format, row, Some(&vec![1.0; row.len()])))]).collect()
}

/// Rows of normal, uniform and sparse values, each with a scale near 1.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    let unit = -1.0f32..1.0;
    let normal = (unit.clone(), unit.clone(), unit.clone()).prop_map(|(a, b, c)| a + b + c);
    let heavy = unit.clone().prop_map(|x| x * x * x * 8.0);
    let sparse = prop_oneof![9 => Just(0.0f32), 1 => unit.clone()];
    let positive = 0.0f32..1.0;
    let row = |value: BoxedStrategy<f32>| prop::collection::vec(value, ROW);
    prop_oneof![
        row(normal.boxed()),
        row(unit.boxed()),
        row(heavy.boxed()),
        row(sparse.boxed()),
        row(positive.boxed())
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn errors_stay_below_the_bound(row in rows()) {
        for format in FORMATS {
            for (plain, bytes) in encodings(format, &row) {
                let decoded = decode(format, &bytes);
                let blocks = row.chunks(format.block_len).zip(decoded.chunks(format.block_len));
                for (block, decoded) in blocks {
                    let max = block.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                    if max < 0.02 {
                        continue;
                    }
                    for (x, decoded) in block.iter().zip(decoded) {
                        let error = (x - decoded).abs() / max;
                        prop_assert!(error <= error_bound(format.name, plain), "{}: {x} became {decoded}", format.name);
                    }
                }
            }
        }
    }

    #[test]
    fn every_byte_string_decodes(bytes in prop::collection::vec(any::<u8>(), 1024)) {
        for format in FORMATS {
            let whole = bytes.len() / format.block_bytes * format.block_bytes;
            // From an odd address, too.
            let skipped = &bytes[format.block_bytes.min(whole)..][..whole.saturating_sub(format.block_bytes)];
            let (all, rest) = (decode(format, &bytes[..whole]), decode(format, skipped));
            let same = all[format.block_len.min(all.len())..].iter().map(|x| x.to_bits());
            prop_assert!(same.eq(rest.iter().map(|x| x.to_bits())), "{}", format.name);
        }
    }

    #[test]
    fn every_finite_row_encodes(bits in prop::collection::vec(any::<u32>(), 256)) {
        let row: Vec<f32> = bits.into_iter().map(f32::from_bits).map(|x| if x.is_finite() { x } else { 0.0 }).collect();
        for format in FORMATS {
            for (_, bytes) in encodings(format, &row) {
                decode(format, &bytes);
            }
        }
    }
}

#[test]
fn zeros_stay_zeros() {
    for zero in [0.0, -0.0] {
        for format in FORMATS {
            for (_, bytes) in encodings(format, &[zero; 512]) {
                assert!(decode(format, &bytes).iter().all(|&x| x == 0.0), "{} of {zero}", format.name);
            }
        }
    }
}

#[test]
fn extreme_rows_encode() {
    let smallest = f32::from_bits(1);
    for value in [smallest, f32::MIN_POSITIVE, 1e-20, 1e20, f32::MAX] {
        let alternating: Vec<f32> = (0..512).map(|i| if i % 3 == 0 { -value } else { value }).collect();
        for row in [vec![value; 512], vec![-value; 512], alternating] {
            for format in FORMATS {
                for (_, bytes) in encodings(format, &row) {
                    assert_eq!(decode(format, &bytes).len(), row.len(), "{} of {value}", format.name);
                }
            }
        }
    }
}

#[test]
fn rows_are_encoded_one_by_one() {
    let rows: Vec<f32> =
        (0..3 * 512).map(|i| ((i * 37 % 101) as f32 - 50.0) * (1 + i / 512) as f32).collect();
    let importance: Vec<f32> = (0..512).map(|i| 0.5 + (i % 7) as f32).collect();
    for format in FORMATS {
        let mut together = vec![0; 3 * format.row_bytes(512).unwrap()];
        format.quantize(&rows, 512, Some(&importance), &mut together);
        let apart: Vec<u8> =
            rows.chunks(512).flat_map(|row| encode(format, row, Some(&importance))).collect();
        assert_eq!(together, apart, "{}", format.name);
    }
}
