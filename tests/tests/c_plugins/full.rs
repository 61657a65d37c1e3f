//! All that the header has, in `tests/c/full.c`.

use bitquilt::plugin_api::Split;
use bitquilt::{DType, Graph, InferenceSession, NodeBuilder, Tensor, TensorType, dim};
use bitquilt_tests::{PluginDir, c};

use super::{conforms, session, values};

/// A plugin with all that the header has, as C and, where there is a compiler, as C++.
fn full(options: &[&str]) -> Vec<PluginDir> {
    let source = "tests/c/full.c";
    let (c, cpp) = (PluginDir::new(), PluginDir::new());
    c::build(c.path(), "full", source, &[&["-Wpedantic"][..], options].concat());
    let options = [&["-Wpedantic", "-Wno-missing-field-initializers"][..], options].concat();
    let built = c::build_cpp(cpp.path(), "full", source, &options);
    [c].into_iter().chain(built.map(|_| cpp)).collect()
}

#[test]
fn effects_run_in_order_and_are_never_left_out() {
    for dir in full(&[]) {
        let session = session(&dir);
        let mut graph = Graph::new(session.registry(), []).unwrap();
        let x = graph.constant(&Tensor::new([1], vec![0f32]).unwrap()).unwrap();
        let counts: Vec<_> = (0..4).map(|_| graph.op("full.count", [x]).unwrap()).collect();
        // The last is of no output, and runs all the same.
        counts[..3].iter().for_each(|count| graph.output(*count).unwrap());
        let model = session.load(&graph).unwrap();
        let none: [(&str, &Tensor); 0] = [];
        let mut last = None;
        for _ in 0..2 {
            let results = model.execute(none).unwrap();
            let found = ["output0", "output1", "output2"].map(|name| results.get::<i64>(name).unwrap()[0]);
            let first = last.map_or(found[0], |last: i64| last + 2);
            assert_eq!(found, [first, first + 1, first + 2]);
            last = Some(found[2]);
        }
        let plan = model.explain().unwrap();
        assert_eq!(plan.nodes.len(), 4, "{plan}");
        assert!(plan.nodes.iter().all(|node| node.effect.as_deref() == Some("full.counter")), "{plan}");
    }
}

#[test]
fn inputs_are_found_by_name_and_attributes_are_lists_or_absent() {
    for dir in full(&[]) {
        let session = session(&dir);
        let types = [TensorType::f32([dim("n")]), TensorType::f32([dim(1)]), TensorType::f32([dim(1)])];
        let mut graph = Graph::new(session.registry(), types).unwrap();
        let (x, bias, gain) = (graph.input(0), graph.input(1), graph.input(2));
        let outputs = |node: NodeBuilder<'_>| node.values().unwrap();
        let nodes = [
            outputs(graph.node("full.weigh", [x])),
            outputs(graph.node("full.weigh", [x]).input("gain", gain).attribute("factors", vec![0.5, 1.0])),
            outputs(
                graph
                    .node("full.weigh", [x])
                    .input("gain", gain)
                    .input("bias", bias)
                    .attribute("places", vec![4i64, 5, 6])
                    .attribute("names", vec!["a".to_owned(), "four".to_owned()])
                    .attribute("shape", vec![dim("n"), dim("n")])
                    .attribute("end", -3),
            ),
        ];
        nodes.iter().flatten().for_each(|value| graph.output(*value).unwrap());
        let wrong = vec![dim("n"), dim(5)];
        let error = graph.node("full.weigh", [x]).attribute("shape", wrong).values().unwrap_err();
        assert!(error.to_string().contains("dimension 1 of `shape` is neither"), "{error}");
        let model = session.load(&graph).unwrap();
        let tensor = |values: &[f32]| Tensor::new([values.len()], values).unwrap();
        let (x, bias, gain) = (tensor(&[1.0, 2.0]), tensor(&[10.0]), tensor(&[3.0]));
        let results = model.execute([("input0", &x), ("input1", &bias), ("input2", &gain)]).unwrap();
        let get = |name| results.get::<f32>(name).unwrap().to_vec();
        assert_eq!(get("output0"), [2.0, 4.0]);
        assert_eq!(get("output1"), [0.0, -1.0, -1.0, 0.0, 0.0, -1.0, 0.0, 2.0, 7.0, -1.0, 5.0, 0.0]);
        assert_eq!(get("output2"), [4.5, 9.0]);
        assert_eq!(get("output3")[..3], [0.0, -1.0, 1.0]);
        assert_eq!(get("output4"), [36.0, 42.0]);
        assert_eq!(get("output5"), [0.0, 1.0, 2.0, 3.0, 6.0, 2.0, 4.0, 2.0, -2.0, -3.0, 5.0, 0.0]);
    }
}

#[test]
fn a_state_is_written_and_a_view_runs_nothing() {
    for dir in full(&[]) {
        let session = session(&dir);
        let mut graph = Graph::new(session.registry(), [TensorType::f32([dim(2), dim(2)])]).unwrap();
        let flat = graph.op("full.flat", [graph.input(0)]).unwrap();
        let sum = graph.state("sum", TensorType::f32([dim(4)])).unwrap();
        let sum = graph.op("full.add_to", [sum, flat]).unwrap();
        let twice = graph.add(sum, sum).unwrap();
        graph.output(twice).unwrap();
        let model = session.load(&graph).unwrap();
        let mut state = model.new_state().unwrap();
        let x = Tensor::new([2, 2], vec![1f32, 2.0, 3.0, 4.0]).unwrap();
        for run in 1..=3 {
            let results = state.run([("input0", &x)]).unwrap();
            let expected = [1f32, 2.0, 3.0, 4.0].map(|value| value * 2.0 * run as f32);
            assert_eq!(results.get::<f32>("output0").unwrap(), expected);
        }
        assert_eq!(state.state("sum").unwrap().values::<f32>().unwrap(), [3.0, 6.0, 9.0, 12.0]);
        let plan = model.explain().unwrap();
        assert_eq!(plan.nodes.iter().filter(|node| node.kernel.is_none()).count(), 1, "{plan}");
    }
}

#[test]
fn a_kernel_leaves_shapes_to_the_next() {
    for dir in full(&[]) {
        let session = session(&dir);
        let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("rows"), dim(2)])]).unwrap();
        let which = graph.op("full.which", [graph.input(0)]).unwrap();
        graph.output(which).unwrap();
        let model = session.load(&graph).unwrap();
        let plan = model.explain().unwrap();
        assert_eq!(
            plan.nodes[0].others[..],
            [
                ("c (full)".to_owned(), plan.nodes[0].others[0].1.clone()),
                ("never (full)".to_owned(), "`full.which` is not for me".to_owned()),
            ]
        );
        assert!(plan.to_string().contains("one row"), "{plan}");
        for (rows, kernel) in [(1, 1.0), (3, 0.0), (1, 1.0)] {
            let x = Tensor::new([rows, 2], vec![5f32; rows * 2]).unwrap();
            let results = model.execute([("input0", &x)]).unwrap();
            assert_eq!(results.get::<f32>("output0").unwrap(), vec![kernel; rows * 2], "{rows} rows");
        }
    }
}

#[test]
fn a_kernel_prepares_in_memory_of_the_host_and_is_destroyed_once() {
    for dir in full(&[]) {
        let session = session(&dir);
        let weight = Tensor::new([5, 32], values(160)).unwrap();
        let mut graph = Graph::new(session.registry(), [TensorType::f32([dim(1)])]).unwrap();
        let encoded = graph.quantize("q8_0", &weight).unwrap();
        let sums = graph.op("full.sums", [encoded]).unwrap();
        let destroyed = graph.op("full.destroyed", [graph.input(0)]).unwrap();
        graph.output(destroyed).unwrap();
        let x = Tensor::new([1], vec![0f32]).unwrap();
        let count = session.load(&graph).unwrap();
        let count = || count.execute([("input0", &x)]).unwrap().get::<i64>("output0").unwrap()[0];
        let before = count();
        graph.output(sums).unwrap();
        let model = session.load(&graph).unwrap();
        let results = model.execute([("input0", &x)]).unwrap();
        let found = results.get::<f32>("output1").unwrap();
        for (row, sum) in weight.values::<f32>().unwrap().chunks(32).zip(found) {
            assert!((row.iter().sum::<f32>() - sum).abs() < 0.2, "{sum}");
        }
        drop((results, model));
        assert_eq!(count(), before + 1);
        // The input takes two encodings, of which one has a kernel.
        let q5 = graph.quantize("q5_0", &weight).unwrap();
        let error = graph.op("full.sums", [q5]).unwrap_err().to_string();
        assert!(error.contains("input `w` is encoded as q5_0, this op takes q8_0 or q4_0"), "{error}");
        let q4 = graph.quantize("q4_0", &weight).unwrap();
        let sums = graph.op("full.sums", [q4]).unwrap();
        graph.output(sums).unwrap();
        let error = session.load(&graph).err().unwrap().to_string();
        assert!(error.contains("none is registered"), "{error}");
    }
}

#[test]
fn kernels_serve_ops_of_others() {
    for dir in full(&[]) {
        let session = session(&dir);
        let types = [TensorType::f32([dim("n"), dim(2)]), TensorType::dense(DType::I64, [dim("n")])];
        let mut graph = Graph::new(session.registry(), types).unwrap();
        let cache = graph.state("cache", TensorType::f32([dim(3), dim(2)])).unwrap();
        let cache = graph.append(cache, graph.input(0), graph.input(1)).unwrap();
        let softmax = graph.softmax(cache, 1).unwrap();
        graph.output(softmax).unwrap();
        let model = session.load(&graph).unwrap();
        let plan = model.explain().unwrap();
        assert_eq!(plan.nodes[0].kernel, Some(("full-append".to_owned(), "full".to_owned())));
        let refusal = ("full-softmax (full)".to_owned(), "1 attributes, axis 1".to_owned());
        assert!(plan.nodes[1].others.contains(&refusal), "{plan}");
        let mut state = model.new_state().unwrap();
        let positions = |at: i64| Tensor::new([1], vec![at]).unwrap();
        for (row, at) in [([1f32, 2.0], 2), ([3.0, 4.0], 0)] {
            let row = Tensor::new([1, 2], row).unwrap();
            state.run([("input0", &row), ("input1", &positions(at))]).unwrap();
        }
        assert_eq!(state.state("cache").unwrap().values::<f32>().unwrap(), [3.0, 4.0, 0.0, 0.0, 1.0, 2.0]);
        let row = Tensor::new([1, 2], vec![0f32; 2]).unwrap();
        let error = state.run([("input0", &row), ("input1", &positions(3))]).err().unwrap().to_string();
        assert!(error.contains("there is no row 3"), "{error}");
    }
}

#[test]
fn a_kernel_for_other_memory_is_refused() {
    for dir in full(&["-DSPACE=1"]) {
        let session = InferenceSession::builder().plugin_dir(dir.path()).build().unwrap();
        let refusals: Vec<String> = session.refusals().iter().map(ToString::to_string).collect();
        assert!(refusals.len() == 1 && refusals[0].contains("is for memory space 1"), "{refusals:?}");
        assert!(session.registry().op("full.which").is_none());
    }
}

/// The importance that is recorded of a weight that `full.dot` multiplies with the numbers from 0 to 31.
fn importance_of_dot(session: &InferenceSession) -> Vec<f32> {
    let mut graph = Graph::new(session.registry(), [TensorType::f32([32])]).unwrap();
    let weight = graph.quantize("q8_0", &Tensor::full([3, 32], 1f32)).unwrap();
    let product = graph.op("full.dot", [graph.input(0), weight]).unwrap();
    graph.output(product).unwrap();
    let mut state = session.load(&graph).unwrap().new_state().unwrap();
    state.set_record_importance(true);
    let x = Tensor::new([32], (0..32).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    assert!(state.run([("input0", &x)]).is_ok());
    state.importance().unwrap().get("constant.0").unwrap().means()
}

#[test]
fn what_is_said_of_ops_and_encodings_reaches_the_registry() {
    for dir in full(&[]) {
        let session = session(&dir);
        let signature = |op: &str| session.registry().op(op).unwrap().signature().clone();
        let dot = signature("full.dot");
        let contraction = dot.contractions[0];
        assert_eq!((contraction.activation, contraction.weight, dot.split), (0, 1, Split::Rows(1)));
        assert!(dot.pure && dot.effect.is_none());
        assert_eq!(importance_of_dot(&session), (0..32).map(|i| (i * i) as f32).collect::<Vec<_>>());
        let count = signature("full.count");
        assert_eq!((count.effect.as_deref(), count.pure), (Some("full.counter"), false));
        assert!(!signature("full.destroyed").pure);
        assert_eq!(signature("full.which").split, Split::Elementwise);
        assert_eq!(signature("full.sums").inputs[0].encodings, ["q8_0", "q4_0"]);
        let raw = session.registry().encoding("full.raw").unwrap();
        assert_eq!(raw.spec().layout.as_deref(), Some("values: f32[4]"));
    }
}

#[test]
fn all_that_the_header_has_conforms() {
    for dir in full(&[]) {
        conforms(&dir.file("full"));
    }
}
