//! Saved graphs that nobody meant, and graphs that no memory holds: each gets a sentence, soon.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use bitquilt::{Error, Graph, InferenceSession, Model, Tensor, TensorDict, TensorType, checkpoint, dim};
use serde_json::{Value, json};

/// A graph of one node, `sum`: the input `x` and the constant.
fn record() -> Value {
    json!({
        "format": 2,
        "inputs": [{"name": "x", "element": "f32", "shape": ["n", "4"]}],
        "states": [],
        "constants": ["constant.0"],
        "nodes": [{"name": "sum", "op": "add", "attributes": [], "inputs": [{"input": 0}, {"constant": 0}]}],
        "outputs": [{"name": "y", "value": {"node": [0, 0]}}],
    })
}

fn session() -> InferenceSession {
    InferenceSession::builder().threads(1).build().unwrap()
}

/// Writes a graph's record with a constant f32 `[4]` and reads the graph.
fn load(session: &InferenceSession, path: &Path, record: &str) -> Result<Graph, Error> {
    let mut tensors = TensorDict::new();
    tensors.insert("constant.0", Tensor::full([4], 1f32));
    tensors.metadata_mut().insert("bitquilt.graph", record);
    checkpoint::save(&tensors, path)?;
    Graph::load(path, session.registry())
}

fn node(op: &str, attributes: Value) -> Value {
    json!({"name": "node", "op": op, "attributes": attributes, "inputs": [{"input": 0}]})
}

/// Sums of six symbols each, whose product has 6^8 terms.
fn sums_of_symbols() -> Vec<String> {
    (0..8).map(|dim| (0..6).map(|symbol| format!("v{dim}_{symbol}")).collect::<Vec<_>>().join("+")).collect()
}

#[test]
fn hostile_records_get_a_sentence() {
    let session = session();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("graph.safetensors");
    let long = "s".repeat(65);
    let port = |shape: Value| json!([{"name": "x", "element": "f32", "shape": shape}]);
    let state = |shape: Value| json!([{"name": "cache", "element": "f32", "shape": shape}]);
    let deep = |dims: usize| json!([["shape", {"shape": vec!["1"; dims]}]]);
    let mut whole_product = node("reshape", json!([["shape", {"shape": ["_"]}]]));
    whole_product["name"] = json!("flat");
    for (place, value, sentence) in [
        ("/format", json!(1), "its graph is of format 1, this version reads 2"),
        ("/inputs", json!([]), "node `sum` takes a value that is not made before it"),
        ("/nodes/0/inputs/0", json!({"node": [0, 0]}), "node `sum` takes a value that is not made before it"),
        ("/nodes/0/inputs/0", json!({"node": [7, 0]}), "node `sum` takes a value that is not made before it"),
        (
            "/nodes/0/inputs/0",
            json!({"constant": u64::MAX}),
            "node `sum` takes a value that is not made before it",
        ),
        ("/nodes/0/inputs/0", json!({"input": -1}), "invalid value: integer `-1`"),
        ("/nodes/0/inputs/0", json!({"inputs": 0}), "unknown variant `inputs`"),
        ("/nodes/0/inputs", json!([]), "node `sum` (add): it takes the inputs (a, b), 0 were given"),
        (
            "/nodes/0/inputs",
            vec![json!({"input": 0}); 1000].into(),
            "it takes the inputs (a, b), 1000 were given",
        ),
        ("/nodes/0/op", json!("nothing"), "node `sum` (nothing): no op of this name is registered"),
        ("/nodes/0/name", json!(""), "another node has this name"),
        ("/nodes/0/attributes", json!([["eps", {"int": 1}]]), "it has no attribute `eps`"),
        ("/outputs/0/value", json!({"node": [0, 1]}), "output `y` is a value that is not made"),
        (
            "/outputs",
            json!([{"name": "y", "value": {"input": 0}}, {"name": "y", "value": {"input": 0}}]),
            "\"y\" cannot be the name of another output",
        ),
        ("/inputs/0/name", json!(""), "\"\" cannot be the name of another input"),
        ("/inputs/0/element", json!("f31"), "`f31` of `x` is no dtype"),
        (
            "/inputs/0/element",
            json!("encoded:q4_0"),
            "must be a number and a multiple of the 32 values in a block",
        ),
        ("/inputs/0/element", json!("encoded:none"), "none"),
        ("/inputs", port(json!(["-1"])), "a dimension cannot be -1"),
        ("/inputs", port(json!(["n", "99999999999999999999"])), "a number is malformed or too large"),
        (
            "/inputs",
            port(json!([long])),
            "is no dimension: a factor is neither a number nor a symbol of at most 64 bytes",
        ),
        (
            "/inputs",
            port(json!(vec!["1"; 33])),
            "the input `x` has 33 dimensions; a value of a graph has at most 32",
        ),
        (
            "/inputs",
            port(json!(["n*".repeat(2000)])),
            "too long: a dimension has at most 32 terms and 2048 bytes",
        ),
        (
            "/states",
            state(json!(["n"])),
            "the state `cache` is f32 [n]; a state has a dtype and dimensions that are numbers",
        ),
        (
            "/states",
            state(json!([1u64 << 62, 4].map(|dim: u64| dim.to_string()))),
            "the state `cache` cannot be: a tensor of shape",
        ),
        ("/constants", json!(["constant.1"]), "there is no tensor `constant.1`"),
        (
            "/nodes",
            json!([node("reshape", deep(33))]),
            "the attribute `shape` has 33 dimensions; a value of a graph has at most 32",
        ),
        ("/nodes", json!([node("reshape", deep(100_000))]), "the attribute `shape` has 100000 dimensions"),
        (
            "/nodes",
            json!([node("reshape", json!([["shape", {"int": 4}]]))]),
            "the attribute `shape` takes a shape, not 4",
        ),
        (
            "/nodes",
            json!([node("reshape", json!([["shape", {"float": "much"}]]))]),
            "the attribute value `much` is no number",
        ),
        (
            "/nodes",
            json!([node("reshape", json!([["shape", {"shape": [((1u64 << 62).to_string()), "4", "_"]}]]))]),
            "too large",
        ),
        ("/nodes", json!([node("transpose", json!([["axes", {"ints": [i64::MIN, i64::MAX]}]]))]), "axes"),
        (
            "/nodes",
            json!([node("slice", json!([["axis", {"int": i64::MIN}], ["start", {"int": i64::MAX}]]))]),
            "axis",
        ),
        ("/nodes", json!([node("cast", json!([["dtype", {"text": "f31"}]]))]), "f31"),
        ("/more", json!(1), "unknown field `more`"),
    ] {
        let mut record = record();
        match record.pointer_mut(place) {
            Some(old) => *old = value,
            None => record["more"] = value,
        }
        let error = load(&session, &path, &record.to_string()).map(drop).expect_err(sentence).to_string();
        assert!(error.contains(sentence), "{place}: {error}");
        assert!(error.len() < 5000, "{place}: {} bytes", error.len());
    }
    let nested = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    for (text, sentence) in [
        ("", "EOF while parsing"),
        ("{}", "missing field"),
        (&nested, "has no graph that can be read"),
        (&record().to_string().replace("{\"input\":0}", &nested), "expected value at line 1"),
        (
            &record().to_string().replacen("\"format\":2", "\"format\":2,\"format\":2", 1),
            "duplicate field `format`",
        ),
    ] {
        let error = load(&session, &path, text).map(drop).expect_err(sentence).to_string();
        assert!(error.contains(sentence), "{error}");
    }
}

#[test]
fn products_of_sums_take_no_time() {
    let session = session();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("graph.safetensors");
    let sums = sums_of_symbols();
    let turned: Vec<&String> = sums.iter().rev().collect();
    let mut record = record();
    record["inputs"][0]["shape"] = json!(sums);
    record["nodes"] = json!([node("reshape", json!([["shape", {"shape": turned}]]))]);
    // What both shapes have is not multiplied.
    let graph = load(&session, &path, &record.to_string()).unwrap();
    let error = session.load(&graph).map(drop).unwrap_err().to_string();
    assert!(error.contains("the symbol `v0_0` of input `x` cannot be bound"), "{error}");
    record["nodes"] = json!([node("reshape", json!([["shape", {"shape": ["_"]}]]))]);
    let error = load(&session, &path, &record.to_string()).map(drop).unwrap_err().to_string();
    assert!(error.starts_with("node `node` (reshape): "), "{error}");
    assert!(error.ends_with("is too long: a dimension has at most 32 terms and 2048 bytes"), "{error}");
    assert!(error.len() < 500, "{error}");
}

fn run(model: &Model, x: &Tensor) -> Result<(), bitquilt::RunError> {
    model.execute([("input0", x)]).map(drop)
}

/// A graph of `input0`, `f32 [n, 1]`, and what a function makes of it.
fn model(make: impl FnOnce(&mut Graph) -> Result<bitquilt::Value, bitquilt::GraphError>) -> Model {
    let session = session();
    let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("n"), dim(1)])]).unwrap();
    let value = make(&mut graph).unwrap();
    graph.output(value).unwrap();
    session.load(&graph).unwrap()
}

#[test]
fn constants_that_grow_are_left_to_the_run() {
    let doubled = model(|graph| {
        let mut value = graph.constant(&Tensor::full([1, 1024], 1f32))?;
        for _ in 0..30 {
            value = graph.op("concat", [value, value])?;
        }
        graph.op("add", [value, value])
    });
    let error = run(&doubled, &Tensor::full([1, 1], 1f32)).unwrap_err().to_string();
    let largest = 4096u64 << 30;
    assert!(error.starts_with("the run, in which node `"), "{error}");
    assert!(error.contains(&format!("takes {largest} bytes, needs ")), "{error}");
    assert!(error.ends_with("bytes of memory, which this machine does not have"), "{error}");
    // Eight doublings are folded, and the sum of them.
    let few = model(|graph| {
        let mut value = graph.constant(&Tensor::full([1, 4], 1f32))?;
        for _ in 0..8 {
            value = graph.op("concat", [value, value])?;
        }
        graph.op("add", [value, value])
    });
    assert_eq!(few.explain_for(&[("n".to_owned(), 1)].into()).unwrap().nodes.len(), 0);
    run(&few, &Tensor::full([1, 1], 1f32)).unwrap();
}

#[test]
fn sizes_that_no_machine_has_name_the_node() {
    let wide = model(|graph| {
        let ones = graph.constant(&Tensor::full([1, 1 << 20], 1f32))?;
        graph.node("add", [ones, graph.input(0)]).named("wide").value()
    });
    for (n, sentence) in [
        (1usize << 30, format!("node `wide` (add) takes {} bytes, needs", 1u64 << 52)),
        (
            1 << 41,
            "node `wide` (add): a tensor of shape [2199023255552, 1048576] has more bytes than".to_owned(),
        ),
        (usize::MAX, "more bytes than this machine can address".to_owned()),
    ] {
        let bindings = [("n".to_owned(), n)].into();
        assert_eq!(wide.explain_for(&bindings).is_ok(), n == 1 << 30, "a plan has numbers");
        let mut state = wide.new_state().unwrap();
        let shape = [n, 1];
        let view = bitquilt::TensorView::dense::<f32>(&shape, &[]);
        let error = state.run([("input0", view)]).map(drop).unwrap_err().to_string();
        assert!(error.contains(&sentence), "{n}: {error}");
    }
    run(&wide, &Tensor::full([0, 1], 1f32)).unwrap();
    run(&wide, &Tensor::full([2, 1], 1f32)).unwrap();
}

#[test]
fn states_that_no_machine_has_are_refused() {
    let session = session();
    let with_states = |count: usize| {
        let mut graph = Graph::new(session.registry(), [TensorType::f32([1])]).unwrap();
        for index in 0..count {
            graph.state(format!("state{index}"), TensorType::f32([1usize << 59])).unwrap();
        }
        graph.output(graph.input(0)).unwrap();
        session.load(&graph)
    };
    let error = with_states(1).unwrap().new_state().map(drop).unwrap_err().to_string();
    let bytes = 1u64 << 61;
    assert_eq!(
        error,
        format!(
            "the model's states, of which `state0` takes {bytes} bytes, needs {bytes} bytes of memory, which this machine does not have"
        )
    );
    let error = with_states(8).map(drop).unwrap_err().to_string();
    assert!(error.contains("the graph's states need 18446744073709551616 bytes of memory"), "{error}");
}

/// Names of control characters, alone and before much else, that no terminal should get.
fn names() -> [String; 3] {
    [
        "\u{1b}".repeat(100_000),
        format!("\u{1b}[31m\r\n\u{9b}{}", "x".repeat(100_000)),
        "ä\u{202e}".repeat(50_000),
    ]
}

#[track_caller]
fn assert_readable(error: impl ToString, part: &str) {
    let sentence = error.to_string();
    assert!(sentence.contains(part), "{part}: {:?}", sentence.chars().take(2000).collect::<String>());
    assert!(
        !sentence.contains(char::is_control),
        "{part}: {:?}",
        sentence.chars().take(2000).collect::<String>()
    );
    assert!(!sentence.contains('\u{202e}'), "{part}");
    assert!(sentence.len() < 5000, "{part}: {} bytes", sentence.len());
}

#[test]
fn names_in_records_are_escaped_and_cut() {
    let session = session();
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("graph.safetensors");
    for name in names() {
        let input = |name: &str, element: &str, shape: &[&str]| json!([{"name": name, "element": element, "shape": shape}]);
        let named = |op: &str, attributes: Value, inputs: Value| json!([{"name": name, "op": op, "attributes": attributes, "inputs": inputs}]);
        let one = json!([{"input": 0}]);
        let output = json!({"name": name, "value": {"input": 0}});
        for (place, value, part) in [
            ("/nodes", named("nothing", json!([]), one.clone()), "(nothing): no op of this name"),
            ("/nodes/0/op", json!(name), "no op of this name is registered"),
            ("/nodes", named(&name, json!([]), one.clone()), "no op of this name is registered"),
            ("/nodes", named("add", json!([]), one.clone()), "it takes the inputs (a, b), 1 were given"),
            (
                "/nodes",
                named("add", json!([]), json!([{"node": [3, 0]}])),
                "a value that is not made before it",
            ),
            ("/nodes", named("silu", json!([[name, {"int": 1}]]), one.clone()), "it has no attribute"),
            ("/nodes", named("rope", json!([["base", {"text": name}]]), one.clone()), "rope"),
            (
                "/nodes",
                named("reshape", json!([["shape", {"text": name}]]), one.clone()),
                "takes a shape, not",
            ),
            ("/nodes", named("reshape", json!([["shape", {"float": name}]]), one.clone()), "is no number"),
            ("/nodes", named("reshape", json!([["shape", {"shape": [name]}]]), one.clone()), "dimension"),
            ("/nodes", named("cast", json!([["dtype", {"text": name}]]), one.clone()), "expected one of"),
            ("/nodes/0/inputs/0", json!({name.as_str(): 0}), "unknown variant"),
            ("/nodes/0/inputs/0", json!(name), "unknown variant"),
            ("/format", json!(name), "invalid type: string"),
            ("/outputs", json!([output, output]), "cannot be the name of another output"),
            ("/outputs/0", json!({"name": name, "value": {"node": [7, 0]}}), "is a value that is not made"),
            ("/inputs", input(&name, "f31", &["n"]), "is no dtype"),
            ("/inputs", input("x", &name, &["n"]), "is no dtype"),
            ("/inputs", input("x", &format!("encoded:{name}"), &["32"]), "is registered; "),
            (
                "/inputs",
                input(&name, "encoded:q4_0", &["n"]),
                "must be a number and a multiple of the 32 values",
            ),
            ("/inputs", input("x", "f32", &[&name]), "dimension"),
            ("/inputs", input(&name, "f32", &["1"; 33]), "has 33 dimensions"),
            ("/states", input(&name, "f32", &["n"]), "a state has a dtype and dimensions that are numbers"),
            ("/states", input(&name, "f32", &["4611686018427387904", "4"]), "cannot be: a tensor of shape"),
            ("/constants/0", json!(name), "there is no tensor"),
        ] {
            let mut record = record();
            *record.pointer_mut(place).unwrap() = value;
            assert_readable(load(&session, &path, &record.to_string()).map(drop).expect_err(part), part);
        }
    }
}

#[test]
fn names_of_built_graphs_are_escaped_and_cut() {
    let session = session();
    for name in names() {
        let graph = |shape: &[&str]| {
            let mut graph = Graph::new(session.registry(), []).unwrap();
            let shape: Vec<bitquilt::Dim> = shape.iter().map(|dim| dim.parse().unwrap()).collect();
            graph.add_input(name.clone(), TensorType::f32(shape)).unwrap();
            graph
        };

        // GraphError
        let mut first = graph(&["n"]);
        let foreign = graph(&["n"]).input(0);
        assert_readable(first.output_named(name.clone(), foreign).unwrap_err(), "a value of another graph");
        let odd = TensorType::f32([dim(name.as_str())]);
        assert_readable(first.add_input("odd", odd).unwrap_err(), "which is no symbol");
        let encoded = first.quantize("q4_0", &Tensor::full([32, 32], 1f32)).unwrap();
        let error = first.node("add", [encoded, encoded]).named(name.clone()).value().unwrap_err();
        assert_readable(error, "q4_0 data is taken by `");
        let input = first.input(0);
        let error = first.node("qmatmul", [input, input]).named(name.clone()).value().unwrap_err();
        assert_readable(error, "and this op takes encoded data");

        // LoadError
        let mut unbound = graph(&["2*n"]);
        unbound.output(unbound.input(0)).unwrap();
        assert_readable(session.load(&unbound).map(drop).unwrap_err(), "the symbol `n` of input");
        let mut large = graph(&["n"]);
        let constant = large.constant(&Tensor::full([1], 1e9f32)).unwrap();
        let half =
            large.node("cast", [constant]).attribute("dtype", "f16").named(name.clone()).value().unwrap();
        large.output(half).unwrap();
        assert_readable(session.load(&large).map(drop).unwrap_err(), "which would be infinite as f16");

        // RunError
        let mut stateful = graph(&["n"]);
        stateful.state(name.clone(), TensorType::f32([1usize << 59])).unwrap();
        stateful.output(stateful.input(0)).unwrap();
        let model = session.load(&stateful).unwrap();
        assert_readable(model.new_state().map(drop).unwrap_err(), "the model's states, of which");
        let mut sums = graph(&["n", "1"]);
        for index in 0..100 {
            sums.output_named(format!("{index}{name}"), sums.input(0)).unwrap();
        }
        let second = sums.add_input(format!("{name}2"), TensorType::f32([dim("n"), dim(1)])).unwrap();
        let ones = sums.constant(&Tensor::full([1, 1 << 20], 1f32)).unwrap();
        let wide = sums.node("add", [ones, sums.input(0)]).named(name.clone()).value().unwrap();
        let both = sums.node("add", [wide, second]).value().unwrap();
        sums.output_named(name.clone(), both).unwrap();
        let model = session.load(&sums).unwrap();
        let (two, three) = (Tensor::full([2, 1], 1f32), Tensor::full([3, 1], 1f32));
        let (second, other) = (format!("{name}2"), format!("{name}3"));
        let (first, second) = (name.as_str(), second.as_str());
        for (inputs, part) in [
            (vec![("z", &two)], "the graph has no input `z`; it has `"),
            (vec![(first, &two), (other.as_str(), &two)], "the graph has no input"),
            (vec![(first, &two)], "was given 0 times"),
            (vec![(first, &two), (first, &two)], "was given 2 times"),
            (vec![(first, &Tensor::full([2, 1], 1i32)), (second, &two)], "i32 [2, 1] was given"),
            (vec![(first, &two), (second, &three)], "another dimension has made it 2"),
        ] {
            assert_readable(model.execute(inputs).map(drop).expect_err(part), part);
        }
        let results = model.execute([(first, &two), (second, &two)]).unwrap();
        assert_readable(results.get::<f32>("z").unwrap_err(), "the graph has no output `z`; it has `");
        assert_readable(results.get::<f32>(second).unwrap_err(), "the graph has no output");
        let mut state = model.new_state().unwrap();
        for (rows, part) in [
            (1usize << 30, "bytes, needs"),
            (1 << 41, "than this machine can address"),
            (1, "its shape needs"),
        ] {
            let shape = [rows, 1];
            let view = || bitquilt::TensorView::dense::<f32>(&shape, &[]);
            let error = state.run([(first, view()), (second, view())]).map(drop).expect_err(part);
            assert_readable(error, part);
        }
    }
}
