//! Faults of `tests/c/faulty.c`, one a build.

use std::path::PathBuf;

use bitquilt::plugin::{Loader, PluginProbe, inspect};
use bitquilt::registry::Registry;
use bitquilt::{DType, Graph, InferenceSession, Tensor, TensorType, dim};
use bitquilt_tests::{PluginDir, c, contents};

use super::{session, values};

fn faulty(dir: &PluginDir, fault: &str, options: &[&str]) -> PathBuf {
    let fault = format!("-DFAULT=\"{fault}\"");
    let defaults = if options.is_empty() { &["-DNO_MAGIC=0"][..] } else { options };
    c::build(dir.path(), "faulty", "tests/c/faulty.c", &[&[fault.as_str()][..], defaults].concat())
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
