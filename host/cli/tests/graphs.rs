//! The command on saved graphs, their weights and their arrays, and what it says of wrong ones.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::process::Stdio;

use bitquilt::checkpoint::npy;
use bitquilt::{Graph, Tensor, TensorType, dim};
use bitquilt_tests::workplace::{Workplace, said};
use bitquilt_tests::{values, weight};
use common::workplace;

/// A directory with a graph `y = qmatmul(x, w)` and an `x` for it.
fn workplace_with_graph() -> Workplace {
    let here = workplace();
    here.save_product("graph.safetensors", ["x", "y"], "q4_0", &Tensor::full([3, 32], 0.25f32));
    npy::write(&Tensor::full([2, 32], 0.5f32), here.path("x.npy")).unwrap();
    here
}

#[test]
fn a_saved_graph_is_inspected_explained_and_run() {
    let here = workplace_with_graph();
    let printed = here.succeeds(&["inspect", "graph.safetensors"]);
    assert!(printed.contains("q4_0") && !printed.contains("bitquilt.graph"), "{printed}");
    let json = here.json(&["inspect", "graph.safetensors"]);
    let graph = &json["graph"];
    let (input, node, output) = (&graph["inputs"][0], &graph["nodes"][0], &graph["outputs"][0]);
    for line in [
        format!("  input  {} f32 [", input["name"].as_str().unwrap()),
        format!("  node   {} = qmatmul(x, constant.0", node["name"].as_str().unwrap()),
        format!("  output y = {}", output["value"].as_str().unwrap()),
    ] {
        assert!(printed.contains(&line), "{line}: {printed}");
    }
    let plan = here.succeeds(&["explain", "graph.safetensors"]);
    assert!(plan.contains("qmatmul"), "{plan}");

    let run = ["run", "graph.safetensors", "--input", "x=x.npy", "--threads", "2"];
    let brief = here.succeeds(&run);
    assert!(brief.starts_with("y: f32 [2, 3] [4.0"), "{brief}");
    assert_eq!(here.succeeds(&[&run[..], &["--output", "y=y.npy"]].concat()), "");
    let profiled =
        here.succeeds(&[&run[..], &["--profile", "--repeat", "3", "--trace", "trace.json"]].concat());
    assert!(profiled.contains("\nop ") && profiled.contains("qmatmul"), "{profiled}");
    assert!(profiled.contains("\n3 runs of "), "{profiled}");
    let trace: serde_json::Value = serde_json::from_slice(&here.read("trace.json")).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.iter().filter(|event| event["cat"] == "qmatmul").count(), 3);
    let y = npy::read(here.path("y.npy")).unwrap();
    assert_eq!(y.shape(), [2, 3]);
    assert!(y.values::<f32>().unwrap().iter().all(|y| (y - 4.0).abs() < 0.05));
}

#[test]
fn what_is_wrong_is_said_in_a_sentence() {
    let here = workplace_with_graph();
    npy::write(&Tensor::full([2, 31], 0.5f32), here.path("short.npy")).unwrap();
    here.write("text.npy", "no array");
    for (arguments, sentence) in [
        (&["run", "graph.safetensors"][..], "the input `x` was given 0 times; give each input once"),
        (
            &["run", "graph.safetensors", "--input", "x=short.npy"],
            "the input `x` is f32 [rows, 32], f32 [2, 31] was given",
        ),
        (&["run", "graph.safetensors", "--input", "x=text.npy"], "text.npy"),
        (
            &["run", "graph.safetensors", "--input", "x=x.npy", "--output", "z=z.npy"],
            "the graph has no output `z`; it has `y`",
        ),
        (&["run", "none.safetensors"], "none.safetensors"),
        (&["explain", "x.npy"], "x.npy"),
        (&["inspect", "x.npy"], "x.npy"),
    ] {
        let said = here.fails(arguments);
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
    let mut graph = Graph::new(here.registry(), [TensorType::f32([2, 32])]).unwrap();
    let ids = graph.constant(&Tensor::new([1], [9i64]).unwrap()).unwrap();
    let rows = graph.gather(graph.input(0), ids, 0).unwrap();
    graph.output(rows).unwrap();
    graph.save(here.path("gather.safetensors")).unwrap();
    assert_eq!(
        here.fails(&["run", "gather.safetensors", "--input", "input0=x.npy"]),
        "node `gather.0` (gather): index 0 is 9, and axis 0 of `x` has 2; expected 0 or more, and less than that",
        "said once"
    );
    let raw = here.run(&["run", &format!("{}none", "long/".repeat(40))]).stderr;
    let raw = String::from_utf8(raw).unwrap();
    assert!(raw.contains("long/none: No such file or directory"), "on one line: {raw}");
    for arguments in [&["run"][..], &["run", "graph.safetensors", "--input", "x"], &["nothing"]] {
        here.refuses(2, arguments);
    }
}

#[test]
fn a_reader_that_stops_is_no_failure() {
    let here = workplace_with_graph();
    let mut command = here.command(&["plugin", "list"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Closed before the command has anything to print: loading plugins comes first.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(said(&output), "");
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_that_takes_nothing_is_a_failure_in_a_sentence() {
    let here = workplace_with_graph();
    let run = ["run", "graph.safetensors", "--input", "x=x.npy"];
    for arguments in [
        &["inspect", "graph.safetensors"][..],
        &["inspect", "graph.safetensors", "--json"],
        &["explain", "graph.safetensors"],
        &run,
        &["plugin", "list"],
        &["plugin", "paths"],
    ] {
        let full = || Stdio::from(fs::File::options().write(true).open("/dev/full").unwrap());
        let mut command = here.command(arguments);
        let output = command.stdout(full()).output().unwrap();
        let said = said(&output);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("standard output: No space left on device"), "{arguments:?}: {said}");
        assert_eq!(command.stderr(full()).status().unwrap().code(), Some(1), "{arguments:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn names_that_are_no_text_are_shown() {
    use std::os::unix::ffi::OsStrExt;
    let here = workplace_with_graph();
    let name = std::ffi::OsStr::from_bytes(b"n\xff.safetensors");
    here.save("text", [(format!("red \u{1b}[31m\n{}", "x".repeat(1000)), Tensor::full([1], 1f32))]);
    fs::rename(here.path("text"), here.path("").join(name)).unwrap();
    let inspect = |json: &[&str]| {
        let output = here.command(&["inspect"]).arg(name).args(json).output().unwrap();
        assert!(output.status.success(), "{}", said(&output));
        output.stdout
    };
    let json: serde_json::Value = serde_json::from_slice(&inspect(&["--json"])).unwrap();
    assert_eq!(json["file"], "n\u{fffd}.safetensors");
    let printed = String::from_utf8_lossy(&inspect(&[])).into_owned();
    assert!(printed.contains(r"red \u{1b}[31m\nxxx"), "{printed}");
    assert!(printed.contains("x… (1010 characters)\n"), "{printed}");
}

#[test]
fn weights_stay_compact_where_it_is_asked_for() {
    let here = workplace();
    here.save_product("graph.safetensors", ["x", "y"], "tq1_0", &Tensor::full([3, 256], 0.5f32));
    let explain = |more: &[&str]| here.succeeds(&[&["explain", "graph.safetensors"], more].concat());
    assert!(explain(&[]).contains("spread from "));
    assert!(!explain(&["--prepare", "compact"]).contains("spread from "));
}

#[test]
fn a_graph_is_not_taken_apart() {
    let here = workplace();
    let mut graph = Graph::new(here.registry(), []).unwrap();
    let weight = graph.quantize("q4_0", &weight([2, 32])).unwrap();
    let rows = graph.dequantize(weight).unwrap();
    graph.output(rows).unwrap();
    graph.save(here.path("graph")).unwrap();
    for arguments in [&["convert", "graph", "out"][..], &["dequantize", "graph", "out"]] {
        assert!(here.fails(arguments).starts_with("graph holds a graph"), "{arguments:?}");
    }
    // What `dequantize` takes is not to become something else.
    assert!(here.fails(&["quantize", "graph", "out", "-e", "q8_0"]).starts_with("graph has no weights"));
}

#[test]
fn weights_of_a_graph_are_encoded() {
    let here = workplace();
    let registry = here.registry();
    let encode =
        |name: &str, shape| registry.require_encoding(name).unwrap().quantize(&weight(shape)).unwrap().tensor;
    let (up, down) = (encode("f32", [64, 64]), encode("q8_0", [32, 64]));
    let build = |up: &Tensor, down: &Tensor| {
        let mut graph = Graph::new(here.registry(), []).unwrap();
        let x = graph.add_input("x", TensorType::f32([dim("rows"), dim(64)])).unwrap();
        let scale = graph.constant_named("scale", &weight([1, 64])).unwrap();
        let x = graph.mul(x, scale).unwrap();
        let up = graph.constant_named("up", up).unwrap();
        let down = graph.constant(down).unwrap();
        let tied = graph.constant_named("up", &graph.constant_tensor(up).unwrap().clone()).unwrap();
        let x = graph.qmatmul(x, up).unwrap();
        let x = graph.qmatmul(x, tied).unwrap();
        let x = graph.qmatmul(x, down).unwrap();
        graph.output(x).unwrap();
        graph
    };
    build(&up, &down).save(here.path("graph")).unwrap();

    here.succeeds(&["quantize", "graph", "out", "-e", "up=q4_0"]);
    let expected = build(&encode("q4_0", [64, 64]), &down);
    let run = |graph: &Graph| {
        let x = Tensor::new([3, 64], values(3 * 64)).unwrap();
        here.session().load(graph).unwrap().execute([("x", &x)]).unwrap().tensor("output0").unwrap().clone()
    };
    let found = Graph::load(here.path("out"), here.registry()).unwrap();
    assert_eq!(run(&found), run(&expected));
    let names = |graph: &Graph| -> Vec<(String, String)> {
        graph.weights().into_iter().map(|(name, tensor)| (name, tensor.element().to_string())).collect()
    };
    let named = |up: &str, down: &str| {
        [("up", up), ("constant.2", down)].map(|(name, encoding)| (name.to_owned(), encoding.to_owned()))
    };
    assert_eq!(names(&found), named("q4_0", "q8_0"));

    // f32, f16 and bf16 are encodings in a graph; what is encoded stays unless it is asked for.
    let stays = here.fails(&["quantize", "out", "again", "-e", "up=q5_0"]);
    assert!(stays.contains("`up` is `q4_0` already"), "{stays}");
    here.succeeds(&["quantize", "out", "again", "-e", "*=f16", "-e", "up=f32"]);
    let again = Graph::load(here.path("again"), here.registry()).unwrap();
    assert_eq!(names(&again), named("f32", "f16"));
    run(&again);
    here.succeeds(&["quantize", "again", "last", "-e", "q8_0"]);
    assert_eq!(names(&Graph::load(here.path("last"), here.registry()).unwrap()), named("q8_0", "q8_0"));
    let none = here.fails(&["quantize", "graph", "none", "-e", "scale=q4_0"]);
    assert!(none.contains("its glob matches none"), "{none}");
    let nothing = here.fails(&["quantize", "last", "none", "-e", "q4_0"]);
    assert!(nothing.contains("there is nothing to do: 2 weights are encoded already"), "{nothing}");

    // What is said of it is so, and it may be several files, or GGUF, which has f32 that is encoded as f32 that is not.
    let preview = here.succeeds(&["quantize", "graph", "none", "-e", "up=q4_0", "--dry-run"]);
    assert!(preview.contains("f32 -> q4_0") && !here.path("none").exists(), "{preview}");
    here.succeeds(&["quantize", "graph", "split", "-e", "up=q5_0", "--split", "3000"]);
    let index = here.files().into_keys().find(|path| path.to_string_lossy().contains("index")).unwrap();
    let split = Graph::load(here.path("").join(index), here.registry()).unwrap();
    assert_eq!(names(&split), named("q5_0", "q8_0"));
    for (encoding, becomes) in [("constant.2=f32", ("f32", "f32")), ("*=bf16", ("bf16", "bf16"))] {
        here.succeeds(&["quantize", "graph", "graph.gguf", "-e", encoding]);
        let graph = Graph::load(here.path("graph.gguf"), here.registry()).unwrap();
        assert_eq!(names(&graph), named(becomes.0, becomes.1));
        run(&graph);
    }
    here.succeeds(&["quantize", "graph.gguf", "from_gguf", "-e", "q4_0"]);
    assert_eq!(names(&Graph::load(here.path("from_gguf"), here.registry()).unwrap()), named("q4_0", "q4_0"));
}

#[test]
fn weights_of_a_graph_need_not_be_aligned() {
    let here = workplace();
    let encode = |name: &str| {
        here.registry().require_encoding(name).unwrap().quantize(&weight([3, 32])).unwrap().tensor
    };
    // 54 bytes go before the second one's in the file.
    for dense in ["f32", "f16", "bf16"] {
        let mut graph = Graph::new(here.registry(), []).unwrap();
        let x = graph.add_input("x", TensorType::f32([dim("rows"), dim(32)])).unwrap();
        for name in ["q4_0", dense] {
            let weight = graph.constant(&encode(name)).unwrap();
            let product = graph.qmatmul(x, weight).unwrap();
            graph.output(product).unwrap();
        }
        graph.save(here.path("graph")).unwrap();
        here.succeeds(&["quantize", "graph", "out", "-e", "constant.1=q4_0"]);
        let made = Graph::load(here.path("out"), here.registry()).unwrap();
        let weights = made.weights();
        let expected = match dense {
            "f32" => encode("q4_0"),
            _ => {
                let narrow = here.registry().to_f32(&encode(dense)).unwrap();
                here.registry().require_encoding("q4_0").unwrap().quantize(&narrow).unwrap().tensor
            }
        };
        assert_eq!(weights[1].1.bytes(), expected.bytes(), "{dense}");
    }
}

#[test]
fn importance_of_a_graph_is_by_the_names_of_its_weights() {
    let here = workplace();
    here.save_product("graph", ["x", "y"], "f32", &weight([3, 32]));
    let importance: Vec<f32> = (0..32).map(|column| if column < 16 { 100.0 } else { 0.01 }).collect();
    here.save("importance", [("constant.0", Tensor::new([32], importance).unwrap())]);
    here.succeeds(&["quantize", "graph", "plain", "-e", "q4_0"]);
    here.succeeds(&["quantize", "graph", "weighed", "-e", "q4_0", "--importance", "importance"]);
    let bytes = |name: &str| {
        let graph = Graph::load(here.path(name), here.registry()).unwrap();
        graph.weights()[0].1.bytes().to_vec()
    };
    assert_ne!(bytes("plain"), bytes("weighed"));
}
