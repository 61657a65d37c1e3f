//! Weights that stay as they are encoded where `prepare` is "compact": the same bits, in no more bytes than the file has.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use bitquilt::{Graph, InferenceSession, Isa, Model, Tensor, TensorType, dim};

/// Rows of the weight, which no instruction set has as lanes, and values of each.
const ROWS: usize = 75;
const COLUMNS: usize = 512;

/// The encodings that are spread when they are prepared.
const SPREAD: [&str; 8] = ["iq1_m", "iq1_s", "iq2_s", "iq2_xs", "iq2_xxs", "iq3_s", "iq3_xxs", "tq1_0"];

fn session(options: &[(&str, &str)], threads: usize) -> InferenceSession {
    let builder = InferenceSession::builder().threads(threads);
    options.iter().fold(builder, |builder, (name, value)| builder.option(*name, *value)).build().unwrap()
}

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| (((index + seed) * 7919 % 2003) as f32 - 1001.0) / 500.0).collect()
}

/// A product; `prepare` is the node's attribute, if it has one.
fn graph(session: &InferenceSession, encoding: &str, prepare: Option<&str>) -> Graph {
    let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("rows"), dim(COLUMNS)])]).unwrap();
    let dense = Tensor::new([ROWS, COLUMNS], values(ROWS * COLUMNS, 1)).unwrap();
    let encoding = session.registry().require_encoding(encoding).unwrap();
    let weight = encoding.quantize_with_importance(&dense, &vec![1.0; COLUMNS]).unwrap().tensor;
    let weight = graph.constant(&weight).unwrap();
    let node = graph.node("qmatmul", [graph.input(0), weight]);
    let node = prepare.into_iter().fold(node, |node, prepare| node.attribute("prepare", prepare));
    let product = node.value().unwrap();
    graph.output(product).unwrap();
    graph
}

fn load(session: &InferenceSession, encoding: &str, prepare: Option<&str>) -> Model {
    session.load(&graph(session, encoding, prepare)).unwrap()
}

fn products(model: &Model) -> Vec<u32> {
    let of_rows = |m: usize| {
        let x = Tensor::new([m, COLUMNS], values(m * COLUMNS, m)).unwrap();
        let results = model.execute([("input0", &x)]).unwrap();
        let found = results.get::<f32>("output0").unwrap();
        assert!(found.iter().any(|value| *value != 0.0) && found.iter().all(|value| value.is_finite()));
        found.iter().map(|value| value.to_bits()).collect::<Vec<_>>()
    };
    // One column, few, and more than a band of tiles has.
    [1, 2, 5, 16, 33, 400].into_iter().flat_map(of_rows).collect()
}

#[test]
fn compact_products_have_the_same_bits() {
    for encoding in SPREAD {
        for isa in Isa::available() {
            let of = |prepare: &str, threads| {
                let session = session(&[("isa", isa.name()), ("prepare", prepare)], threads);
                products(&load(&session, encoding, None))
            };
            let fast = of("fast", 1);
            for threads in [1, 3] {
                assert!(of("compact", threads) == fast, "{encoding}, {isa}, {threads} threads");
            }
        }
    }
}

#[test]
fn the_plan_names_the_bytes_of_either() {
    let session = session(&[], 1);
    for encoding in SPREAD {
        let (fast, compact) = (load(&session, encoding, None), load(&session, encoding, Some("compact")));
        let (fast, compact) = (fast.explain().unwrap(), compact.explain().unwrap());
        let spec = session.registry().require_encoding(encoding).unwrap().spec().clone();
        let encoded = ROWS * spec.row_bytes(COLUMNS).unwrap();
        // Registers have lanes for rows that are not there.
        let lanes = ROWS.next_multiple_of(16) as f64 / ROWS as f64;
        let prepared = fast.nodes[0].held_bytes;
        assert!((encoded..(1.6 * lanes * encoded as f64) as usize).contains(&prepared), "{fast}");
        assert_eq!((fast.constant_bytes, compact.constant_bytes), (0, encoded), "{fast}{compact}");
        assert_eq!(compact.nodes[0].held_bytes, 0, "{compact}");
        let note = &fast.nodes[0].note;
        let said = format!("; spread from {encoded} to {prepared} bytes, since `prepare` is not \"compact\"");
        assert!(note.ends_with(&said), "{note}");
        let note = &compact.nodes[0].note;
        let said = format!(
            "; unpacked at each run from its {encoded} bytes, not spread to {prepared}, since `prepare` is \"compact\""
        );
        assert!(note.ends_with(&said), "{note}");
    }
}

#[test]
fn encodings_of_one_form_are_prepared_the_same() {
    let session = session(&[("prepare", "compact")], 1);
    let others = bitquilt_qmatmul::encodings().filter(|it| *it != "f32" && !SPREAD.contains(it));
    for encoding in others {
        let (fast, compact) = (load(&session, encoding, Some("fast")), load(&session, encoding, None));
        let (plan, other) = (fast.explain().unwrap(), compact.explain().unwrap());
        assert_eq!(plan.nodes[0], other.nodes[0]);
        assert!(products(&fast) == products(&compact), "{encoding}");
    }
}

#[test]
fn another_preparation_is_refused() {
    let session = session(&[("prepare", "small")], 1);
    let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("rows"), dim(COLUMNS)])]).unwrap();
    let weight = graph.quantize("q8_0", &Tensor::full([ROWS, COLUMNS], 0.5f32)).unwrap();
    let node = graph.node("qmatmul", [graph.input(0), weight]).attribute("prepare", "tiny");
    let error = node.value().unwrap_err().to_string();
    let said = "the attribute `prepare` is \"tiny\"; write \"fast\" or \"compact\"";
    assert!(error.contains(said), "{error}");
    let product = graph.qmatmul(graph.input(0), weight).unwrap();
    graph.output(product).unwrap();
    let error = session.load(&graph).map(drop).unwrap_err().to_string();
    assert!(error.contains("the option `prepare` is \"small\"; write \"fast\" or \"compact\""), "{error}");
}
