//! Which kernels serve a product in a session, what the plan says of them, and that a dense product with a prepared matrix is the
//! product.

#![allow(clippy::unwrap_used)]

use bitquilt::{Attention, DType, Graph, InferenceSession, Isa, Model, Rope, Tensor, TensorType, dim};
use bitquilt_kernels::F32Kernel;

/// The instruction set whose kernels serve an encoding where none is asked for.
fn fastest(encoding: &str) -> &'static str {
    bitquilt_qmatmul::serving(encoding, Isa::detect()).name()
}

fn session(isa: Option<&str>) -> InferenceSession {
    let builder = InferenceSession::builder().threads(2);
    match isa {
        Some(isa) => builder.option("isa", isa),
        None => builder,
    }
    .build()
    .unwrap()
}

/// Multiplies `x`, `[rows, k]`, with a weight of this encoding, or with a dense `[k, n]` where it is none.
fn graph(session: &InferenceSession, encoding: Option<&str>, k: usize, n: usize) -> Graph {
    let mut graph = Graph::new(session.registry(), []).unwrap();
    let x = graph.add_input("x", TensorType::f32([dim("rows"), dim(k)])).unwrap();
    let product = match encoding {
        Some(encoding) => {
            let encoding = session.registry().require_encoding(encoding).unwrap();
            let weight = encoding.quantize_with_importance(&values([n, k]), &vec![1.0; k]).unwrap().tensor;
            let weight = graph.constant(&weight).unwrap();
            graph.qmatmul(x, weight).unwrap()
        }
        None => {
            let matrix = graph.constant(&values([k, n])).unwrap();
            graph.matmul(x, matrix).unwrap()
        }
    };
    graph.output_named("y", product).unwrap();
    graph
}

fn model(session: &InferenceSession, encoding: Option<&str>, k: usize, n: usize) -> Model {
    session.load(&graph(session, encoding, k, n)).unwrap()
}

fn values(shape: [usize; 2]) -> Tensor {
    let value = |i: usize| ((i * 7919 + shape[0]) % 2003) as f32 / 1001.0 - 1.0;
    Tensor::new(shape, (0..shape[0] * shape[1]).map(value).collect::<Vec<_>>()).unwrap()
}

fn kernel(model: &Model) -> String {
    model.explain().unwrap().nodes[0].kernel.clone().unwrap().0
}

fn product(model: &Model, x: &Tensor) -> Vec<f32> {
    model.execute([("x", x)]).unwrap().get::<f32>("y").unwrap().to_vec()
}

#[test]
fn encodings_with_kernels_of_their_own_are_served_by_them() {
    let session = session(None);
    for encoding in bitquilt_qmatmul::encodings().filter(|encoding| *encoding != "f32") {
        assert_eq!(kernel(&model(&session, Some(encoding), 256, 5)), fastest(encoding), "{encoding}");
    }
    // No kernel takes rows of part of a strip.
    assert_eq!(kernel(&model(&session, Some("bf16"), 40, 5)), "generic");
}

#[test]
fn a_session_can_force_the_instruction_set_of_its_kernels() {
    let x = values([9, 256]);
    let expected = |encoding| product(&model(&session(Some("scalar")), Some(encoding), 256, 5), &x);
    for isa in Isa::available() {
        let session = session(Some(isa.name()));
        assert_eq!(session.isa(), isa);
        for encoding in ["q5_1", "q6_k", "f16", "bf16"] {
            let forced = model(&session, Some(encoding), 256, 5);
            assert_eq!(kernel(&forced), bitquilt_qmatmul::serving(encoding, isa).name(), "{encoding}, {isa}");
            // Products of pairs of bfloat16 round `x`, which no other product with floats does.
            if rounds(encoding, isa) == rounds(encoding, Isa::Scalar) {
                assert_eq!(product(&forced, &x), expected(encoding), "{encoding}, {isa}");
            }
        }
        let generic = model(&session, Some("bf16"), 40, 5).explain().unwrap();
        assert_eq!(generic.isa, isa);
        let note = format!("decoded at each run by bf16, multiplied in f32 ({}); ", nearest(isa));
        assert!(generic.nodes[0].note.starts_with(&note), "{generic}");
        assert!(generic.to_string().ends_with(&format!("instruction set {isa}\n")), "{generic}");
    }
}

/// The instruction set whose code for f32 runs where `isa` is chosen.
fn nearest(isa: Isa) -> Isa {
    F32Kernel::of(isa).isa()
}

/// Whether the kernels of an encoding round activations where `isa` is chosen.
fn rounds(encoding: &str, isa: Isa) -> bool {
    bitquilt_qmatmul::activations(encoding, isa).unwrap().is_rounded()
}

/// A graph of each kind of op that computes: of a feed-forward block, an embedding, and an attention over caches of f16.
fn every_kind(session: &InferenceSession) -> Graph {
    let mut graph = Graph::new(session.registry(), [TensorType::f32([3, 2, 32])]).unwrap();
    let x = graph.input(0);
    let weight = graph.constant(&Tensor::full([32], 0.75f32)).unwrap();
    let encoded = graph.quantize("q4_0", &values([32, 32])).unwrap();
    let positions = graph.constant(&Tensor::new([3], [0i64, 1, 2]).unwrap()).unwrap();
    let caches = ["k", "v"].map(|name| graph.state(name, TensorType::dense(DType::F16, [4, 2, 32])).unwrap());
    let turned = graph.rope(x, positions, Rope::default()).unwrap();
    let k = graph.append(caches[0], turned, positions).unwrap();
    let v = graph.append(caches[1], x, positions).unwrap();
    let causal = Attention { causal: true, positions: Some(positions), ..Attention::default() };
    let attended = graph.attention(turned, k, v, causal).unwrap();
    let normed = graph.rms_norm(attended, weight, 1e-5).unwrap();
    let product = graph.qmatmul(normed, encoded).unwrap();
    let gated = graph.silu(product).unwrap();
    let sum = graph.add(gated, x).unwrap();
    let layer = graph.layer_norm(sum, weight, Some(weight), 1e-5).unwrap();
    let rows = graph.qgather(encoded, positions).unwrap();
    let transposed = graph.transpose(rows, &[1, 0]).unwrap();
    let dense = graph.matmul(layer, transposed).unwrap();
    let probabilities = graph.softmax(dense, -1).unwrap();
    let (greatest, mean) = (graph.argmax(probabilities).unwrap(), graph.mean(layer, -1).unwrap());
    let half = graph.cast(mean, DType::F16).unwrap();
    for (name, output) in [("probabilities", probabilities), ("greatest", greatest), ("half", half)] {
        graph.output_named(name, output).unwrap();
    }
    graph
}

#[test]
fn every_op_computes_with_the_instruction_set_of_its_session() {
    let x: Vec<f32> = values([6, 32]).values::<f32>().unwrap().to_vec();
    let x = Tensor::new([3, 2, 32], x).unwrap();
    let run = |isa: Isa| {
        let session = session(Some(isa.name()));
        let model = session.load(&every_kind(&session)).unwrap();
        for node in model.explain().unwrap().nodes {
            match (node.op.as_str(), node.kernel) {
                ("qmatmul", kernel) => {
                    assert_eq!(kernel.unwrap().0, bitquilt_qmatmul::serving("q4_0", isa).name(), "{isa}");
                }
                ("qgather" | "transpose", _) | (_, None) => {}
                (op, _) => assert_eq!(node.note, nearest(isa).name(), "{op}, {isa}"),
            }
        }
        let results = model.execute([("input0", &x)]).unwrap();
        (
            results.get::<f32>("probabilities").unwrap().to_vec(),
            results.get::<i64>("greatest").unwrap().to_vec(),
        )
    };
    let expected = run(Isa::Scalar);
    for isa in Isa::available() {
        let found = run(isa);
        assert_eq!(found.1, expected.1, "{isa}");
        for (found, expected) in found.0.iter().zip(&expected.0) {
            assert!((found - expected).abs() < 1e-5, "{isa}: {found}, not {expected}");
        }
    }
}

#[test]
fn an_instruction_set_that_nobody_has_is_refused() {
    let refusal = |name: &str| {
        let session = InferenceSession::builder().option("isa", name).build();
        session.err().expect("it is no instruction set of this machine").to_string()
    };
    let all = Isa::ALL.map(Isa::name).join(", ");
    let has = Isa::available().map(Isa::name).collect::<Vec<_>>().join(", ");
    for unknown in ["avx521", "", "AVX2", "none", "avx"] {
        let expected = format!(
            "the option `isa`: there is no instruction set `{unknown}`; there are {all}, and this machine has {has}"
        );
        assert_eq!(refusal(unknown), expected);
    }
    for missing in Isa::ALL.into_iter().filter(|isa| !isa.is_available()) {
        let expected = format!(
            "the option `isa`: this machine does not have the instruction set {missing}; it has {has}"
        );
        assert_eq!(refusal(missing.name()), expected);
    }
    // What is set last counts.
    let session = InferenceSession::builder().option("isa", "none").option("isa", "scalar").build();
    assert_eq!(session.unwrap().isa(), Isa::Scalar);
}

#[test]
fn loading_says_how_far_it_is() {
    let session = session(None);
    let graph = graph(&session, Some("q5_1"), 64, 5);
    let mut said = Vec::new();
    session.load_with_progress(&graph, |done, of| said.push((done, of))).unwrap();
    // 64 values in two blocks of 24 bytes, five times.
    assert_eq!(said, [(240, 240)]);
}

#[test]
fn the_plan_says_which_way_a_product_is_computed() {
    let plan = model(&session(Some("scalar")), Some("q4_0"), 64, 5).explain().unwrap();
    let node = &plan.nodes[0];
    assert_eq!(
        node.note,
        "1 row of x: gemv, 4 rows of the weight streamed at a time; 2 to 4: few, unpacked in registers for each tile of x; \
         5 or more: gemm, unpacked into slabs that tiles of x share"
    );
    let reason = |kernel: &str| {
        let other = node.others.iter().find(|(name, _)| name.starts_with(kernel));
        other.map(|(_, reason)| reason.as_str())
    };
    assert_eq!(reason("generic "), Some("goes after `scalar`"));
    if fastest("q4_0") != "scalar" {
        assert_eq!(reason(fastest("q4_0")), Some("the session's option `isa` is scalar"));
    }
    let generic = model(&session(None), Some("bf16"), 40, 5).explain().unwrap();
    assert!(
        generic.nodes[0].note.starts_with("decoded at each run by bf16, multiplied in f32 ("),
        "{generic}"
    );
}

#[test]
fn products_of_one_input_share_its_quantization() {
    let session = session(None);
    let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("rows"), dim(64)])]).unwrap();
    for (rows, encoding) in [(5, "q8_0"), (7, "q8_0"), (9, "q8_0"), (5, "q4_1")] {
        let weight = graph.quantize(encoding, &values([rows, 64])).unwrap();
        let product = graph.qmatmul(graph.input(0), weight).unwrap();
        graph.output(product).unwrap();
    }
    let model = session.load(&graph).unwrap();
    let mut state = model.new_state().unwrap();
    state.set_profile(true);
    state.run([("input0", &values([3, 64]))]).unwrap();
    let profile = state.profile().unwrap();
    let count = |op: &str| profile.nodes.iter().filter(|node| node.op == op).count();
    // Once for all of `q8_0`, and once for `q4_1`, which takes sums of its minima.
    assert_eq!((count("qmatmul"), count("qmatmul (input)")), (4, 2));
}

#[test]
fn a_dense_product_with_a_constant_matrix_is_the_product() {
    let (fast, plain) = (session(None), session(Some("scalar")));
    for (k, n) in [(32, 1), (96, 17), (320, 50), (40, 7)] {
        let (prepared, plain) = (model(&fast, None, k, n), model(&plain, None, k, n));
        let expected = if k % 32 == 0 { fastest("f32") } else { "plain" };
        if fastest("f32") != "scalar" {
            assert_eq!(kernel(&prepared), expected, "[{k}, {n}]");
        }
        assert_ne!(kernel(&plain), fastest("f32"), "[{k}, {n}]");
        for rows in [1, 2, 9, 70] {
            let x = values([rows, k]);
            let (got, wanted) = (product(&prepared, &x), product(&plain, &x));
            for (got, wanted) in got.iter().zip(&wanted) {
                assert!(
                    (got - wanted).abs() < 1e-5 * k as f32,
                    "[{rows}, {k}] [{k}, {n}]: {got}, not {wanted}"
                );
            }
        }
    }
}

#[test]
fn exact_products_with_bf16_do_not_round_their_input() {
    let session = session(None);
    let mut graph = Graph::new(session.registry(), [TensorType::f32([3, 64])]).unwrap();
    let weight = graph.quantize("bf16", &Tensor::full([5, 64], 1.0f32)).unwrap();
    let product = graph.node("qmatmul", [graph.input(0), weight]).attribute("precision", "exact").value();
    graph.output(product.unwrap()).unwrap();
    let model = session.load(&graph).unwrap();
    // More digits than bfloat16 has.
    let x = 1.0 + 1.0 / 4096.0;
    let results = model.execute([("input0", &Tensor::full([3, 64], x))]).unwrap();
    assert!(results.get::<f32>("output0").unwrap().iter().all(|sum| *sum == 64.0 * x));
}
