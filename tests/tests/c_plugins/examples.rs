//! The plugins of `examples/c-plugin` and `examples/cpp-plugin`.

use std::path::PathBuf;

use bitquilt::plugin::{Entry, inspect};
use bitquilt::{Graph, InferenceSession, Tensor, TensorType, dim};
use bitquilt_tests::{PluginDir, c};

use super::{conforms, session, values};

fn example(dir: &PluginDir) -> PathBuf {
    c::build(dir.path(), "acme_c", "examples/c-plugin/acme.c", &["-Wpedantic"])
}

#[test]
fn the_example_is_seen_for_what_it_is() {
    let dir = PluginDir::new();
    let report = inspect(&example(&dir)).unwrap();
    assert_eq!(report.entry, Some(Entry::C));
    assert_eq!(report.api_version.as_deref(), Some("1 of bitquilt.h"));
    assert_eq!(report.refusal, None);
}

/// Whether it has functions or not.
#[test]
fn what_the_example_declares_is_multiplied_by_the_host_s_kernels() {
    let dir = PluginDir::new();
    example(&dir);
    let session = InferenceSession::builder().threads(1).plugin_dir(dir.path()).build().unwrap();
    assert_eq!(session.refusals(), []);
    for encoding in ["acme.c_int4", "acme.c_ternary"] {
        let mut graph = Graph::new(session.registry(), [TensorType::f32([3, 128])]).unwrap();
        let dense = Tensor::new([37, 128], values(37 * 128)).unwrap();
        let weight = graph.quantize(encoding, &dense).unwrap();
        let decoded = session.registry().to_f32(graph.constant_tensor(weight).unwrap()).unwrap();
        let product = graph.qmatmul(graph.input(0), weight).unwrap();
        graph.output(product).unwrap();
        let model = session.load(&graph).unwrap();
        let plan = model.explain().unwrap();
        assert!(plan.nodes[0].note.contains("declared: integers of 8 bits"), "{plan}");
        let x = values(3 * 128);
        let results = model.execute([("input0", &Tensor::new([3, 128], &x[..]).unwrap())]).unwrap();
        let found = results.get::<f32>("output0").unwrap();
        let (mut squares, mut norm) = (0.0, 0.0);
        for (x, found) in x.chunks(128).zip(found.chunks(37)) {
            for (row, found) in decoded.values::<f32>().unwrap().chunks(128).zip(found) {
                let exact: f64 = row.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                squares += (f64::from(*found) - exact).powi(2);
                norm += exact.powi(2);
            }
        }
        assert!(squares < norm * 1e-4, "{encoding}: {squares} of {norm}");
    }
}

#[test]
fn the_example_s_encoding_and_op_run() {
    let dir = PluginDir::new();
    example(&dir);
    let mut outputs = Vec::new();
    for threads in [1, 2, 5] {
        let session = InferenceSession::builder().threads(threads).plugin_dir(dir.path()).build().unwrap();
        assert_eq!(session.refusals(), []);
        let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("rows"), dim(64)])]).unwrap();
        let dense = Tensor::new([37, 64], values(37 * 64)).unwrap();
        for encoding in ["acme.c_int4", "q4_0"] {
            let weight = graph.quantize(encoding, &dense).unwrap();
            let norms = graph.node("acme.c_row_norms", [weight]).attribute("scale", 2.0).value().unwrap();
            graph.output(norms).unwrap();
        }
        let weight = graph.quantize("acme.c_int4", &dense).unwrap();
        let x = graph.input(0);
        let product = graph.node("qmatmul", [x, weight]).attribute("precision", "exact").value().unwrap();
        graph.output(product).unwrap();
        let model = session.load(&graph).unwrap();
        let x = Tensor::new([3, 64], values(3 * 64)).unwrap();
        let results = model.execute([("input0", &x)]).unwrap();
        let get = |name| results.get::<f32>(name).unwrap().to_vec();
        let found = ["output0", "output1", "output2"].map(get);

        let encoding = session.registry().encoding("acme.c_int4").unwrap();
        let decoded = encoding.dequantize(&encoding.quantize(&dense).unwrap().tensor).unwrap();
        let decoded = decoded.values::<f32>().unwrap();
        for (value, decoded) in values(37 * 64).iter().zip(decoded) {
            assert!((value - decoded).abs() <= 2.0 / 7.0 / 2.0 + 1e-6, "{value} {decoded}");
        }
        for (row, norm) in decoded.chunks(64).zip(&found[0]) {
            let expected = 2.0 * row.iter().map(|value| value * value).sum::<f32>().sqrt();
            assert!((norm - expected).abs() < 1e-4, "{norm} {expected}");
        }
        for (row, dot) in decoded.chunks(64).zip(&found[2]) {
            let expected: f32 = row.iter().zip(x.values::<f32>().unwrap()).map(|(w, x)| w * x).sum();
            assert!((dot - expected).abs() < 1e-3, "{dot} {expected}");
        }
        outputs.push(found);
    }
    assert!(outputs.windows(2).all(|pair| pair[0] == pair[1]), "thread counts differ");
}

#[test]
fn a_wrong_shape_is_refused_in_the_plugin_s_own_words() {
    let dir = PluginDir::new();
    example(&dir);
    let session = InferenceSession::builder().plugin_dir(dir.path()).build().unwrap();
    let mut graph = Graph::new(session.registry(), []).unwrap();
    let weight = graph.quantize("q8_0", &Tensor::new([2, 2, 32], values(128)).unwrap()).unwrap();
    let error = graph.op("acme.c_row_norms", [weight]).unwrap_err().to_string();
    assert!(error.contains("`w` has 3 dimensions; a matrix is expected"), "{error}");
}

#[test]
fn the_example_in_cpp_runs_and_conforms() {
    let dir = PluginDir::new();
    let options = ["-Wpedantic", "-Wno-missing-field-initializers"];
    let Some(path) = c::build_cpp(dir.path(), "acme_cpp", "examples/cpp-plugin/acme.cpp", &options) else {
        return;
    };
    conforms(&path);
    let session = session(&dir);
    let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("rows"), dim(32)])]).unwrap();
    let weight = graph.quantize("q8_0", &Tensor::new([7, 32], values(7 * 32)).unwrap()).unwrap();
    let distances = graph.op("acme.cpp_distances", [graph.input(0), weight]).unwrap();
    let decoded = graph.dequantize(weight).unwrap();
    graph.output(distances).unwrap();
    graph.output(decoded).unwrap();
    let model = session.load(&graph).unwrap();
    let plan = model.explain().unwrap();
    let node = plan.nodes.iter().find(|node| node.op == "acme.cpp_distances").unwrap();
    assert_eq!(node.kernel, Some(("decoded".to_owned(), "acme-cpp".to_owned())));
    assert_eq!((node.note.as_str(), node.held_bytes), ("q8_0 as f32", 7 * 32 * size_of::<f32>()));
    let x = Tensor::new([3, 32], values(3 * 32)).unwrap();
    let results = model.execute([("input0", &x)]).unwrap();
    let (found, decoded) = (results.get::<f32>("output0").unwrap(), results.get::<f32>("output1").unwrap());
    for (x, found) in x.values::<f32>().unwrap().chunks(32).zip(found.chunks(7)) {
        for (w, found) in decoded.chunks(32).zip(found) {
            let expected: f32 = x.iter().zip(w).map(|(x, w)| (x - w).powi(2)).sum();
            assert!((found - expected).abs() < 1e-3, "{found} {expected}");
        }
    }
    // What is thrown ends as an error of the call.
    let error = graph.op("acme.cpp_distances", [distances, weight]).unwrap_err().to_string();
    assert!(error.contains("`w` is [outputs, n]; found 2 and 2 dimensions"), "{error}");
}
