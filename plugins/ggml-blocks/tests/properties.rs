//! What holds for every format, whatever the values and whatever the bytes.

use bitquilt_ggml_blocks::{FORMATS, Format, Importance, ProvenError};
use proptest::prelude::*;

const ROW: usize = 768;

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

/// Encodings of a row without importance, where that is allowed, and with a constant one.
fn encodings(format: &Format, row: &[f32]) -> Vec<Vec<u8>> {
    let plain = (format.importance != Importance::Required).then(|| encode(format, row, None));
    plain.into_iter().chain([encode(format, row, Some(&vec![1.0; row.len()]))]).collect()
}

/// Rows of normal, heavy-tailed, uniform, sparse and positive values, and of blocks of different magnitudes.
fn rows() -> impl Strategy<Value = Vec<f32>> {
    let unit = -1.0f32..1.0;
    let normal = (unit.clone(), unit.clone(), unit.clone()).prop_map(|(a, b, c)| a + b + c);
    let heavy = unit.clone().prop_map(|x| x * x * x * 8.0);
    let sparse = prop_oneof![9 => Just(0.0f32), 1 => unit.clone()];
    let positive = 0.0f32..1.0;
    let mixed = (unit.clone(), -5i32..=5).prop_map(|(x, power)| x * (power as f32).exp2());
    let row = |value: BoxedStrategy<f32>| prop::collection::vec(value, ROW);
    prop_oneof![
        row(normal.boxed()),
        row(unit.boxed()),
        row(heavy.boxed()),
        row(sparse.boxed()),
        row(positive.boxed()),
        row(mixed.boxed()),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn errors_stay_below_the_bound(row in rows()) {
        for format in FORMATS {
            for bytes in encodings(format, &row) {
                let decoded = decode(format, &bytes);
                let blocks = row.chunks(format.block_len).zip(decoded.chunks(format.block_len));
                for (block, decoded) in blocks {
                    let max = block.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                    if !(1.0 / 32.0..=32.0).contains(&max) {
                        continue;
                    }
                    for (x, decoded) in block.iter().zip(decoded) {
                        let error = (x - decoded).abs() / max;
                        prop_assert!(error <= format.error_bound, "{}: {x} became {decoded}", format.name);
                        let proven = format.proven_error.map_or(f32::MAX, |proven| proven.fraction);
                        let constant = format.importance != Importance::Ignored;
                        prop_assert!(constant || error <= proven, "{}: {x} became {decoded}", format.name);
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
            for bytes in encodings(format, &row) {
                decode(format, &bytes);
            }
        }
    }
}

/// Blocks at the edges of a proven bound, where it is the tightest: magnitudes around the least and the greatest one, steps of the codes,
/// and ranges on one side of zero.
#[test]
fn proven_errors_hold_at_their_edges() {
    const BLOCKS: usize = 24;
    for format in FORMATS {
        let Some(ProvenError { fraction, least, greatest }) = format.proven_error else { continue };
        let tops =
            [0.0, f32::MIN_POSITIVE, 1e-30, 1e-8, 1e-6, 1e-4, 0.1, 1.0, 100.0, greatest * 0.9, greatest];
        let around = [1.0 / 64.0, 0.25, 0.5, 0.9, 1.0, 1.1, 2.0, 4.0, 64.0].map(|times| least * times);
        for top in tops.into_iter().chain(around).filter(|top| *top <= greatest) {
            for (shift, scale) in [(0.0, 1.0), (0.5, 0.5), (-0.5, 0.5), (0.9, 0.1), (-0.999, 0.001)] {
                let len = format.block_len * BLOCKS;
                let unit = |i: usize| match i % format.block_len {
                    0 => 1.0,
                    1 => -1.0,
                    _ => ((i * 7919 % 2003) as f32 - 1001.0) / 1001.0,
                };
                let row: Vec<f32> = (0..len).map(|i| (unit(i) * scale + shift) * top).collect();
                let decoded = decode(format, &encode(format, &row, None));
                let blocks = row.chunks(format.block_len).zip(decoded.chunks(format.block_len));
                for (block, decoded) in blocks {
                    let max = block.iter().fold(0.0f32, |max, x| max.max(x.abs()));
                    let allowed = f64::from(fraction) * f64::from(max.max(least));
                    for (x, y) in block.iter().zip(decoded) {
                        let error = (f64::from(*x) - f64::from(*y)).abs();
                        assert!(error <= allowed, "{}: {x:e} became {y:e} beside {max:e}", format.name);
                    }
                }
            }
        }
    }
}

#[test]
fn zeros_stay_zeros() {
    for zero in [0.0, -0.0] {
        for format in FORMATS {
            for bytes in encodings(format, &[zero; 512]) {
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
                for bytes in encodings(format, &row) {
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
