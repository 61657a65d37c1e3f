//! Plugins in C load and run like any other, and what makes no sense in them is refused with a sentence.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use std::path::PathBuf;

use bitquilt::plugin::{Entry, Loader, PluginProbe, inspect};

use bitquilt::registry::Registry;
use bitquilt::{Graph, InferenceSession, Tensor, TensorType, dim};
use bitquilt_tests::{PluginDir, c, contents};

fn example(dir: &PluginDir) -> PathBuf {
    c::build(dir.path(), "acme_c", "examples/c-plugin/acme.c", &["-Wpedantic"])
}

fn faulty(dir: &PluginDir, fault: &str, options: &[&str]) -> PathBuf {
    let fault = format!("-DFAULT=\"{fault}\"");
    let defaults = if options.is_empty() { &["-DNO_MAGIC=0"][..] } else { options };
    c::build(dir.path(), "faulty", "tests/c/faulty.c", &[&[fault.as_str()][..], defaults].concat())
}

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 37 % 101) as f32 - 50.0) / 25.0).collect()
}

#[test]
fn the_example_is_seen_for_what_it_is() {
    let dir = PluginDir::new();
    let report = inspect(&example(&dir)).unwrap();
    assert_eq!(report.entry, Some(Entry::C));
    assert_eq!(report.api_version.as_deref(), Some("1 of bitquilt.h"));
    assert_eq!(report.refusal, None);
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
        let product = graph.qmatmul(graph.input(0), weight).unwrap();
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
fn a_file_whose_entry_is_no_description_is_refused_before_it_is_opened() {
    for (option, sentence) in [
        ("-DNO_DATA", "its symbol `bitquilt_c_plugin` is no plugin's: it is not data"),
        (
            "-DSHORT_DATA",
            "its symbol `bitquilt_c_plugin` is no plugin's: it has 4 bytes, a `bitquilt_plugin` begins with 16",
        ),
        (
            "-DNO_MAGIC=1",
            "its symbol `bitquilt_c_plugin` is no plugin's: it does not begin with BITQUILT_MAGIC",
        ),
    ] {
        let dir = PluginDir::new();
        let path = faulty(&dir, "", &[option, "-Wno-unused"]);
        assert_eq!(inspect(&path).unwrap().refusal.unwrap().to_string(), sentence);
    }
}

#[test]
fn a_file_is_probed_before_it_is_opened() {
    let dir = PluginDir::new();
    let path = faulty(&dir, "constructor aborts", &[]);
    let mut registry = Registry::default();
    let probe = PluginProbe::program(env!("CARGO_BIN_EXE_test-host")).cache(None);
    let refusal = Loader::new(&mut registry).probe(probe).file(&path).unwrap_err().to_string();
    assert!(
        refusal.ends_with("a child process that loaded it was ended by SIGABRT (it aborted)"),
        "{refusal}"
    );
}

/// The fault in a description, and a part of the sentence that refuses it.
const DESCRIPTIONS: &[(&str, &str)] = &[
    ("magic lost in memory", "is no `bitquilt_plugin`: its magic is 0x0000000000000000"),
    ("other api", "was written against version 2 of bitquilt.h, this host takes 1"),
    ("size 0", "has the size 0, 64 bytes or a later header's more are expected"),
    ("size huge", "has the size 4294967295"),
    ("no name", "plugin->name is NULL; a text is expected"),
    ("empty name", "the name \"\" of the plugin is empty"),
    ("name without end", "plugin->name has no end within 1024 bytes"),
    ("long name", "of the plugin is too long"),
    ("name of no UTF-8", "plugin->name is no UTF-8: \"na\u{fffd}ve\""),
    ("no version", "plugin->version is NULL"),
    ("encodings null", "plugin->encodings are 1, but their array is at 0x0"),
    ("encodings misaligned", "an array of pointers is expected"),
    ("absurd count", "plugin->encodings are 18446744073709551615; there may be 1024"),
    ("nothing", "it registers no encoding, op or kernel"),
    ("encoding null", "plugin->encodings[0] is NULL"),
    ("encoding misaligned", "which is not aligned for a struct"),
    ("encoding size", "plugin->encodings[0] has the size 8, a struct of bitquilt.h is expected, of 72 bytes"),
    ("encoding size huge", "plugin->encodings[0] has the size 18446744073709551615"),
    ("encoding name null", "plugin->encodings[0]->name is NULL"),
    ("encoding name foreign", "the name \"na\u{ef}ve\" of an encoding has other characters"),
    ("importance", "plugin->encodings[0]->importance is 9"),
    ("no quantize", "plugin->encodings[0]->quantize is NULL; a function is expected"),
    ("no dequantize", "plugin->encodings[0]->dequantize is NULL"),
    ("block of no values", "has blocks of 0 values"),
    ("block of absurd bytes", "both must be from 1 to"),
    ("op size", "plugin->ops[0] has the size 1"),
    ("op name null", "plugin->ops[0]->name is NULL"),
    ("no infer", "plugin->ops[0]->infer is NULL"),
    ("no run", "plugin->ops[0]->run is NULL"),
    ("no outputs", "plugin->ops[0]->output_count is 0; an op has 1 to 8 outputs"),
    ("absurd outputs", "plugin->ops[0]->output_count is 1073741824"),
    ("absurd inputs", "plugin->ops[0]->inputs are 17; there may be 16"),
    ("input null", "plugin->ops[0]->inputs[0] is NULL"),
    ("input kind", "plugin->ops[0]->inputs[0]->kind is 0"),
    ("input arity", "plugin->ops[0]->inputs[0]->arity is 44"),
    ("attribute kind", "plugin->ops[0]->attributes[0]->kind is 5"),
    ("initial value of another kind", "plugin->ops[0]->attributes[0]->initial->kind is 4"),
    ("initial text null", "plugin->ops[0]->attributes[0]->initial->text is NULL"),
];

#[test]
fn what_makes_no_sense_in_a_description_is_refused() {
    for (fault, sentence) in DESCRIPTIONS {
        let dir = PluginDir::new();
        let path = faulty(&dir, fault, &[]);
        let mut registry = Registry::default();
        let refusal = Loader::new(&mut registry).file(&path).unwrap_err().to_string();
        assert!(refusal.contains(sentence), "{fault}: {refusal}");
        assert_eq!(contents(&registry), [""; 0], "{fault}");
    }
}

/// The fault of a call, and a part of the sentence that it ends with.
const CALLS: &[(&str, &str)] = &[
    ("quantize fails", "rows of 8 values do not suit me"),
    ("quantize fails silently", "`quantize` failed without saying why"),
    ("unknown status", "`quantize` returned the status 77, which bitquilt.h does not have"),
    ("error without end", "nnnnnnnnnnnnnnnn"),
    ("error of no UTF-8", "n\u{fffd}\u{fffd}o"),
    ("error that a terminal obeys", r"\u{1b}[31mred\u{7}\r"),
    (
        "infer writes nothing",
        "`infer` gave output 0 no dtype; write `dtype`, `rank` and `shape` of each output",
    ),
    ("unknown dtype", "`infer` gave output 0 the dtype 99"),
    ("encoding of an output is null", "the encoding of output 0 is NULL"),
    ("rank too high", "`infer` gave output 0 the rank 4000000000"),
    ("dimension of nobody", "`infer` gave output 0 the dimension -5, which no input has"),
    ("least dimension", "`infer` gave output 0 the dimension -9223372036854775808"),
    ("huge scratch", "memory"),
    ("task fails", "task 17 gave up"),
    ("null task", "`par_for` was given the task NULL"),
    ("par_for without a run", "without the run that `run` was given"),
    ("decode of a dense input", "`decode` was given input 0, which is not encoded"),
    ("decode of no input", "`decode` was given input 99, which is not encoded"),
];

/// Quantizes, builds, loads and runs a graph with all that the plugin has.
fn use_all(session: &InferenceSession) -> Result<Vec<f32>, String> {
    let x = Tensor::new([2, 8], values(16)).unwrap();
    let encoding = session.registry().encoding("faulty.raw").unwrap();
    encoding.quantize(&x).map_err(|error| error.to_string())?;
    let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("rows"), dim(8)])]).unwrap();
    let copy = graph.op("faulty.copy", [graph.input(0)]).map_err(|error| error.to_string())?;
    graph.output(copy).unwrap();
    let model = session.load(&graph).map_err(|error| error.to_string())?;
    let results = model.execute([("input0", &x)]).map_err(|error| error.to_string())?;
    Ok(results.get::<f32>("output0").unwrap().to_vec())
}

#[test]
fn what_a_terminal_would_obey_is_escaped() {
    let dir = PluginDir::new();
    faulty(&dir, "version that a terminal obeys", &[]);
    let session = InferenceSession::builder().plugin_dir(dir.path()).build().unwrap();
    let plugin = session.registry().plugins().last().unwrap().to_string();
    assert_eq!(plugin, r"faulty 1\u{1b}[2J");
}

#[test]
fn what_a_call_answers_is_checked() {
    for (fault, sentence) in CALLS {
        let dir = PluginDir::new();
        faulty(&dir, fault, &[]);
        let session = InferenceSession::builder().plugin_dir(dir.path()).build().unwrap();
        assert_eq!(session.refusals(), [], "{fault}");
        let error = use_all(&session).unwrap_err();
        assert!(error.contains(sentence), "{fault}: {error}");
    }
    let dir = PluginDir::new();
    faulty(&dir, "none", &[]);
    let session = InferenceSession::builder().plugin_dir(dir.path()).build().unwrap();
    assert_eq!(use_all(&session), Ok(values(16)));
}
