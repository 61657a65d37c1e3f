//! Which kernels serve a product in a session, what the plan says of them, and that a dense product with a prepared matrix is the
//! product.

#![allow(clippy::unwrap_used)]

use bitquilt::{Graph, InferenceSession, Model, Tensor, TensorType, dim};

/// The fastest instruction set of this machine that has kernels for an encoding.
fn fastest(encoding: &str) -> &'static str {
    bitquilt_qmatmul::Isa::detect().serving(encoding).name()
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
            let weight = graph.quantize(encoding, &values([n, k])).unwrap();
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
    assert_eq!(kernel(&model(&session, Some("tq2_0"), 256, 5)), "generic");
    // No kernel takes rows of part of a strip.
    assert_eq!(kernel(&model(&session, Some("bf16"), 40, 5)), "generic");
}

#[test]
fn a_session_can_force_the_instruction_set_of_its_kernels() {
    let forced = model(&session(Some("scalar")), Some("q5_1"), 64, 5);
    assert_eq!(kernel(&forced), "scalar");
    let x = values([9, 64]);
    assert_eq!(product(&forced, &x), product(&model(&session(None), Some("q5_1"), 64, 5), &x));
}

#[test]
fn an_instruction_set_that_nobody_has_is_refused() {
    let session = session(Some("avx521"));
    let error = session.load(&graph(&session, Some("q5_1"), 64, 5)).err().unwrap().to_string();
    assert!(
        error.ends_with(
            "the session's option `isa` is `avx521`; \
             expected one of scalar, avx2, avxvnni, avx512vnni, avx512bf16, neon"
        ),
        "{error}"
    );
    let missing = bitquilt_qmatmul::Isa::ALL.into_iter().find(|isa| !isa.is_available()).unwrap();
    let session = self::session(Some(missing.name()));
    let error = session.load(&graph(&session, Some("q5_1"), 64, 5)).err().unwrap().to_string();
    assert!(error.contains(&format!("does not have the instruction set {}", missing.name())), "{error}");
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
    let generic = model(&session(None), Some("tq2_0"), 256, 5).explain().unwrap();
    assert!(generic.nodes[0].note.starts_with("decodes tiles, multiplies in f32 ("), "{generic}");
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
    let (fast, plain) = (session(None), session(Some("none")));
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
