//! The guide to quantizing graph weights, sentence by sentence: each test holds what one of its paragraphs states.

#![allow(clippy::unwrap_used)]

use bitquilt::plugin_api::{
    EncodingSpec, Error, InferContext, Kernel, Op, OpSignature, OutputType, QuantizationEncoding,
    Result as PluginResult, Rows, RunContext, SignatureError,
};
use bitquilt::registry::Registry;
use bitquilt::{
    DType, Graph, GraphError, InferenceSession, NodeProblem, Tensor, TensorDict, TensorType, checkpoint,
};

fn session() -> InferenceSession {
    InferenceSession::builder().threads(2).build().unwrap()
}

/// Values without a pattern, the same each time, between -1 and 1.
fn noise(shape: [usize; 2], mut seed: u64) -> Tensor {
    let values: Vec<f32> = (0..shape[0] * shape[1])
        .map(|_| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::new(shape, values).unwrap()
}

/// `x @ transpose(weight)` in f64.
fn product(x: &Tensor, weight: &Tensor) -> Vec<f64> {
    let ([m, n], [p, _]) = (x.shape(), weight.shape()) else { panic!("matrices") };
    let (x, w) = (x.values::<f32>().unwrap(), weight.values::<f32>().unwrap());
    let sum =
        |i: usize, j: usize| (0..*n).map(|k| f64::from(x[i * n + k]) * f64::from(w[j * n + k])).sum::<f64>();
    (0..*m).flat_map(|i| (0..*p).map(move |j| (i, j))).map(|(i, j)| sum(i, j)).collect()
}

fn relative_error(expected: &[f64], found: &[f32]) -> f64 {
    let square = |value: f64| value * value;
    let error: f64 = expected.iter().zip(found).map(|(a, b)| square(a - f64::from(*b))).sum();
    (error / expected.iter().map(|value| square(*value)).sum::<f64>()).sqrt()
}

/// "Perform matmul with the full-precision constant", "with the quantized constant (transposed)": "see for yourself how close the
/// results are even though the quantized constant uses just 1/8th of the memory". In full: 18 bytes for 32 values, 9/64.
#[test]
fn the_first_sample_and_its_full_precision_side_agree() {
    let session = session();
    let input = Tensor::full([32, 64], 0.5f32);

    let mut graph = Graph::new(session.registry(), [TensorType::f32([32, 64])]).unwrap();
    let constant = graph.constant(&Tensor::full([64, 32], 0.15f32)).unwrap();
    let matmul = graph.matmul(graph.input(0), constant).unwrap();
    graph.output(matmul).unwrap();
    let full = session.load(&graph).unwrap().execute([("input0", &input)]).unwrap();

    let mut graph = Graph::new(session.registry(), [TensorType::f32([32, 64])]).unwrap();
    let weight = Tensor::full([32, 64], 0.15f32);
    let quantized = session.registry().require_encoding("q4_0").unwrap().quantize(&weight).unwrap().tensor;
    let constant = graph.constant(&quantized).unwrap();
    let matmul = graph.qmatmul(graph.input(0), constant).unwrap();
    graph.output(matmul).unwrap();
    assert_eq!(graph.tensor_type(matmul).to_string(), "f32 [32, 32]");
    let close = session.load(&graph).unwrap().execute([("input0", &input)]).unwrap();

    let full = full.get::<f32>("output0").unwrap();
    let close = close.get::<f32>("output0").unwrap();
    assert_eq!((full.len(), close.len()), (32 * 32, 32 * 32));
    for (full, close) in full.iter().zip(close) {
        assert!((full - 4.8).abs() < 1e-5, "{full}");
        assert!((full - close).abs() < 0.002, "{full} {close}");
    }
    assert_eq!(weight.bytes().len(), 32 * 64 * 4);
    assert_eq!(quantized.bytes().len(), 32 * 64 / 32 * 18);
}

/// "Takes a float32 tensor and returns a quantized tensor as a uint8 bytes buffer (a type-erased blob of bytes that can be in any
/// encoding)"; "no matter which encoding you choose, the quantize() method works the same".
#[test]
fn quantize_works_the_same_for_every_encoding() {
    let session = session();
    let weight = noise([3, 512], 1);
    let importance: Vec<f32> = (0..512).map(|column| 1.0 + (column % 7) as f32).collect();
    let mut encodings = 0;
    for encoding in session.registry().encodings() {
        let spec = encoding.spec();
        let quantized = match encoding.quantize(&weight) {
            Ok(quantized) => quantized.tensor,
            Err(error) => {
                assert!(error.to_string().contains("needs an importance vector"), "{error}");
                encoding.quantize_with_importance(&weight, &importance).unwrap().tensor
            }
        };
        let row_bytes = 512 / spec.block_len * spec.block_bytes;
        assert_eq!(quantized.shape(), [3, 512], "{}", spec.name);
        assert_eq!(quantized.byte_shape(), [3, row_bytes], "{}", spec.name);
        assert_eq!(quantized.bytes().len(), 3 * row_bytes, "{}", spec.name);
        assert_eq!(quantized.encoding().unwrap().name, spec.name);
        assert_eq!(quantized.dtype(), None, "the type says the encoding, not a dtype");
        let decoded = encoding.dequantize(&quantized).unwrap();
        let expected: Vec<f64> = weight.values::<f32>().unwrap().iter().map(|x| f64::from(*x)).collect();
        let error = relative_error(&expected, decoded.values().unwrap());
        assert!(error < 0.75, "{}: {error}", spec.name);
        encodings += 1;
    }
    // GGML's 27, and f32.
    assert_eq!(encodings, 28);
}

/// "You can use Graph.quantize() to combine these two lines into one line."
#[test]
fn quantizing_in_the_graph_is_quantizing_and_adding_a_constant() {
    let session = session();
    let weight = noise([8, 256], 2);
    for name in ["q4_0", "q4_k", "q6_k"] {
        let mut graph = Graph::new(session.registry(), []).unwrap();
        let quantized = session.registry().require_encoding(name).unwrap().quantize(&weight).unwrap().tensor;
        let two = graph.constant(&quantized).unwrap();
        let one = graph.quantize(name, &weight).unwrap();
        assert_eq!(graph.constant_tensor(one), graph.constant_tensor(two));
        assert_eq!(graph.tensor_type(one), graph.tensor_type(two));
    }
}

/// "qmatmul() requires the rhs shape be p×n", "(to get an output shape m×p)", "whereas the normal matmul() takes m×n and n×p".
#[test]
fn the_right_hand_side_of_qmatmul_is_transposed() {
    let session = session();
    let (x, weight) = (noise([5, 64], 3), noise([96, 64], 4));
    let mut graph = Graph::new(session.registry(), [TensorType::f32([5, 64])]).unwrap();
    let constant = graph.quantize("q8_0", &weight).unwrap();
    let quantized = graph.qmatmul(graph.input(0), constant).unwrap();
    graph.output(quantized).unwrap();
    let results = session.load(&graph).unwrap().execute([("input0", &x)]).unwrap();
    assert_eq!(results.tensor("output0").unwrap().shape(), [5, 96]);
    assert!(relative_error(&product(&x, &weight), results.get("output0").unwrap()) < 0.01);

    let untransposed = graph.quantize("q8_0", &noise([64, 96], 4)).unwrap();
    let problem = graph.qmatmul(graph.input(0), untransposed).unwrap_err().to_string();
    assert!(problem.contains("qmatmul.1") && problem.contains("transpose the weight"), "{problem}");
    let square = graph.quantize("q8_0", &noise([96, 32], 4)).unwrap();
    assert!(graph.qmatmul(graph.input(0), square).is_err(), "rows of another length than x's");
}

/// "You can quantize different weights with different encodings", "so that only certain ops perform low-precision calculations while
/// others retain high precision".
#[test]
fn one_graph_mixes_encodings_and_full_precision() {
    let session = session();
    let x = noise([4, 256], 5);
    let weights = [noise([256, 256], 6), noise([256, 256], 7), noise([32, 256], 8)];
    let mut graph = Graph::new(session.registry(), [TensorType::f32([4, 256])]).unwrap();
    let mut value = graph.input(0);
    for (weight, encoding) in weights.iter().zip(["q8_0", "q6_k", "f16"]) {
        let weight = graph.quantize(encoding, weight).unwrap();
        value = graph.qmatmul(value, weight).unwrap();
    }
    let dense = graph.constant(&Tensor::full([32, 2], 0.5f32)).unwrap();
    let value = graph.matmul(value, dense).unwrap();
    graph.output(value).unwrap();
    let results = session.load(&graph).unwrap().execute([("input0", &x)]).unwrap();

    let to_f32 = |values: Vec<f64>, shape| {
        Tensor::new(shape, values.into_iter().map(|value| value as f32).collect::<Vec<f32>>()).unwrap()
    };
    let hidden = to_f32(product(&x, &weights[0]), [4, 256]);
    let hidden = to_f32(product(&hidden, &weights[1]), [4, 256]);
    let last = to_f32(product(&hidden, &weights[2]), [4, 32]);
    let expected = product(&last, &Tensor::full([2, 32], 0.5f32));
    assert!(relative_error(&expected, results.get("output0").unwrap()) < 0.05);
}

/// "Using quantized weights with any other op doesn't work as is, because they all expect float32 inputs."
#[test]
fn other_ops_refuse_encoded_data_and_say_which_take_it() {
    let session = session();
    let mut graph = Graph::new(session.registry(), [TensorType::f32([32, 64])]).unwrap();
    let weight = graph.quantize("q4_0", &Tensor::full([32, 64], 0.15f32)).unwrap();
    let x = graph.input(0);
    for op in ["matmul", "add", "mul", "rms_norm"] {
        let Err(GraphError::Node { node, problem, .. }) = graph.op(op, [x, weight]) else {
            panic!("`{op}` took encoded data")
        };
        assert_eq!(node, format!("{op}.0"));
        let NodeProblem::EncodedInput { encoding, takers, .. } = problem else { panic!("{problem}") };
        assert_eq!(encoding, "q4_0");
        for taker in ["qmatmul", "qgather", "dequantize"] {
            assert!(takers.iter().any(|known| known == taker), "{takers:?}");
        }
    }
    // Raw bytes have no encoding: they are no way around the check.
    let bytes = graph.constant(&Tensor::full([32, 36], 1u8)).unwrap();
    assert!(matches!(
        graph.qmatmul(x, bytes),
        Err(GraphError::Node { problem: NodeProblem::Signature(SignatureError::DenseInput { .. }), .. })
    ));
}

/// "Quantization happens at graph build time. That means you can't use quantize() with runtime inputs": `Graph::quantize` takes a
/// tensor (a value of the graph does not compile, see its documentation), and an encoded input has to be encoded by the caller.
#[test]
fn a_run_time_input_is_never_quantized() {
    let session = session();
    let encoded = TensorType::encoded("q8_0", [8, 64]);
    let mut graph = Graph::new(session.registry(), [TensorType::f32([2, 64]), encoded]).unwrap();
    let value = graph.qmatmul(graph.input(0), graph.input(1)).unwrap();
    graph.output(value).unwrap();
    let model = session.load(&graph).unwrap();
    let (x, weight) = (noise([2, 64], 9), noise([8, 64], 10));
    let problem = model.execute([("input0", &x), ("input1", &weight)]).unwrap_err().to_string();
    assert_eq!(problem, "the input `input1` is q8_0 [8, 64], f32 [8, 64] was given");
    let weight = session.registry().require_encoding("q8_0").unwrap().quantize(&weight).unwrap().tensor;
    model.execute([("input0", &x), ("input1", &weight)]).unwrap();
}

/// "Save and load tensors to disk", "to avoid quantizing your weights every time": the guide's tensors, and a quantized one.
#[test]
fn named_tensors_are_saved_and_loaded() {
    let session = session();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("checkpoint.safetensors");
    let quantized =
        session.registry().require_encoding("q4_k").unwrap().quantize(&noise([4, 256], 11)).unwrap().tensor;
    let mut tensors = TensorDict::new();
    tensors.insert("x", Tensor::new([1, 2, 2], [1i32, 2, 3, 4]).unwrap());
    tensors.insert("y", Tensor::full([10, 5], -1.23f32));
    tensors.insert("w", quantized.clone());
    checkpoint::save(&tensors, &path).unwrap();

    let tensors = checkpoint::load(&path, session.registry()).unwrap();
    let x = tensors.get("x").unwrap();
    assert_eq!((x.shape(), x.values::<i32>().unwrap()), (&[1, 2, 2][..], &[1, 2, 3, 4][..]));
    let y = tensors.get("y").unwrap();
    assert_eq!((y.shape(), y.values::<f32>().unwrap()), (&[10, 5][..], &[-1.23f32; 50][..]));
    assert_eq!(tensors.get("w"), Some(&quantized));
    assert_eq!(tensors.get("z"), None);

    let mut graph = Graph::new(session.registry(), [TensorType::f32([1, 256])]).unwrap();
    let weight = graph.constant(tensors.get("w").unwrap()).unwrap();
    let value = graph.qmatmul(graph.input(0), weight).unwrap();
    graph.output(value).unwrap();
    session.load(&graph).unwrap().execute([("input0", &Tensor::full([1, 256], 1f32))]).unwrap();
}

/// An encoding of one's own: a sign for each value, and the mean magnitude of each 8.
struct Signs;

impl QuantizationEncoding for Signs {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new("guide.signs", 8, 5)
    }
    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> PluginResult<()> {
        for (values, block) in rows.values().chunks_exact(8).zip(dst.chunks_exact_mut(5)) {
            let mean = values.iter().map(|value| value.abs()).sum::<f32>() / 8.0;
            block[..4].copy_from_slice(&mean.to_le_bytes());
            block[4] = values.iter().rev().fold(0, |bits, value| bits << 1 | u8::from(*value < 0.0));
        }
        Ok(())
    }
    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> PluginResult<()> {
        for (block, values) in blocks.chunks_exact(5).zip(dst.chunks_exact_mut(8)) {
            let mean = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            for (bit, value) in values.iter_mut().enumerate() {
                *value = if block[4] >> bit & 1 == 1 { -mean } else { mean };
            }
        }
        Ok(())
    }
}

/// "A custom version of matmul that knows how to decode your custom quantization encoding."
struct SignsMatmul;

impl Op for SignsMatmul {
    fn signature(&self) -> OpSignature {
        OpSignature::new("guide.matmul").dense("x").encoded_as("weight", ["guide.signs"])
    }
    fn infer(&self, cx: &InferContext<'_>) -> PluginResult<Vec<OutputType>> {
        let [x, weight] = cx.inputs() else { return Err(Error::invalid("two inputs")) };
        match (&x.shape[..], &weight.shape[..]) {
            ([m, n], [p, k]) if n == k && x.dtype() == Some(DType::F32) => {
                Ok(vec![TensorType::f32([m.clone(), p.clone()]).into()])
            }
            _ => Err(Error::invalid(format_args!("`x` is {x}, `weight` is {weight}"))),
        }
    }
}

impl Kernel for SignsMatmul {
    fn run(&self, cx: &mut RunContext<'_>) -> PluginResult<()> {
        let (x, weight) = (cx.input(0)?, cx.input(1)?);
        let ([m, n], [p, _]) = (x.shape(), weight.shape()) else { return Err(Error::failed("matrices")) };
        let (x, bytes, y) = (x.values::<f32>()?, weight.bytes(), cx.output(0)?.into_values::<f32>()?);
        let mut row = [0f32; 64];
        for j in 0..*p {
            Signs.dequantize(&bytes[j * n / 8 * 5..][..n / 8 * 5], &mut row[..*n])?;
            for i in 0..*m {
                y[i * p + j] = row[..*n].iter().zip(&x[i * n..]).map(|(w, x)| w * x).sum();
            }
        }
        Ok(())
    }
}

/// "You can implement your own by building a type that conforms to the QuantizationEncoding trait"; "write custom ops that understand
/// your quantizations".
#[test]
fn an_encoding_of_ones_own_has_an_op_of_ones_own() {
    let session = InferenceSession::builder().encoding(Signs).simple_op(SignsMatmul).build().unwrap();
    let (x, weight) = (noise([3, 64], 12), noise([5, 64], 13));
    let mut graph = Graph::new(session.registry(), [TensorType::f32([3, 64])]).unwrap();
    let constant = graph.quantize("guide.signs", &weight).unwrap();
    let own = graph.op("guide.matmul", [graph.input(0), constant]).unwrap();
    graph.output_named("own", own).unwrap();
    let generic = graph.qmatmul(graph.input(0), constant).unwrap();
    graph.output_named("generic", generic).unwrap();
    // An op that takes one encoding refuses the bytes of another.
    let other = graph.quantize("q8_0", &weight).unwrap();
    assert!(matches!(
        graph.op("guide.matmul", [graph.input(0), other]),
        Err(GraphError::Node { problem: NodeProblem::Signature(SignatureError::OtherEncoding { .. }), .. })
    ));
    let results = session.load(&graph).unwrap().execute([("input0", &x)]).unwrap();
    let decoded = decoded(session.registry(), "guide.signs", &weight);
    let expected = product(&x, &decoded);
    for output in ["own", "generic"] {
        assert!(relative_error(&expected, results.get(output).unwrap()) < 1e-6, "{output}");
    }
}

fn decoded(registry: &Registry, encoding: &str, weight: &Tensor) -> Tensor {
    let encoding = registry.require_encoding(encoding).unwrap();
    encoding.dequantize(&encoding.quantize(weight).unwrap().tensor).unwrap()
}

/// "Any op that you pass this data into must know how to dequantize that data": what the system of the guide computes in silence is
/// refused here.
#[test]
fn bytes_that_are_not_what_they_are_said_to_be_are_refused() {
    let session = session();
    let registry = session.registry();
    let spec = registry.require_encoding("q4_0").unwrap().spec();
    assert!(Tensor::from_encoded(spec, [2, 64], &[0; 71]).is_err(), "no whole number of blocks");
    assert!(Tensor::from_encoded(spec, [2, 63], &[0; 72]).is_err(), "rows of no whole number of blocks");
    let blocks = Tensor::from_encoded(spec, [2, 64], &[0; 72]).unwrap();
    let problem = registry.require_encoding("q4_k").unwrap().dequantize(&blocks).unwrap_err().to_string();
    assert!(problem.contains("q4_0") && problem.contains("q4_k"), "{problem}");
    let row = Tensor::full([1, 100], 1f32);
    let problem = registry.require_encoding("q4_0").unwrap().quantize(&row).unwrap_err().to_string();
    assert!(problem.contains("100") && problem.contains("32"), "{problem}");
}
