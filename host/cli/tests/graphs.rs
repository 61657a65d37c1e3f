//! The command on saved graphs and their arrays, and what it says of wrong ones.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::{Command, Output, Stdio};

use bitquilt::checkpoint::npy;
use bitquilt::{Graph, InferenceSession, Tensor, TensorType, dim};

fn command(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitquilt"));
    command
        .current_dir(directory)
        .args(arguments)
        .env_remove("BITQUILT_PLUGIN_PATH")
        .env("XDG_DATA_HOME", directory);
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// What it prints where it succeeds.
fn succeeds(directory: &Path, arguments: &[&str]) -> String {
    let output = command(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", text(&output.stderr));
    text(&output.stdout).to_owned()
}

/// What it says where it fails; nothing is printed then.
fn fails(directory: &Path, arguments: &[&str]) -> String {
    let output = command(directory, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
    assert_eq!(text(&output.stdout), "");
    // miette breaks lines and indents.
    text(&output.stderr).split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

/// A directory with a graph `y = qmatmul(x, w)` and an `x` for it.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let session = InferenceSession::builder().threads(1).build().unwrap();
    let mut graph = Graph::new(session.registry(), []).unwrap();
    let x = graph.add_input("x", TensorType::f32([dim("rows"), dim(32)])).unwrap();
    let weight = graph.quantize("q4_0", &Tensor::full([3, 32], 0.25f32)).unwrap();
    let y = graph.qmatmul(x, weight).unwrap();
    graph.output_named("y", y).unwrap();
    graph.save(directory.path().join("graph.safetensors")).unwrap();
    npy::write(&Tensor::full([2, 32], 0.5f32), directory.path().join("x.npy")).unwrap();
    directory
}

#[test]
fn a_saved_graph_is_inspected_explained_and_run() {
    let directory = directory();
    let path = directory.path();
    let printed = succeeds(path, &["inspect", "graph.safetensors"]);
    assert!(printed.contains("q4_0") && !printed.contains("bitquilt.graph"), "{printed}");
    let json = succeeds(path, &["inspect", "graph.safetensors", "--json"]);
    let json = serde_json::from_str::<serde_json::Value>(&json).unwrap();
    let graph = &json["graph"];
    let (input, node, output) = (&graph["inputs"][0], &graph["nodes"][0], &graph["outputs"][0]);
    for line in [
        format!("  input  {} f32 [", input["name"].as_str().unwrap()),
        format!("  node   {} = qmatmul(x, constant.0", node["name"].as_str().unwrap()),
        format!("  output y = {}", output["value"].as_str().unwrap()),
    ] {
        assert!(printed.contains(&line), "{line}: {printed}");
    }
    let plan = succeeds(path, &["explain", "graph.safetensors"]);
    assert!(plan.contains("qmatmul"), "{plan}");

    let run = ["run", "graph.safetensors", "--input", "x=x.npy", "--threads", "2"];
    let brief = succeeds(path, &run);
    assert!(brief.starts_with("y: f32 [2, 3] [4.0"), "{brief}");
    assert_eq!(succeeds(path, &[&run[..], &["--output", "y=y.npy"]].concat()), "");
    let profiled =
        succeeds(path, &[&run[..], &["--profile", "--repeat", "3", "--trace", "trace.json"]].concat());
    assert!(profiled.contains("\nop ") && profiled.contains("qmatmul"), "{profiled}");
    assert!(profiled.contains("\n3 runs of "), "{profiled}");
    let trace = std::fs::read(path.join("trace.json")).unwrap();
    let trace: serde_json::Value = serde_json::from_slice(&trace).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    assert_eq!(events.iter().filter(|event| event["cat"] == "qmatmul").count(), 3);
    let y = npy::read(path.join("y.npy")).unwrap();
    assert_eq!(y.shape(), [2, 3]);
    assert!(y.values::<f32>().unwrap().iter().all(|y| (y - 4.0).abs() < 0.05));
}

#[test]
fn what_is_wrong_is_said_in_a_sentence() {
    let directory = directory();
    let path = directory.path();
    npy::write(&Tensor::full([2, 31], 0.5f32), path.join("short.npy")).unwrap();
    std::fs::write(path.join("text.npy"), "no array").unwrap();
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
        let said = fails(path, arguments);
        assert!(said.contains(sentence), "{arguments:?}: {said}");
        assert!(!said.contains("panicked"), "{said}");
    }
    let session = InferenceSession::builder().threads(1).build().unwrap();
    let mut graph = Graph::new(session.registry(), [TensorType::f32([2, 32])]).unwrap();
    let ids = graph.constant(&Tensor::new([1], [9i64]).unwrap()).unwrap();
    let rows = graph.gather(graph.input(0), ids, 0).unwrap();
    graph.output(rows).unwrap();
    graph.save(path.join("gather.safetensors")).unwrap();
    assert_eq!(
        fails(path, &["run", "gather.safetensors", "--input", "input0=x.npy"]),
        "× node `gather.0` (gather): index 0 is 9, and axis 0 of `x` has 2; expected 0 or more, and less than that",
        "said once"
    );
    let said = command(path, &["run", &format!("{}none", "long/".repeat(40))]).stderr;
    assert!(text(&said).contains("long/none: No such file or directory"), "on one line: {}", text(&said));
    assert!(!path.join("z.npy").exists());
    for arguments in [&["run"][..], &["run", "graph.safetensors", "--input", "x"], &["nothing"]] {
        assert_eq!(command(path, arguments).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn a_reader_that_stops_is_no_failure() {
    let directory = directory();
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitquilt"));
    let mut child = command
        .current_dir(directory.path())
        .args(["plugin", "list"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Closed before the command has anything to print: loading plugins comes first.
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!(text(&output.stderr), "");
}

#[test]
#[cfg(target_os = "linux")]
fn an_output_that_takes_nothing_is_a_failure_in_a_sentence() {
    let directory = directory();
    let run = ["run", "graph.safetensors", "--input", "x=x.npy"];
    for arguments in [
        &["inspect", "graph.safetensors"][..],
        &["inspect", "graph.safetensors", "--json"],
        &["explain", "graph.safetensors"],
        &run,
        &["plugin", "list"],
        &["plugin", "paths"],
    ] {
        let full = || Stdio::from(std::fs::File::options().write(true).open("/dev/full").unwrap());
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitquilt"));
        command.current_dir(directory.path()).args(arguments).env("XDG_DATA_HOME", directory.path());
        let output = command.stdout(full()).output().unwrap();
        let said = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {said}");
        assert!(said.contains("standard output: No space left on device"), "{arguments:?}: {said}");
        assert_eq!(command.stderr(full()).status().unwrap().code(), Some(1), "{arguments:?}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn names_that_are_no_text_are_shown() {
    use std::os::unix::ffi::OsStrExt;
    let directory = directory();
    let name = std::ffi::OsStr::from_bytes(b"n\xff.safetensors");
    let mut tensors = bitquilt::TensorDict::new();
    tensors.insert(format!("red \u{1b}[31m\n{}", "x".repeat(1000)), Tensor::full([1], 1f32));
    bitquilt::checkpoint::save(&tensors, directory.path().join(name)).unwrap();
    let inspect = |json: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitquilt"));
        let output =
            command.current_dir(directory.path()).arg("inspect").arg(name).args(json).output().unwrap();
        assert!(output.status.success(), "{}", text(&output.stderr));
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
    let directory = tempfile::tempdir().unwrap();
    let session = InferenceSession::builder().build().unwrap();
    let mut graph = Graph::new(session.registry(), []).unwrap();
    let x = graph.add_input("x", TensorType::f32([dim("rows"), dim(256)])).unwrap();
    let weight = graph.quantize("tq1_0", &Tensor::full([3, 256], 0.5f32)).unwrap();
    let y = graph.qmatmul(x, weight).unwrap();
    graph.output_named("y", y).unwrap();
    graph.save(directory.path().join("graph.safetensors")).unwrap();
    let explain =
        |more: &[&str]| succeeds(directory.path(), &[&["explain", "graph.safetensors"], more].concat());
    assert!(explain(&[]).contains("spread from "));
    assert!(!explain(&["--prepare", "compact"]).contains("spread from "));
}
