//! What becomes of weights that encodings hold badly, or not at all.

use std::collections::BTreeSet;
use std::ops::Range;

use bitquilt_ggml_blocks::FORMATS;
use bitquilt_plugin_api::{EncodingSpec, Plugin, QuantizationEncoding};

use super::*;
use crate::{Graph, GraphError, InferenceSession};

const ROW: usize = 512;

/// Near a normal distribution, the same on each run.
fn normal(count: usize, mut state: u32) -> Vec<f32> {
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32
    };
    (0..count).map(|_| (0..12).map(|_| uniform()).sum::<f32>() - 6.0).collect()
}

fn scaled(values: &[f32], by: f32) -> Vec<f32> {
    values.iter().map(|value| value * by).collect()
}

fn session() -> InferenceSession {
    InferenceSession::builder().build().unwrap()
}

/// Rows of 512 values.
fn rows(values: Vec<f32>) -> Tensor {
    Tensor::new([values.len() / ROW, ROW], values).unwrap()
}

/// With importance only where it is demanded.
fn quantize(encoding: &RegisteredEncoding, tensor: &Tensor) -> Result<Quantized, QuantizeError> {
    match encoding.spec().importance {
        Importance::Required => encoding.quantize_with_importance(tensor, &vec![1.0; row_len(tensor)]),
        _ => encoding.quantize(tensor),
    }
}

/// The rows that are lost, as they are defined.
fn lost_rows(tensor: &Tensor, decoded: &Tensor) -> Vec<usize> {
    let (x, y) = (tensor.values::<f32>().unwrap(), decoded.values::<f32>().unwrap());
    let sum = |of: &dyn Fn(usize) -> f64, row: usize| {
        (row * ROW..(row + 1) * ROW).map(|i| of(i) * of(i)).sum::<f64>()
    };
    let lost = |row: &usize| {
        let norm = sum(&|i| x[i].into(), *row);
        let decoded = sum(&|i| y[i].into(), *row);
        let error = sum(&|i| f64::from(x[i]) - f64::from(y[i]), *row);
        error > norm || decoded < norm / 4.0 || decoded > norm * 4.0
    };
    (0..x.len() / ROW).filter(lost).collect()
}

fn named_rows(warnings: &[QuantizeWarning]) -> Option<Indices> {
    assert!(warnings.len() <= 1, "{warnings:?}");
    warnings.first().map(|warning| match warning {
        QuantizeWarning::RowsLost { rows, .. } => *rows,
        other => panic!("{other:?}"),
    })
}

#[test]
fn no_weight_is_lost_in_silence() {
    let session = session();
    let base = normal(2 * ROW, 1);
    let mut refused = Vec::new();
    for encoding in session.registry().encodings() {
        let name = encoding.spec().name.as_str();
        for exponent in (-44..=36).chain([37]) {
            let tensor = rows(scaled(&base, 10f32.powi(exponent)));
            let what = format!("{name} times 1e{exponent}");
            match quantize(encoding, &tensor) {
                Ok(Quantized { tensor: encoded, warnings }) => {
                    let decoded = encoding.dequantize(&encoded).unwrap();
                    assert_eq!(first_not_finite(decoded.values().unwrap()), None, "{what}");
                    let lost = lost_rows(&tensor, &decoded);
                    let named = named_rows(&warnings);
                    assert_eq!(named.map_or(0, |rows| rows.count), lost.len(), "{what}: {warnings:?}");
                    assert_eq!(named.map(|rows| rows.first), lost.first().copied(), "{what}");
                    if (-1..=2).contains(&exponent) {
                        assert_eq!(warnings, [], "{what}");
                    }
                }
                Err(QuantizeError::NotDecodable { row, column, value, decoded, .. }) => {
                    assert_eq!(value, tensor.values::<f32>().unwrap()[row * ROW + column], "{what}");
                    assert!(!decoded.is_finite(), "{what}");
                    refused.push((name, exponent));
                }
                Err(error) => panic!("{what}: {error}"),
            }
        }
    }
    for name in ["q4_0", "q2_k", "tq1_0", "f16", "q8_0", "q4_k", "q6_k", "iq4_xs", "iq3_s"] {
        assert!(refused.contains(&(name, 8)), "{name}: {refused:?}");
    }
    assert!(!refused.iter().any(|(name, _)| *name == "bf16"), "{refused:?}");
}

#[test]
fn saturated_and_vanished_rows_are_named() {
    let session = session();
    let encoding = session.registry().require_encoding("nvfp4").unwrap();
    let base = normal(6 * ROW, 5);
    for (scale, of_lost) in [(1e4f32, "saturated"), (1e-4, "vanished")] {
        for (lost, expected) in [
            (&[3][..], "`nvfp4` loses row 3 of 6: row 3 "),
            (&[1, 2, 3], "`nvfp4` loses rows 1 to 3 of 6: row "),
            (&[0, 2, 5], "`nvfp4` loses 3 rows (0 is the first) of 6: row "),
        ] {
            let mut values = base.clone();
            for row in lost {
                values[row * ROW..][..ROW].iter_mut().for_each(|value| *value *= scale);
            }
            let warnings = encoding.quantize(&rows(values)).unwrap().warnings;
            assert_eq!(warnings.len(), 1, "{of_lost}");
            assert!(warnings[0].to_string().starts_with(expected), "{of_lost}: {}", warnings[0]);
        }
    }
}

#[test]
fn a_row_of_zeros_is_not_lost() {
    let session = session();
    for encoding in session.registry().encodings() {
        let mut values = normal(2 * ROW, 3);
        values[..ROW].fill(0.0);
        assert_eq!(quantize(encoding, &rows(values)).unwrap().warnings, [], "{}", encoding.spec().name);
    }
}

#[test]
fn one_outlier_is_named() {
    let session = session();
    let mut values = normal(2 * ROW, 2);
    values[ROW + 44] = -1e30;
    let tensor = rows(values);
    for name in ["q4_0", "q4_k", "f16"] {
        let error = session.registry().require_encoding(name).unwrap().quantize(&tensor).unwrap_err();
        let start = "the value at row 1, column 44 is -1e30: ";
        assert!(error.to_string().starts_with(start), "{name}: {error}");
    }
    let says = |name: &str| {
        let mut graph = Graph::new(session.registry(), []).unwrap();
        let error = graph.quantize(name, &tensor).unwrap_err();
        assert!(matches!(error, GraphError::Quantize(QuantizeError::NotDecodable { .. })), "{error}");
        error.to_string()
    };
    assert!(says("q4_0").contains("its block of 32 values of `q4_0` would decode to "));
    assert!(
        says("f16").contains("as `f16` it would decode to -inf; scale the tensor, or choose an encoding")
    );
}

#[test]
fn a_graph_keeps_what_was_warned_of() {
    let session = session();
    let mut graph = Graph::new(session.registry(), []).unwrap();
    let good = normal(2 * ROW, 2);
    graph.quantize("q4_0", &rows(good.clone())).unwrap();
    assert_eq!(graph.quantize_warnings(), []);
    let lost = graph.quantize("q4_0", &rows(scaled(&good, 1e-9))).unwrap();
    let [(value, warning)] = graph.quantize_warnings() else { panic!("{:?}", graph.quantize_warnings()) };
    assert_eq!(*value, lost);
    assert!(warning.to_string().starts_with("`q4_0` loses rows 0 to 1 of 2: "), "{warning}");
}

/// Rows that are longer than a piece, as many as take several chunks; in any dtype.
#[test]
fn of_many_rows_the_first_is_named() {
    const LONG: usize = 9 * 4096 + 256;
    let session = session();
    let encoding = session.registry().require_encoding("q4_k").unwrap();
    let mut values = normal(LONG, 7).repeat(40);
    for row in [11, 12, 31] {
        values[row * LONG..][..LONG].iter_mut().for_each(|value| *value *= 1e-8);
    }
    let tensor = Tensor::new([4, 10, LONG], values.clone()).unwrap();
    let Quantized { tensor: encoded, warnings } = encoding.quantize(&tensor).unwrap();
    assert_eq!(encoded.shape(), [4, 10, LONG]);
    let Some(QuantizeWarning::RowsLost { rows, row_count: 40, worst, .. }) = warnings.first() else {
        panic!("{warnings:?}")
    };
    assert_eq!(*rows, Indices { first: 11, last: 31, count: 3 });
    assert!([11, 12, 31].contains(&worst.row) && worst.error > 0.0, "{worst:?}");

    for (row, column) in [(39, 5), (20, LONG - 1), (12, 20_000)] {
        values[row * LONG + column] = 3e38;
        let error = encoding.quantize(&Tensor::new([40, LONG], values.clone()).unwrap()).unwrap_err();
        let start = format!("the value at row {row}, column {column} is 3e38: ");
        assert!(error.to_string().starts_with(&start), "{error}");
    }
    values[12 * LONG + 9] = f32::NAN;
    let error = encoding.quantize(&Tensor::new([40, LONG], values).unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("the value at row 12, column 9 is NaN"), "{error}");

    let narrow: Vec<bf16> = scaled(&normal(ROW, 7), 1e-8).into_iter().map(bf16::from_f32).collect();
    let warnings = encoding.quantize(&Tensor::new([1, ROW], narrow).unwrap()).unwrap().warnings;
    assert_eq!(named_rows(&warnings), Some(Indices::one(0)));
}

/// An encoding of a plugin that writes what it does not read: 7 becomes NaN, 8 becomes nothing, and zeros become ones. It counts how
/// often it is asked what it is.
struct Lossy(Arc<AtomicUsize>);

impl QuantizationEncoding for Lossy {
    fn spec(&self) -> EncodingSpec {
        self.0.fetch_add(1, Ordering::Relaxed);
        EncodingSpec::new("test.lossy", 3, 3)
    }

    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> bitquilt_plugin_api::Result<()> {
        dst.iter_mut().zip(rows.values()).for_each(|(byte, value)| *byte = *value as u8);
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> bitquilt_plugin_api::Result<()> {
        dst.iter_mut().zip(blocks).for_each(|(value, byte)| {
            *value = match byte {
                7 => f32::NAN,
                8 => 0.0,
                0 => 1.0,
                _ => (*byte).into(),
            }
        });
        Ok(())
    }
}

#[test]
fn an_encoding_of_a_plugin_is_looked_at_as_well() {
    let asked = Arc::new(AtomicUsize::new(0));
    let plugin = Plugin::new("test", "1.0.0").encoding(Lossy(Arc::clone(&asked)));
    let session = InferenceSession::builder().plugin(plugin).build().unwrap();
    let encoding = session.registry().require_encoding("test.lossy").unwrap();
    let quantize = |values: &[f32]| encoding.quantize(&Tensor::new([values.len() / 6, 6], values).unwrap());
    let fine = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
    let before = asked.load(Ordering::Relaxed);
    let encoded = quantize(&fine).unwrap();
    assert_eq!(encoded.warnings, []);
    encoding.dequantize(&encoded.tensor).unwrap();
    assert_eq!(asked.load(Ordering::Relaxed), before, "the host has what it is");
    for (row, lost) in [([8.0; 6], true), ([0.0; 6], true), ([2.0, 8.0, 100.0, 1.0, 1.0, 1.0], false)] {
        let warnings = quantize(&[fine, row, fine].concat()).unwrap().warnings;
        assert_eq!(named_rows(&warnings), lost.then_some(Indices::one(1)), "{row:?}");
    }
    let error = quantize(&[fine, [1.0, 1.0, 1.0, 7.0, 2.0, 9.0]].concat()).unwrap_err();
    assert!(
        error.to_string().starts_with("the value at row 1, column 5 is 9.0: its block of 3 values"),
        "{error}"
    );
}

/// Encodings with an importance vector, and rows of the deviation that weights have.
fn with_importance(test: impl Fn(&RegisteredEncoding, &Tensor, &[f32])) {
    let session = session();
    let tensor = rows(scaled(&normal(2 * ROW, 4), 0.02));
    let importance: Vec<f32> = normal(ROW, 9).into_iter().map(|x| 0.1 + x * x).collect();
    let encodings =
        session.registry().encodings().filter(|encoding| encoding.spec().importance != Importance::Ignored);
    encodings.for_each(|encoding| test(encoding, &tensor, &importance));
}

/// The error of columns of the first row, as a part of them.
fn error_of(encoding: &RegisteredEncoding, tensor: &Tensor, encoded: &Tensor, columns: Range<usize>) -> f64 {
    let decoded = encoding.dequantize(encoded).unwrap();
    let (x, y) = (tensor.values::<f32>().unwrap(), decoded.values::<f32>().unwrap());
    let square = |of: &dyn Fn(usize) -> f64| columns.clone().map(|i| of(i).powi(2)).sum::<f64>();
    (square(&|i| f64::from(x[i]) - f64::from(y[i])) / square(&|i| x[i].into())).sqrt()
}

#[test]
fn only_ratios_of_importance_count() {
    with_importance(|encoding, tensor, importance| {
        let bytes = |importance: &[f32]| encoding.quantize_with_importance(tensor, importance).unwrap();
        let expected = bytes(importance);
        assert_eq!(expected.warnings, []);
        for exponent in (-110..=110).step_by(11) {
            let found = bytes(&scaled(importance, 2f32.powi(exponent)));
            assert!(found.tensor == expected.tensor, "{} times 2^{exponent}", encoding.spec().name);
        }
        let uniform = bytes(&[1.0; ROW]);
        for extreme in [1e-45, 1e-38, 1e35, 3e38] {
            let found = bytes(&[extreme; ROW]);
            assert_eq!(found.warnings, [], "{}: {extreme}", encoding.spec().name);
            let (found, expected) =
                [&found, &uniform].map(|it| error_of(encoding, tensor, &it.tensor, 0..ROW)).into();
            assert!(found < 1.05 * expected, "{}: {extreme}: {found}, {expected}", encoding.spec().name);
        }
    });
}

#[test]
fn importance_in_its_range_reaches_the_encoding_as_it_is() {
    with_importance(|encoding, tensor, importance| {
        let mut expected = vec![0; encoded_bytes(encoding.spec(), tensor.shape()).unwrap()];
        let rows = Rows::new(tensor.values().unwrap(), ROW).unwrap();
        encoding.handle.encoding().quantize(rows, Some(importance), &mut expected).unwrap();
        let found = encoding.quantize_with_importance(tensor, importance).unwrap().tensor;
        assert!(found.bytes() == expected, "{}", encoding.spec().name);
    });
}

#[test]
fn columns_without_importance_keep_their_values() {
    with_importance(|encoding, tensor, importance| {
        let (name, block_len) = (&encoding.spec().name, encoding.spec().block_len);
        let bytes = |importance: &[f32]| encoding.quantize_with_importance(tensor, importance).unwrap();
        let Quantized { tensor: uniform, .. } = bytes(&[1.0; ROW]);
        let Quantized { tensor: zeros, warnings } = bytes(&[0.0; ROW]);
        assert!(zeros == uniform, "{name}");
        let all = Indices { first: 0, last: ROW / block_len - 1, count: ROW / block_len };
        let silent = |blocks| [QuantizeWarning::ImportanceZero { encoding: name.clone(), blocks, block_len }];
        assert_eq!(warnings, silent(all));

        for (columns, zero) in
            [(64..80, 0.0), (64..80, 1e-20), (64..96, 0.0), (0..256, 0.0), (256..512, 1e-30)]
        {
            let mut importance = importance.to_vec();
            importance[columns.clone()].fill(zero);
            let found = bytes(&importance);
            let usual = error_of(encoding, tensor, &uniform, columns.clone());
            let error = error_of(encoding, tensor, &found.tensor, columns.clone());
            assert!(error < 2.0 * usual.max(0.1), "{name}: {columns:?} {zero}: {error}, {usual}");
            let expected = columns.len() / block_len;
            match expected {
                1.. if zero == 0.0 => {
                    let first = columns.start / block_len;
                    let blocks = Indices { first, last: first + expected - 1, count: expected };
                    assert_eq!(found.warnings, silent(blocks), "{columns:?}");
                }
                _ => assert_eq!(found.warnings, [], "{name}: {columns:?}"),
            }
        }
    });
}

/// Losses are computed in the threads of a pool, which begin with the floating-point control of whoever made the pool.
#[test]
#[cfg(target_arch = "x86_64")]
fn a_pool_that_takes_small_numbers_for_zero_changes_no_warning() {
    /// The default of MXCSR with the bits by which small results and operands are zero.
    const ZEROS: u32 = 0x1f80 | 1 << 15 | 1 << 6;
    let session = session();
    let encoding = session.registry().require_encoding("q4_0").unwrap();
    let tensor = rows(vec![1e-39; 2 * ROW]);
    let expected = encoding.quantize(&tensor).unwrap();
    assert!(matches!(expected.warnings[..], [QuantizeWarning::RowsLost { .. }]));
    let set = |_| {
        // SAFETY: the threads are the test's own, and what they run of others begins by setting the control that it wants.
        unsafe { std::arch::asm!("ldmxcsr [{}]", in(reg) &ZEROS, options(nostack, readonly)) };
    };
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).start_handler(set).build().unwrap();
    let found = pool.install(|| encoding.quantize(&tensor)).unwrap();
    assert_eq!(found.warnings, expected.warnings);
    assert_eq!(found.tensor, expected.tensor);
}

#[test]
fn rows_that_are_proven_fine_are_found_fine() {
    let session = session();
    let encodings = session.registry().encodings();
    let bounded: Vec<&RegisteredEncoding> =
        encodings.filter(|encoding| encoding.spec().error_bound.is_some()).collect();
    let names: BTreeSet<&str> = bounded.iter().map(|encoding| encoding.spec().name.as_str()).collect();
    let proven = FORMATS.iter().filter(|format| format.proven_error.is_some());
    assert_eq!(names, proven.map(|format| format.name).chain(["f32"]).collect());
    assert!(names.len() >= 6, "{names:?}");
    let values = normal(2 * ROW, 5);
    for encoding in bounded {
        let spec = encoding.spec();
        let mut look = Look::default();
        let mut proven = 0;
        for power in -140..127 {
            let mut values = scaled(&values, (power as f32).exp2());
            if power % 2 == 0 {
                // A row of one value beside others that are small.
                values[ROW..].iter_mut().enumerate().for_each(|(i, x)| *x *= if i == 7 { 1.0 } else { 1e-3 });
            }
            let rows = Rows::new(&values, ROW).unwrap();
            if !look.begin(rows) || !look.are_proven(spec, ROW) {
                assert!(power % 2 == 0 || !(-10..10).contains(&power), "{} at 2^{power}", spec.name);
                continue;
            }
            proven += 1;
            let mut blocks = vec![0; 2 * spec.row_bytes(ROW).unwrap()];
            encoding.handle.encoding().quantize(rows, None, &mut blocks).unwrap();
            let encoded = Encoded {
                encoding: encoding.handle.encoding(),
                row_len: ROW,
                first_row: 0,
                values: &values,
                blocks: &blocks,
            };
            let Verdict::Finite(loss) = encoded.inspect(&mut look).unwrap() else {
                panic!("{} at 2^{power} is not finite", spec.name)
            };
            assert_eq!(loss.rows, LostRows::default(), "{} at 2^{power}", spec.name);
        }
        assert!(proven > 10, "{}: {proven}", spec.name);
    }
}
