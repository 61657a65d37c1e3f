//! The generic path of `qmatmul`, and `qgather`, through the plugin interface: against naive sums in f64, for encodings of many
//! block lengths, and to the bit for every number of threads and of rows.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use bitquilt_plugin_api::{
    Attributes, DType, Dim, EncodingSpec, Error, Plugin, QuantizationEncoding, Result, Rows, TensorType, dim,
};
use bitquilt_plugin_kit::{TestHost, TestTensor};

/// Three values a block: a scale as f32, then a byte each. A first byte of 255 is refused.
struct Triples;

impl QuantizationEncoding for Triples {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new("test.triples", 3, 7)
    }

    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        for (values, block) in rows.values().chunks_exact(3).zip(dst.chunks_exact_mut(7)) {
            let scale = values.iter().fold(f32::MIN_POSITIVE, |max, value| max.max(value.abs())) / 120.0;
            block[..4].copy_from_slice(&scale.to_le_bytes());
            for (byte, value) in block[4..].iter_mut().zip(values) {
                *byte = ((value / scale).round() + 120.0) as u8;
            }
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        for (block, values) in blocks.chunks_exact(7).zip(dst.chunks_exact_mut(3)) {
            if block[4] == 255 {
                return Err(Error::invalid("a block begins with 255"));
            }
            let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            for (value, byte) in values.iter_mut().zip(&block[4..]) {
                *value = (f32::from(*byte) - 120.0) * scale;
            }
        }
        Ok(())
    }
}

fn host() -> TestHost {
    let triples = Plugin::new("test", "1.0.0").encoding(Triples);
    TestHost::new([bitquilt_ggml::plugin(), bitquilt_qmatmul::plugin(), triples]).unwrap()
}

/// Values in -1 .. 1, the same on each run.
fn values(seed: u32, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9) | 1;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// `qmatmul` by the generic kernel.
fn qmatmul(host: &TestHost, x: &TestTensor, w: &TestTensor, threads: usize) -> TestTensor {
    let call = host.call("qmatmul").input(x).input(w).kernel("generic").threads(threads);
    call.run().unwrap().remove(0)
}

fn bits(tensor: &TestTensor) -> Vec<u32> {
    tensor.values::<f32>().unwrap().iter().map(|value| value.to_bits()).collect()
}

/// Encoding, m, n, p.
const PRODUCTS: [(&str, usize, usize, usize); 14] = [
    ("test.triples", 1, 3, 1),
    ("test.triples", 5, 51, 7),
    ("test.triples", 2, 333, 130),
    ("bf16", 1, 1, 1),
    ("bf16", 3, 17, 5),
    ("f16", 4, 100, 37),
    ("q4_0", 1, 32, 1),
    ("q4_0", 9, 96, 33),
    ("q4_1", 6, 64, 31),
    ("q8_0", 2, 576, 65),
    ("q4_k", 7, 512, 19),
    ("q6_k", 3, 256, 41),
    ("q6_k", 0, 256, 5),
    ("q8_0", 2, 32, 0),
];

#[test]
fn products_are_near_naive_sums_of_the_decoded_values() {
    let host = host();
    for (encoding, m, n, p) in PRODUCTS {
        let w = host.quantize(encoding, &[p, n], &values(1, p * n)).unwrap();
        let x = TestTensor::new(&[m, n], &values(2, m * n)).unwrap();
        let (weights, x_values) = (host.dequantize(&w).unwrap(), x.values::<f32>().unwrap());
        for precision in ["fast", "exact"] {
            let call = host.call("qmatmul").input(&x).input(&w).kernel("generic");
            let out = call.attribute("precision", precision).threads(2).run().unwrap().remove(0);
            assert_eq!(out.shape(), [m, p]);
            for (index, got) in out.values::<f32>().unwrap().iter().enumerate() {
                let (x, weights) = (&x_values[index / p * n..][..n], &weights[index % p * n..][..n]);
                let products = x.iter().zip(weights).map(|(x, w)| f64::from(*x) * f64::from(*w));
                let (exact, size) =
                    products.fold((0.0, 0.0), |(sum, size), product| (sum + product, size + product.abs()));
                // Sixteen partial sums of n / 16 products each, and their tree.
                let tolerance = (n.div_ceil(16) + 5) as f64 * f64::from(f32::EPSILON) / 2.0 * size;
                let error = (f64::from(*got) - exact).abs();
                assert!(error <= tolerance, "{encoding} {m}x{n}x{p} at {index}: off by {error:e}");
            }
        }
    }
}

#[test]
fn a_product_has_the_same_bits_for_every_number_of_threads() {
    let host = host();
    for (encoding, m, n, p) in PRODUCTS {
        let w = host.quantize(encoding, &[p, n], &values(3, p * n)).unwrap();
        let x = TestTensor::new(&[m, n], &values(4, m * n)).unwrap();
        let serial = bits(&qmatmul(&host, &x, &w, 1));
        for threads in [2, 3] {
            assert_eq!(bits(&qmatmul(&host, &x, &w, threads)), serial, "{encoding} {m}x{n}x{p}, {threads}");
        }
    }
}

#[test]
fn a_row_has_the_same_bits_whatever_rows_are_beside_it() {
    let host = host();
    for (encoding, n, p) in [("test.triples", 51, 70), ("q4_0", 96, 33), ("q6_k", 512, 9)] {
        let w = host.quantize(encoding, &[p, n], &values(5, p * n)).unwrap();
        let x = values(6, 40 * n);
        let together = qmatmul(&host, &TestTensor::new(&[2, 20, n], &x).unwrap(), &w, 2);
        assert_eq!(together.shape(), [2, 20, p]);
        let together = bits(&together);
        for (first, m) in [(0, 1), (39, 1), (7, 2), (3, 3), (11, 4), (20, 5), (1, 17)] {
            let some = TestTensor::new(&[m, n], &x[first * n..(first + m) * n]).unwrap();
            assert_eq!(
                bits(&qmatmul(&host, &some, &w, 1)),
                together[first * p..(first + m) * p],
                "{encoding}"
            );
        }
    }
}

#[test]
fn x_of_rank_one_gives_a_vector() {
    let host = host();
    let w = host.quantize("q8_0", &[3, 32], &values(7, 96)).unwrap();
    let x = TestTensor::new(&[32], &values(8, 32)).unwrap();
    assert_eq!(qmatmul(&host, &x, &w, 1).shape(), [3]);
}

#[test]
fn blocks_that_cannot_be_decoded_are_an_error_of_the_run() {
    let host = host();
    let mut bytes = host.quantize("test.triples", &[300, 3], &values(9, 900)).unwrap().bytes().to_vec();
    bytes[7 * 299 + 4] = 255;
    let spec = host.encoding("test.triples").unwrap().spec();
    let w = TestTensor::from_encoded(spec, &[300, 3], &bytes).unwrap();
    let x = TestTensor::new(&[1, 3], &[1f32, 2.0, 3.0]).unwrap();
    for threads in [1, 3] {
        let result = host.call("qmatmul").input(&x).input(&w).threads(threads).run();
        let message = result.err().unwrap().message().to_owned();
        assert!(message.contains("begins with 255") && message.contains("300"), "{message}");
    }
}

/// What is wrong, the inputs, the attribute `precision`, and what the sentence must have.
type Refusal<'a> = (&'a str, [TensorType; 2], &'a str, &'a [&'a str]);

#[test]
fn qmatmul_refuses_when_the_node_is_built() {
    let w = || TensorType::encoded("q4_0", [16usize, 64]);
    let x = || TensorType::f32([dim("batch"), dim(64)]);
    let refusals: &[Refusal<'_>] = &[
        (
            "dtype",
            [TensorType::dense(DType::F16, [2usize, 64]), w()],
            "fast",
            &["f16 [2, 64]", "f32", "cast"],
        ),
        ("n", [TensorType::f32([2usize, 48]), w()], "fast", &["f32 [2, 48]", "q4_0 [16, 64]", "[p, n]"]),
        (
            "untransposed",
            [TensorType::f32([2usize, 64]), TensorType::encoded("q4_0", [64usize, 32])],
            "fast",
            &["transpose the weight", "[p, n]", "[32, 64]"],
        ),
        ("scalar", [TensorType::f32([0usize; 0]), w()], "fast", &["scalar", "64"]),
        ("symbolic n", [TensorType::f32(["n"]), w()], "fast", &["f32 [n]", "the same"]),
        ("rank 1", [x(), TensorType::encoded("q4_0", [64usize])], "fast", &["q4_0 [64]", "rank 1", "matrix"]),
        ("rank 3", [x(), TensorType::encoded("q4_0", [2usize, 16, 64])], "fast", &["rank 3"]),
        (
            "symbolic w",
            [x(), TensorType::encoded("q4_0", [dim("p"), dim(64)])],
            "fast",
            &["[p, 64]", "must be numbers"],
        ),
        (
            "blocks",
            [TensorType::f32([2usize, 65]), TensorType::encoded("q4_0", [16usize, 65])],
            "fast",
            &["65", "whole number", "32"],
        ),
        ("precision", [x(), w()], "best", &["\"best\"", "\"fast\"", "\"exact\""]),
    ];
    let host = host();
    for (what, inputs, precision, words) in refusals {
        let attributes = Attributes::new().with("precision", *precision);
        let error = host.infer("qmatmul", inputs, &attributes).unwrap_err();
        for word in *words {
            assert!(error.message().contains(word), "{what}: no {word:?} in: {error}");
        }
    }
    let outputs = host.infer("qmatmul", &[x(), w()], &Attributes::new()).unwrap();
    assert_eq!(outputs[0].tensor, TensorType::f32([dim("batch"), dim(16)]));
}

#[test]
fn gathered_rows_are_the_decoded_rows() {
    let host = host();
    for (encoding, n) in [("test.triples", 9), ("q4_0", 64), ("q6_k", 256), ("bf16", 5)] {
        let table = host.quantize(encoding, &[11, n], &values(10, 11 * n)).unwrap();
        let decoded = host.dequantize(&table).unwrap();
        let ids = [3i64, 0, 10, 3, 7, 1];
        let rows: Vec<f32> = ids.iter().flat_map(|id| decoded[*id as usize * n..][..n].to_vec()).collect();
        let short: Vec<i32> = ids.iter().map(|id| *id as i32).collect();
        let (i64s, i32s) = (TestTensor::new(&[2, 3], &ids).unwrap(), TestTensor::new(&[6], &short).unwrap());
        for (ids, shape) in [(&i64s, vec![2, 3, n]), (&i32s, vec![6, n])] {
            for threads in [1, 3] {
                let out = host.call("qgather").input(&table).input(ids).threads(threads).run().unwrap();
                assert_eq!(out[0].shape(), shape, "{encoding}");
                assert_eq!(out[0].values::<f32>().unwrap(), rows, "{encoding}");
            }
        }
        let none = TestTensor::new::<i32>(&[0, 3], &[]).unwrap();
        let out = host.call("qgather").input(&table).input(&none).run().unwrap();
        assert_eq!(out[0].shape(), [0, 3, n]);
    }
}

#[test]
fn an_id_outside_the_table_is_an_error_that_says_where() {
    let host = host();
    let table = host.quantize("q8_0", &[5, 32], &values(11, 160)).unwrap();
    for (bad, at) in [(5, "[1, 0]"), (-1, "[1, 2]"), (i64::MAX, "[0, 1]"), (i64::MIN, "[0, 0]")] {
        let mut ids = [0i64, 1, 2, 3, 4, 0];
        let index = [("[0, 0]", 0), ("[0, 1]", 1), ("[1, 0]", 3), ("[1, 2]", 5)];
        ids[index.iter().find(|(text, _)| *text == at).unwrap().1] = bad;
        let ids = TestTensor::new(&[2, 3], &ids).unwrap();
        let error = host.call("qgather").input(&table).input(&ids).run().err().unwrap();
        for word in [&format!("the id {bad} "), at, "has 5"] {
            assert!(error.message().contains(word), "no {word:?} in: {error}");
        }
    }
}

#[test]
fn qgather_refuses_when_the_node_is_built() {
    let table = || TensorType::encoded("q4_0", [16usize, 64]);
    let ids = |dtype| TensorType::dense(dtype, ["seq"]);
    let refusals: &[(TensorType, TensorType, &str)] = &[
        (table(), ids(DType::F32), "cast"),
        (table(), ids(DType::U8), "i32 or i64"),
        (TensorType::encoded("q4_0", [64usize]), ids(DType::I32), "matrix"),
        (TensorType::encoded("q4_0", [dim("rows"), dim(64)]), ids(DType::I32), "must be numbers"),
        (TensorType::encoded("q4_0", [16usize, 33]), ids(DType::I32), "whole number"),
    ];
    let host = host();
    for (table, ids, words) in refusals {
        let inputs = [table.clone(), ids.clone()];
        let error = host.infer("qgather", &inputs, &Attributes::new()).unwrap_err();
        assert!(error.message().contains(words), "no {words:?} in: {error}");
    }
    let outputs = host.infer("qgather", &[table(), ids(DType::I64)], &Attributes::new()).unwrap();
    assert_eq!(outputs[0].tensor, TensorType::f32([dim("seq"), Dim::Fixed(64)]));
}
