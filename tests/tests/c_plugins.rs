//! Plugins in C load and run like any other, and what makes no sense in them is refused with a sentence.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use std::path::{Path, PathBuf};

use bitquilt::plugin::{CheckVerdict, Entry, Loader, PluginCheck, PluginProbe, inspect};

use bitquilt::plugin_api::Split;
use bitquilt::registry::Registry;
use bitquilt::{DType, Graph, InferenceSession, NodeBuilder, Tensor, TensorType, dim};
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
    ("size of half a field", "has the size 68, 64 bytes"),
    ("no name", "plugin->name is NULL; a text is expected"),
    ("empty name", "the name \"\" of the plugin is empty"),
    ("name without end", "plugin->name has no end within 1024 bytes"),
    ("long name", "of the plugin is too long"),
    ("name of no UTF-8", "plugin->name is no UTF-8: \"na\u{fffd}ve\""),
    ("no version", "plugin->version is NULL"),
    ("encodings null", "plugin->encodings are 1, but their array is at 0x0"),
    ("encodings misaligned", "an array of pointers is expected"),
    ("absurd count", "plugin->encodings are 18446744073709551615; there may be 1024"),
    ("kernels null", "plugin->kernels are 1, but their array is at 0x0"),
    ("kernels misaligned", "an array of pointers is expected"),
    ("absurd kernels", "plugin->kernels are 18446744073709551615; there may be 1024"),
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
    ("no run", "plugin->ops[0]->run is NULL, and none of plugin->kernels is for `faulty.copy`"),
    ("scratch without run", "plugin->ops[0]->scratch is for it; a kernel has its own"),
    ("op size of half a field", "plugin->ops[0] has the size"),
    ("effect is absurd", "plugin->ops[0]->effect is `two words`; a name has 1 to 64"),
    ("effect without end", "plugin->ops[0]->effect has no end within 1024 bytes"),
    ("effect is empty", "plugin->ops[0]->effect is ``; a name has"),
    ("impure how", "plugin->ops[0]->impure is 2; 0 or 1 is expected"),
    ("split", "plugin->ops[0]->split is 4"),
    ("split of nobody", "plugin->ops[0]->split_input is 1; the op has 1 inputs, from 0"),
    ("split input without rows", "plugin->ops[0]->split_input is 1, which is for BITQUILT_SPLIT_ROWS alone"),
    ("contraction size", "plugin->ops[0]->contraction has the size 4"),
    ("contraction misaligned", "plugin->ops[0]->contraction is at 0x"),
    (
        "contraction of nobody",
        "plugin->ops[0]->contraction->encoded is 18446744073709551615; the op has 1 inputs",
    ),
    ("contraction of one input", "contracts inputs that are not an activation"),
    (
        "encodings of a dense input",
        "plugin->ops[0]->inputs[0]->encodings are 2, and the input is not encoded",
    ),
    ("encodings of an input null", "plugin->ops[0]->inputs[0]->encodings are 2, but their array is at 0x0"),
    (
        "absurd encodings of an input",
        "plugin->ops[0]->inputs[0]->encodings are 18446744073709551615; there may be 64",
    ),
    ("encoding of an input null", "plugin->ops[0]->inputs[0]->encodings[1] is NULL"),
    ("encoding of an input is absurd", "plugin->ops[0]->inputs[0]->encodings[1] is `q4 0\\n`; a name has"),
    ("input after one that may be left out", "has the input `z` after `x`, which may be left out"),
    ("states without outputs", "plugin->ops[0]->output_count is 1, and the op has 2 states"),
    ("optional how", "plugin->ops[0]->attributes[0]->optional is 9; 0 or 1 is expected"),
    ("reserved in a value", "plugin->ops[0]->attributes[0]->initial->reserved is 1"),
    ("bool of 2", "plugin->ops[0]->attributes[0]->initial->integer is 2; 0 or 1 is expected"),
    ("initial size of half a field", "plugin->ops[0]->attributes[0]->initial has the size 41"),
    ("ints null", "plugin->ops[0]->attributes[0]->initial->integers are 2, but their array is at 0x0"),
    ("ints misaligned", "an array of numbers is expected"),
    ("absurd ints", "initial->integers are 18446744073709551615; there may be 1024"),
    ("absurd floats", "initial->numbers are 1025; there may be 1024"),
    ("floats null", "initial->numbers are 2, but their array is at 0x0"),
    ("texts null", "initial->texts are 2, but their array is at 0x0"),
    ("text of texts null", "initial->texts[1] is NULL"),
    ("shape too long", "initial->integers are 9; there may be 8"),
    (
        "shape with a negative number",
        "initial->integers are [1, -2, 3]; a dimension is a number from 0, or -1",
    ),
    ("kernel null", "plugin->kernels[0] is NULL"),
    ("kernel size", "plugin->kernels[0] has the size 96"),
    ("kernel name null", "plugin->kernels[0]->name is NULL"),
    ("kernel name absurd", "the name \"avx 512\" of a kernel has other characters"),
    ("kernel op null", "plugin->kernels[0]->op is NULL"),
    ("kernel op absurd", "the name \"\" of a kernel's op is empty"),
    ("kernel selector", "plugin->kernels[0]->selector is 0"),
    ("kernel encoding null", "plugin->kernels[0]->encoding is NULL"),
    ("kernel encoding absurd", "plugin->kernels[0]->encoding is `\\u{1b}[2J`; a name has"),
    (
        "kernel encoding for dense",
        "plugin->kernels[0]->encoding is there, and plugin->kernels[0]->selector is 1",
    ),
    ("kernel for the encoding of a dense op", "`faulty.copy` has no input that is one encoded tensor"),
    ("dense kernel of an encoded op", "the kernel of `faulty.copy` is selected by its encoded input `x`"),
    (
        "kernel for an encoding that is not taken",
        "plugin->kernels[0]->encoding is `q6_k`, which the input `x` of `faulty.copy` does not take",
    ),
    ("kernel reserved", "plugin->kernels[0]->reserved is 1"),
    (
        "kernel space",
        "the kernel `faulty.copy for dense inputs at priority 1` is for memory space 1; this host has space 0",
    ),
    ("kernel without run", "plugin->kernels[0]->run is NULL; a function is expected"),
    (
        "serves without prepare",
        "plugin->kernels[0]->serves is never called, since plugin->kernels[0]->prepare is NULL",
    ),
    ("destroy without prepare", "plugin->kernels[0]->destroy is never called"),
    ("priority of the op's own kernel", "give one another priority"),
    ("layout without end", "plugin->encodings[0]->layout has no end within 65536 bytes"),
    ("layout of no UTF-8", "plugin->encodings[0]->layout is no UTF-8"),
    ("wrong declaration", "plugin->encodings[0]->layout: line "),
    (
        "declaration of another name",
        "plugin->encodings[0]->layout declares the encoding `my.other`, and plugin->encodings[0]->name is `faulty.raw`",
    ),
    ("declaration of other blocks", "leave the three 0, or make them the same"),
    ("encoding size of half a field", "plugin->encodings[0] has the size 79"),
    ("no outputs", "plugin->ops[0]->output_count is 0; an op has 1 to 8 outputs"),
    ("absurd outputs", "plugin->ops[0]->output_count is 1073741824"),
    ("absurd inputs", "plugin->ops[0]->inputs are 17; there may be 16"),
    ("input null", "plugin->ops[0]->inputs[0] is NULL"),
    ("input kind", "plugin->ops[0]->inputs[0]->kind is 0; BITQUILT_INPUT_DENSE, _ENCODED or _STATE"),
    ("input arity", "plugin->ops[0]->inputs[0]->arity is 44"),
    ("attribute kind", "plugin->ops[0]->attributes[0]->kind is 9"),
    ("initial value of another kind", "plugin->ops[0]->attributes[0]->initial->kind is 4"),
    ("initial text null", "plugin->ops[0]->attributes[0]->initial->text is NULL"),
];

#[test]
fn what_makes_no_sense_in_a_description_is_refused() {
    for (fault, sentence) in DESCRIPTIONS {
        let dir = PluginDir::new();
        let path = faulty(&dir, fault, &[]);
        let mut registry = Registry::default();
        let loaded = Loader::new(&mut registry).file(&path);
        let refusal = loaded.err().map_or_else(|| "it was taken".to_owned(), |refusal| refusal.to_string());
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
    ("dimension of an attribute alone", "no input has the symbol `_`"),
    ("alias of nobody", "`infer` gave output 0 the alias 2, BITQUILT_ALIAS(1), and the node has 1 inputs"),
    ("absurd alias", "`infer` gave output 0 the alias 18446744073709551615"),
    ("alias of another type", "is the memory of input 0"),
    ("par_for before prepare", "a node's `par_for` was called without the node that `prepare` was given"),
    ("decode before prepare", "a node's `decode` was called without"),
    ("memory before prepare", "a node's `memory` was called without"),
    ("nobody's node", "a node's `par_for` was called without"),
    ("huge scratch", "memory"),
    ("task fails", "task 17 gave up"),
    ("null task", "`par_for` was given the task NULL"),
    ("par_for without a run", "without the run that `run` was given"),
    ("decode of a dense input", "`decode` was given input 0, which is not encoded"),
    ("decode of no input", "`decode` was given input 99, which is not encoded"),
];

/// The fault of a call of a kernel alone, and a part of the sentence that it ends with.
const KERNEL_CALLS: &[(&str, &str)] = &[
    ("prepare fails", "no kernel today"),
    ("prepare's task fails", "task 17 gave up"),
    ("prepare's null task", "`par_for` was given the task NULL"),
    ("prepare's task decodes nothing", "`decode` was given input 5, which is not encoded"),
    ("prepare decodes a dense input", "`decode` was given input 0, which is not encoded"),
    ("absurd memory", "there are no 18446744073709551615 bytes of memory"),
    ("memory for nobody", "`memory` was given no place for the address"),
    ("memory misaligned", "`memory` was given no place for the address"),
    ("releases a run's input", "releases input 0, which is no constant"),
    ("releases nobody", "`prepare` releases input 1, and the node has 1 inputs, from 0"),
    ("releases how", "releases[0] that `prepare` gave is 2; 0 or 1 is expected"),
    ("or_next without a next", "there is no next kernel"),
    ("or_next without serves", "`serves`, which says for which shapes, is NULL"),
    ("or_next how", "the `or_next` that `prepare` gave is 3; 0 or 1 is expected"),
    ("reserved in what is prepared", "the `reserved` that `prepare` gave is 1"),
    ("note of no UTF-8", "`prepare` gave a note that is no UTF-8"),
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

fn session(dir: &PluginDir) -> InferenceSession {
    let session = InferenceSession::builder().threads(2).plugin_dir(dir.path()).build().unwrap();
    assert_eq!(session.refusals(), []);
    session
}

#[test]
fn what_a_call_answers_is_checked() {
    for kernels in ["-DKERNELS=0", "-DKERNELS=1"] {
        for (fault, sentence) in CALLS {
            let dir = PluginDir::new();
            faulty(&dir, fault, &["-DNO_MAGIC=0", kernels]);
            let error = use_all(&session(&dir)).unwrap_err();
            assert!(error.contains(sentence), "{fault}: {error}");
        }
        // A kernel that answers nonsense to whether it serves shapes does not serve them.
        for fault in ["none", "none, smaller", "serves with no status"] {
            let dir = PluginDir::new();
            faulty(&dir, fault, &["-DNO_MAGIC=0", kernels]);
            assert_eq!(use_all(&session(&dir)), Ok(values(16)), "{fault}");
        }
    }
}

/// What the plugin says it prepared, and of that, destroyed.
fn counts(session: &InferenceSession) -> String {
    let numbers = TensorType::dense(DType::I64, [dim(1)]);
    let mut graph = Graph::new(session.registry(), [numbers]).unwrap();
    graph.op("faulty.copy", [graph.input(0)]).unwrap_err().to_string()
}

#[test]
fn what_a_kernel_answers_is_checked_and_what_it_made_is_destroyed_once() {
    for (fault, sentence) in KERNEL_CALLS {
        let dir = PluginDir::new();
        faulty(&dir, fault, &[]);
        let session = session(&dir);
        let error = use_all(&session).unwrap_err();
        assert!(error.contains(sentence), "{fault}: {error}");
        let failed_itself = KERNEL_CALLS.iter().position(|(name, _)| name == fault).unwrap() < 8;
        let expected = if failed_itself { "0 prepared, 0 destroyed" } else { "1 prepared, 1 destroyed" };
        let counts = counts(&session);
        assert!(counts.contains(expected), "{fault}: {counts}");
    }
    let dir = PluginDir::new();
    faulty(&dir, "none", &[]);
    let session = session(&dir);
    assert_eq!(use_all(&session), Ok(values(16)));
    assert!(counts(&session).contains("1 prepared, 1 destroyed"));
}

#[test]
fn why_a_kernel_does_not_serve_a_node_is_said() {
    for (fault, reason) in [
        ("supports says why", "not on a Monday"),
        ("supports fails silently", "`supports` failed without saying why"),
        ("supports with no status", "`supports` returned the status 77, which bitquilt.h does not have"),
        ("note that a terminal obeys", ""),
    ] {
        let dir = PluginDir::new();
        faulty(&dir, fault, &[]);
        let session = session(&dir);
        let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("rows"), dim(8)])]).unwrap();
        let copy = graph.op("faulty.copy", [graph.input(0)]).unwrap();
        graph.output(copy).unwrap();
        let explanation = session.load(&graph).unwrap().explain().unwrap();
        let node = &explanation.nodes[0];
        if reason.is_empty() {
            assert!(!explanation.to_string().contains('\u{1b}'), "{explanation}");
            continue;
        }
        assert_eq!(node.kernel, Some(("c".to_owned(), "faulty".to_owned())));
        assert!(node.others.contains(&("above (faulty)".to_owned(), reason.to_owned())), "{:?}", node.others);
    }
}

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

/// Checks that the conformance kit finds nothing wrong, and tries something of each kernel.
fn conforms(path: &Path) {
    let report = PluginCheck::program(env!("CARGO_BIN_EXE_test-host")).run(path, &mut |_| {}).unwrap();
    let failed = report.findings.iter().filter(|finding| finding.verdict == CheckVerdict::Fail);
    let failed: Vec<_> = failed.map(|it| format!("{} {}: {}", it.subject, it.check, it.detail)).collect();
    assert_eq!(failed, [""; 0]);
    assert!(report.findings.iter().any(|it| it.verdict == CheckVerdict::Pass));
}
