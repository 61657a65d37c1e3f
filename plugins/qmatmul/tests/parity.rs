//! Every encoding on every instruction set of this machine, against an oracle in f64 and against the scalar kernels.
//!
//! - The oracle decodes the weights with the reference of the format, quantizes the activations by their definition and
//!   sums in f64. A result may differ from it by [`TOLERANCE`] of the sum of the absolute values of the terms: the
//!   integer sums are exact, what is left are the roundings of an f32 sum over the strips of a row.
//! - Between instruction sets, thread counts and numbers of columns the results are the same bits; those of `bf16` by pairs are those
//!   of [`pairs`].

mod encoded;
mod random;
mod threads;

use bitquilt_ggml_blocks::Format;
use bitquilt_kernels::{ActivationFormat, CompactWeight, Isa, PackedWeight, Par, Serial};
use bitquilt_plugin_api::{PreparedMemory, WorkerScratch};
use bitquilt_qmatmul::named;
use threads::{MOST_THREADS, Threads};

/// Of the sum of the absolute values of the terms.
const TOLERANCE: f64 = 4e-6;

/// Values that look like a weight's: roughly normal, a few larger.
fn values(seed: u64, len: usize) -> Vec<f32> {
    let mut values = random::normal(seed, len, 4);
    values.iter_mut().step_by(97).for_each(|value| *value *= 6.0);
    values
}

/// Rows and columns of one case, encoded and decoded.
struct Case {
    encoding: &'static str,
    n: usize,
    p: usize,
    bytes: Vec<u8>,
    decoded: Vec<f32>,
}

impl Case {
    fn new(encoding: &'static str, n: usize, p: usize) -> Self {
        let rows = values((n * p) as u64, n * p);
        if encoding == "f32" {
            let bytes = rows.iter().flat_map(|x| x.to_le_bytes()).collect();
            return Self { encoding, n, p, bytes, decoded: rows };
        }
        let format: &Format = bitquilt_ggml_blocks::format(encoding).expect("a format of every encoding");
        let bytes = encoded::quantized(format, &rows, n);
        let mut decoded = vec![0.0; n * p];
        format.dequantize(&bytes, &mut decoded);
        Self { encoding, n, p, bytes, decoded }
    }

    fn pack(&self, isa: Isa, par: &dyn Par) -> PackedWeight {
        PackedWeight::pack(
            named(self.encoding).expect("it is listed"),
            isa,
            self.n,
            self.p,
            &self.bytes,
            par,
            PreparedMemory::on_heap,
        )
        .expect("a valid weight")
    }

    fn quantizes(&self) -> bool {
        activations(self.encoding, Isa::Scalar).is_quantized()
    }

    /// The product in f64 of the decoded weight and the activations as the kernels take them, and the sums of the
    /// absolute values.
    fn oracle(&self, x: &[f32]) -> Vec<(f64, f64)> {
        let x: Vec<f64> = x
            .chunks_exact(activations(self.encoding, Isa::Scalar).block_len())
            .flat_map(|block| {
                let scale = block.iter().fold(0f32, |a, x| a.max(x.abs())) / 127.0;
                let inverse = 127.0 / block.iter().fold(0f32, |a, x| a.max(x.abs()));
                block.iter().map(move |&x| match (self.quantizes(), scale > 0.0) {
                    (false, _) => f64::from(x),
                    (true, true) => f64::from((x * inverse).round_ties_even()) * f64::from(scale),
                    (true, false) => 0.0,
                })
            })
            .collect();
        let mut out = Vec::new();
        for column in x.chunks_exact(self.n) {
            for row in self.decoded.chunks_exact(self.n) {
                let terms = row.iter().zip(column).map(|(&w, &x)| f64::from(w) * x);
                out.push(terms.fold((0.0, 0.0), |(sum, size), term| (sum + term, size + term.abs())));
            }
        }
        out
    }
}

fn multiply(weight: &PackedWeight, x: &[f32], par: &dyn Par) -> Vec<f32> {
    let m = x.len() / weight.n();
    let format = weight.activations();
    let mut activations = vec![0; format.bytes(weight.n(), m).expect("a small product")];
    format.store(Isa::detect(), weight.n(), x, &mut activations, par).expect("valid activations");
    let mut out = vec![f32::NAN; m * weight.p()];
    weight.multiply(&activations, m, &mut out, par).expect("a valid product");
    out
}

/// The product of bfloat16 and activations that are rounded to it, `decoded` being rows of `n` values: for each 64 pairs two sums, of
/// even and of odd pairs, each pair's second product first, and subnormal operands and sums as zeros.
fn pairs(decoded: &[f32], n: usize, x: &[f32]) -> Vec<f32> {
    let flush = |x: f32| if x.is_subnormal() { 0.0 } else { x };
    let x: Vec<f32> = x.iter().map(|&x| flush(half::bf16::from_f32(x).to_f32())).collect();
    let element = |row: &[f32], column: &[f32]| {
        row.chunks(128).zip(column.chunks(128)).fold(0.0, |total, (row, column)| {
            let mut sums = [0.0f32; 2];
            for (i, (w, x)) in row.chunks_exact(2).zip(column.chunks_exact(2)).enumerate() {
                let sum = flush(flush(w[1]).mul_add(x[1], sums[i % 2]));
                sums[i % 2] = flush(flush(w[0]).mul_add(x[0], sum));
            }
            total + (sums[0] + sums[1])
        })
    };
    let columns = x.chunks_exact(n);
    columns.flat_map(|column| decoded.chunks_exact(n).map(move |row| element(row, column))).collect()
}

/// Whether the kernels multiply by [`pairs`]: they alone round activations to shorter floats.
fn by_pairs(encoding: &str, isa: Isa) -> bool {
    let activations = activations(encoding, isa);
    activations.is_rounded() && !activations.is_quantized()
}

fn activations(encoding: &str, isa: Isa) -> ActivationFormat {
    bitquilt_qmatmul::activations(encoding, isa).expect("it is listed")
}

/// The instruction sets of this machine that have kernels for an encoding.
fn isas(encoding: &str) -> impl Iterator<Item = Isa> {
    Isa::available().filter(move |isa| bitquilt_qmatmul::serving(encoding, *isa) == *isa)
}

fn bits(out: &[f32]) -> Vec<u32> {
    out.iter().map(|x| x.to_bits()).collect()
}

/// What rows are a multiple of times each of these is a row.
const BLOCKS: [usize; 3] = [1, 3, 9];

/// Rows that leave the last row group full, almost empty, and the last pair of groups without its second.
const ROWS: [usize; 4] = [1, 15, 33, 67];

fn check(encoding: &'static str) {
    let step = bitquilt_qmatmul::row_step(encoding).expect("an encoding with kernels");
    for (blocks, p) in BLOCKS.into_iter().flat_map(|blocks| ROWS.map(|p| (blocks, p))) {
        let case = Case::new(encoding, blocks * step, p);
        let columns = if blocks == 9 && p != 67 { 5 } else { 33 };
        let mut x = values(7, columns * case.n);
        // A block of zeros, and a strip of them in the next.
        x[..step + 32].fill(0.0);
        let oracle = case.oracle(&x);
        let all = multiply(&case.pack(Isa::Scalar, &Serial), &x, &Serial);
        for (i, (&got, (expected, size))) in all.iter().zip(oracle).enumerate() {
            let error = (f64::from(got) - expected).abs();
            assert!(
                error <= TOLERANCE * size,
                "{encoding} n={} p={p} element {i}: {got}, not {expected}",
                case.n
            );
        }
        let rounded = pairs(&case.decoded, case.n, &x);
        for isa in isas(encoding) {
            let all = if by_pairs(encoding, isa) { &rounded } else { &all };
            for threads in 1..=MOST_THREADS {
                let weight = case.pack(isa, &Threads::new(threads));
                for m in (1..=17).chain([33]).filter(|&m| m <= columns) {
                    // The last `m` columns, so that a column has other neighbours for every `m`.
                    let first = columns - m;
                    let out = multiply(&weight, &x[first * case.n..], &Threads::new(threads));
                    assert!(
                        bits(&out) == bits(&all[first * p..]),
                        "{encoding} {isa:?} n={} p={p} m={m} threads={threads}",
                        case.n
                    );
                }
            }
        }
    }
}

/// Tests of a quarter of the encodings each, which run beside each other.
macro_rules! quarters {
    ($($name:ident: $first:literal,)*) => {
        $(#[test]
        fn $name() {
            bitquilt_qmatmul::encodings().skip($first).step_by(4).for_each(check);
        })*
    };
}

quarters! {
    first_quarter_of_the_encodings: 0,
    second_quarter_of_the_encodings: 1,
    third_quarter_of_the_encodings: 2,
    last_quarter_of_the_encodings: 3,
}

/// Encodings whose grids, trits and scales are spread when they are prepared.
const SPREAD: [&str; 9] =
    ["iq1_m", "iq1_s", "iq2_xxs", "iq2_xs", "iq2_s", "iq3_xxs", "iq3_s", "tq1_0", "nvfp4"];

#[test]
fn every_encoding_grows_little() {
    for encoding in bitquilt_qmatmul::encodings() {
        let (block_len, block_bytes) = bitquilt_qmatmul::block(encoding).expect("it is listed");
        let (n, p) = (4 * block_len.max(32), 64);
        let bytes = vec![0; n / block_len * block_bytes * p];
        for isa in isas(encoding) {
            let weight = PackedWeight::pack(
                named(encoding).unwrap(),
                isa,
                n,
                p,
                &bytes,
                &Serial,
                PreparedMemory::on_heap,
            )
            .expect("a valid weight");
            let (ratio, limit) = (
                weight.byte_len() as f64 / bytes.len() as f64,
                if SPREAD.contains(&encoding) { 1.6 } else { 1.1 },
            );
            println!("{encoding:8} {isa:12} {ratio:.3}");
            assert!(ratio <= limit, "{encoding} on {isa} grows to {ratio}");
        }
    }
}

/// Every bit pattern of the codes and scales, as far as random bytes have them; the floats among them finite.
#[test]
fn random_bytes_give_the_same_bits_everywhere() {
    for encoding in bitquilt_qmatmul::encodings() {
        let (block_len, block_bytes) = bitquilt_qmatmul::block(encoding).expect("it is listed");
        let (n, p) = (2 * block_len.max(32), 37);
        let bytes: Vec<u8> =
            values(3, n / block_len * block_bytes * p).iter().map(|x| (x * 1e6) as i32 as u8).collect();
        let x = values(5, 7 * n);
        let expected = PackedWeight::pack(
            named(encoding).unwrap(),
            Isa::Scalar,
            n,
            p,
            &bytes,
            &Serial,
            PreparedMemory::on_heap,
        )
        .map(|weight| multiply(&weight, &x, &Serial))
        .expect("a valid weight");
        let rounded = (encoding == "bf16").then(|| {
            let halves = bytes.as_chunks::<2>().0.iter();
            let decoded: Vec<f32> = halves.map(|&half| half::bf16::from_le_bytes(half).to_f32()).collect();
            pairs(&decoded, n, &x)
        });
        for isa in isas(encoding) {
            let weight = PackedWeight::pack(
                named(encoding).unwrap(),
                isa,
                n,
                p,
                &bytes,
                &Serial,
                PreparedMemory::on_heap,
            )
            .expect("a valid weight");
            let expected = rounded.as_ref().filter(|_| by_pairs(encoding, isa)).unwrap_or(&expected);
            for (i, (got, expected)) in multiply(&weight, &x, &Serial).iter().zip(expected).enumerate() {
                let same = got.to_bits() == expected.to_bits() || got.is_nan() && expected.is_nan();
                assert!(same, "{encoding} {isa:?} element {i}: {got}, not {expected}");
            }
        }
    }
}

/// The formats with half-precision floats among their integers that have kernels.
fn formats_with_halves() -> impl Iterator<Item = &'static Format> {
    let formats = bitquilt_qmatmul::encodings().filter_map(bitquilt_ggml_blocks::format);
    formats.filter(|format| !format.halves.is_empty())
}

/// The largest integer sums that there can be neither saturate nor wrap. Bytes of zeros have the scale -32 and the code 0
/// of `q3_k`, bytes of ones the largest codes, minima and unsigned scales, 0x80 the scale -128 of `q6_k` and the code
/// -128 of `q8_0`.
#[test]
fn extreme_blocks_are_exact() {
    for format in formats_with_halves() {
        let encoding = format.name;
        let (block_len, block_bytes) = bitquilt_qmatmul::block(encoding).expect("it is listed");
        let (n, p) = (2 * block_len, 35);
        for fill in [0x00, 0xff, 0x80, 0x7f, 0x55] {
            let mut block = vec![fill; block_bytes];
            for &at in format.halves {
                block[at..at + 2].copy_from_slice(&0x3c00u16.to_le_bytes());
            }
            let bytes = block.repeat(2 * p);
            let mut decoded = vec![0.0; n * p];
            format.dequantize(&bytes, &mut decoded);
            let case = Case { encoding, n, p, bytes, decoded };
            for m in [1, 2, 13] {
                // Signs alike, by turns, and as those of the weights.
                for sign in [|_: usize, _: f32| 1.0, |i, _| [1.0, -1.0][i % 2], |_, w: f32| w.signum()] {
                    let x: Vec<f32> = (0..m * n).map(|i| 127.0 * sign(i, case.decoded[i % n])).collect();
                    let expected = multiply(&case.pack(Isa::Scalar, &Serial), &x, &Serial);
                    for (&got, (exact, size)) in expected.iter().zip(case.oracle(&x)) {
                        let error = (f64::from(got) - exact).abs();
                        assert!(
                            error <= TOLERANCE * size,
                            "{encoding} of {fill:#x}, m={m}: {got}, not {exact}"
                        );
                    }
                    for isa in isas(encoding) {
                        let out = multiply(&case.pack(isa, &Serial), &x, &Serial);
                        assert!(bits(&out) == bits(&expected), "{encoding} {isa:?} of {fill:#x}, m={m}");
                    }
                }
            }
        }
    }
}

/// Every bit pattern of codes, indices and integer scales is multiplied as the value that it decodes to.
#[test]
fn random_codes_are_those_that_are_decoded() {
    let mut state = 0x2545_f491_4f6c_dd1du64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 56) as u8
    };
    for format in bitquilt_qmatmul::encodings().filter_map(bitquilt_ggml_blocks::format) {
        let encoding = format.name;
        let (n, p) = (4 * format.block_len.max(64), 19);
        let mut bytes = Vec::new();
        let mut decoded = vec![0.0; n * p];
        for values in decoded.chunks_exact_mut(format.block_len) {
            let mut block = vec![0; format.block_bytes];
            // Scales among the codes may be those of no value that is summed.
            loop {
                block.fill_with(&mut random);
                for &at in format.halves {
                    block[at..at + 2].copy_from_slice(&0x3c00u16.to_le_bytes());
                }
                format.dequantize(&block, values);
                if values.iter().all(|value| value.abs() < 1e6) {
                    break;
                }
            }
            bytes.extend(block);
        }
        let case = Case { encoding, n, p, bytes, decoded };
        let x = values(11, 5 * n);
        let expected = multiply(&case.pack(Isa::Scalar, &Serial), &x, &Serial);
        for (i, (&got, (exact, size))) in expected.iter().zip(case.oracle(&x)).enumerate() {
            let error = (f64::from(got) - exact).abs();
            assert!(error <= TOLERANCE * size, "{encoding} element {i}: {got}, not {exact}");
        }
        for isa in isas(encoding).filter(|&isa| !by_pairs(encoding, isa)) {
            let out = multiply(&case.pack(isa, &Serial), &x, &Serial);
            assert!(bits(&out) == bits(&expected), "{encoding} {isa:?}");
        }
    }
}

#[test]
fn values_without_a_scale_are_marked() {
    for (encoding, isa) in
        formats_with_halves().flat_map(|format| isas(format.name).map(move |isa| (format.name, isa)))
    {
        let step = bitquilt_qmatmul::row_step(encoding).expect("an encoding with kernels");
        let (n, p) = (2 * step, 5);
        let weight = Case::new(encoding, n, p).pack(isa, &Serial);
        for (bad, at) in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY]
            .into_iter()
            .flat_map(|bad| [0, 6, step - 1, n - 1].map(|at| (bad, at)))
        {
            let mut x = values(1, 2 * n);
            x[n + at] = bad;
            let out = multiply(&weight, &x, &Serial);
            assert!(
                out[..p].iter().all(|x| x.is_finite()),
                "{encoding} {isa:?}: the other column is untouched"
            );
            assert!(
                out[p..].iter().all(|x| x.is_nan()),
                "{encoding} {isa:?}: {bad} at {at} spoils its column"
            );
        }
        for tiny in [1e-40, 1e-37, 0.0, -1e-44] {
            let out = multiply(&weight, &vec![tiny; n], &Serial);
            assert!(out.iter().all(|x| x.abs() < 1e-34), "{encoding} {isa:?}: {tiny} gives {out:?}");
        }
    }
}

#[test]
fn wrong_lengths_of_a_compact_weight_are_errors() {
    let compact = |encoding: &str, n, p| CompactWeight::new(named(encoding).unwrap(), Isa::detect(), n, p);
    assert!(compact("q4_0", 64, 3).unwrap().is_none(), "it has one form");
    assert!(compact("iq2_xs", 100, 3).err().unwrap().to_string().contains("100 values"));
    let weight = compact("iq2_xs", 256, 3).unwrap().unwrap();
    let (bytes, len) = (weight.scratch_bytes(), weight.activations().bytes(256, 1).unwrap());
    for (encoded, stored, out, scratch, sentence) in [
        (222, len, 3, bytes, ""),
        (221, len, 3, bytes, "has 222 bytes, got 221"),
        (222, len - 1, 3, bytes, "stored activations have"),
        (222, len, 4, bytes, "the output has 4 values, expected 3"),
        (222, len, 3, bytes - 1, "bytes for unpacked rows, expected"),
    ] {
        let mut memory = vec![0; scratch];
        let memory = WorkerScratch::new(&mut memory, scratch, scratch, 1).unwrap();
        let (encoded, stored, mut out) = (vec![0; encoded], vec![0; stored], vec![0.0; out]);
        let multiplied = weight.multiply(&encoded, &stored, 1, &mut out, &memory, &Serial);
        let said = multiplied.err().map_or_else(String::new, |error| error.to_string());
        assert!(said.contains(sentence) && said.is_empty() == sentence.is_empty(), "{said}, not {sentence}");
    }
}

#[test]
fn wrong_lengths_are_errors() {
    let pack = |encoding: &str, n, p, len| {
        PackedWeight::pack(
            named(encoding).unwrap(),
            Isa::detect(),
            n,
            p,
            &vec![0; len],
            &Serial,
            PreparedMemory::on_heap,
        )
        .map(|_| ())
    };
    let message = |result: Result<(), bitquilt_kernels::KernelError>| result.unwrap_err().to_string();
    assert!(message(pack("q4_0", 33, 1, 18)).contains("33 values"));
    assert!(message(pack("q4_0", 0, 1, 0)).contains("0 values"));
    assert!(message(pack("q4_0", 64, 2, 71)).contains("has 72 bytes, got 71"));
    assert!(message(pack("q4_0", usize::MAX / 32 * 32, usize::MAX, 71)).contains("got 71"));
    // Its bytes are 2^64 more than there are.
    assert!(message(pack("f32", (1 << 62) + 32, 1, 128)).contains("got 128"));
    assert!(message(named("q9_9").map(drop)).contains("q9_9"));

    let weight = PackedWeight::pack(
        named("q4_0").unwrap(),
        Isa::detect(),
        64,
        2,
        &[0; 72],
        &Serial,
        PreparedMemory::on_heap,
    )
    .unwrap();
    let format = weight.activations();
    let len = format.bytes(64, 1).unwrap();
    assert!(
        message(format.store(Isa::detect(), 64, &[0.0; 63], &mut vec![0; len], &Serial))
            .contains("63 activations")
    );
    assert!(
        message(format.store(Isa::detect(), 64, &[0.0; 64], &mut vec![0; len - 1], &Serial))
            .contains("expected")
    );
    assert!(message(weight.multiply(&vec![0; len + 1], 1, &mut [0.0; 2], &Serial)).contains("expected"));
    assert!(message(weight.multiply(&vec![0; len], 1, &mut [0.0; 3], &Serial)).contains("3 values"));
    assert!(message(weight.multiply(&vec![0; len], usize::MAX, &mut [0.0; 2], &Serial)).contains("expected"));
    let empty = PackedWeight::pack(
        named("q4_0").unwrap(),
        Isa::detect(),
        64,
        0,
        &[],
        &Serial,
        PreparedMemory::on_heap,
    )
    .unwrap();
    assert!(empty.multiply(&vec![0; len], 1, &mut [], &Serial).is_ok());
    assert!(weight.multiply(&[], 0, &mut [], &Serial).is_ok());
}
