//! Encodings in C and C++ that unpack their blocks: their products run by the host's kernels, and what `unpack` gives is checked when a
//! weight is prepared and by the conformance kit.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use std::path::Path;

use bitquilt::plugin::{CheckVerdict, Loader, PluginCheck};
use bitquilt::registry::Registry;
use bitquilt::{Graph, InferenceSession, Isa, Model, Tensor, TensorType, dim};
use bitquilt_tests::{PluginDir, c, contents};

/// Values of a block of activations.
const STRIP: usize = 32;

/// Rows of the weight, which no instruction set has as lanes, and values of each, which are whole blocks of all that is tried.
const ROWS: usize = 37;
const COLUMNS: usize = 384;

fn build(dir: &PluginDir, options: &[&str]) {
    c::build(dir.path(), "unpack", "tests/c/unpack.c", &[&["-Wpedantic"][..], options].concat());
}

/// The plugin, whose `unpack` is wrong as `fault` says; of the first encodings alone.
fn faulty(dir: &PluginDir, fault: &str, options: &[&str]) {
    let fault = format!("-DFAULT=\"{fault}\"");
    build(dir, &[&[fault.as_str(), "-Wno-unused"], options].concat());
}

fn session(dir: &PluginDir, isa: Option<Isa>, threads: usize) -> InferenceSession {
    let builder = InferenceSession::builder().threads(threads).plugin_dir(dir.path());
    let builder = isa.into_iter().fold(builder, |builder, isa| builder.option("isa", isa.name()));
    let session = builder.build().unwrap();
    assert_eq!(session.refusals(), []);
    session
}

fn values(count: usize, seed: usize) -> Vec<f32> {
    (0..count).map(|index| (((index + seed) * 7919 % 2003) as f32 - 1001.0) / 500.0).collect()
}

fn weight(session: &InferenceSession, encoding: &str) -> Tensor {
    let dense = Tensor::new([ROWS, COLUMNS], values(ROWS * COLUMNS, 1)).unwrap();
    session.registry().require_encoding(encoding).unwrap().quantize(&dense).unwrap().tensor
}

fn load(session: &InferenceSession, weight: &Tensor, precision: &str) -> Result<Model, String> {
    let mut graph = Graph::new(session.registry(), [TensorType::f32([dim("rows"), dim(COLUMNS)])]).unwrap();
    let weight = graph.constant(weight).unwrap();
    let node = graph.node("qmatmul", [graph.input(0), weight]).attribute("precision", precision);
    let product = node.value().unwrap();
    graph.output(product).unwrap();
    session.load(&graph).map_err(|error| error.to_string())
}

/// What the kernels make of activations: signed bytes, with a scale for each block.
fn rounded(x: &[f32]) -> Vec<f64> {
    let block = |x: &[f32]| {
        let largest = x.iter().fold(0.0f32, |largest, x| largest.max(x.abs()));
        let (scale, inverse) = (largest / 127.0, 127.0 / largest);
        x.iter().map(|x| f64::from((x * inverse).round_ties_even()) * f64::from(scale)).collect::<Vec<_>>()
    };
    x.chunks(STRIP).flat_map(block).collect()
}

/// Products with `m` rows of activations, which are compared with sums in f64 over the decoded weight; their bits.
fn check(model: &Model, decoded: &[f32], precision: &str, m: usize) -> Vec<u32> {
    let x = values(m * COLUMNS, m);
    let exact: Vec<f64> = match precision {
        "exact" => x.iter().map(|x| f64::from(*x)).collect(),
        _ => rounded(&x),
    };
    let results = model.execute([("input0", &Tensor::new([m, COLUMNS], x).unwrap())]).unwrap();
    let found = results.get::<f32>("output0").unwrap();
    for (x, found) in exact.chunks(COLUMNS).zip(found.chunks(ROWS)) {
        for (row, found) in decoded.chunks(COLUMNS).zip(found) {
            let terms = || row.iter().zip(x).map(|(w, x)| f64::from(*w) * x);
            let (sum, magnitudes) = (terms().sum::<f64>(), terms().map(f64::abs).sum::<f64>());
            // Minima take differences of large sums.
            let apart = (f64::from(*found) - sum).abs();
            assert!(apart <= 2e-5 * magnitudes, "{precision}, {m}: {found}, not {sum} (of {magnitudes})");
        }
    }
    found.iter().map(|value| value.to_bits()).collect()
}

/// Multiplies on each instruction set of this machine, one column and many, on some threads and one.
fn check_products(dir: &PluginDir, encoding: &str, note: &str) {
    let decoded = {
        let session = session(dir, None, 1);
        session.registry().to_f32(&weight(&session, encoding)).unwrap()
    };
    let decoded = decoded.values::<f32>().unwrap();
    for isa in Isa::available() {
        // Between instruction sets, minima are rounded in other ways.
        let mut first: Option<Vec<Vec<u32>>> = None;
        for threads in [1, 3] {
            let session = session(dir, Some(isa), threads);
            let weight = weight(&session, encoding);
            let fast = load(&session, &weight, "fast").unwrap();
            let plan = fast.explain().unwrap();
            assert_eq!(
                plan.nodes[0].kernel.clone().unwrap().0,
                bitquilt_qmatmul::serving("q4_0", isa).name(),
                "{plan}"
            );
            assert!(plan.nodes[0].note.contains(note), "{plan}");
            assert!(plan.nodes[0].held_bytes > 0 && plan.constant_bytes == 0, "{plan}");
            let bits: Vec<_> = [1, 2, 5, 33].map(|m| check(&fast, decoded, "fast", m)).into();
            assert!(*first.get_or_insert_with(|| bits.clone()) == bits, "{encoding}, {isa}, {threads}");
        }
        let session = session(dir, Some(isa), 2);
        let exact = load(&session, &weight(&session, encoding), "exact").unwrap();
        let plan = exact.explain().unwrap();
        assert!(plan.nodes[0].note.starts_with("decoded at each run"), "{plan}");
        for m in [1, 5, 33] {
            check(&exact, decoded, "exact", m);
        }
    }
}

#[test]
fn products_are_those_of_the_decoded_weight() {
    let dir = PluginDir::new();
    build(&dir, &[]);
    for (encoding, note) in [
        ("unpack.first", "unpacked by `unpack.first`: codes of 4 bits, a scale for each 32"),
        ("unpack.wide", "unpacked by `unpack.wide`: codes of 8 bits, a scale for each 64"),
        ("unpack.halves", "unpacked by `unpack.halves`: codes of 3 bits, a scale for each 16"),
        ("unpack.min5", "unpacked by `unpack.min5`: codes of 5 bits, a scale and a minimum for each 32"),
        ("unpack.min7", "unpacked by `unpack.min7`: codes of 7 bits, a scale and a minimum for each 48"),
        ("unpack.bits", "unpacked by `unpack.bits`: codes of 1 bit, a scale and a minimum for each 32"),
    ] {
        check_products(&dir, encoding, note);
    }
}

#[test]
fn the_example_in_cpp_is_multiplied_by_the_host_s_kernels_and_conforms() {
    let dir = PluginDir::new();
    let options = ["-Wpedantic", "-Wno-missing-field-initializers"];
    let source = "examples/cpp-encoding/planes.cpp";
    let Some(path) = c::build_cpp(dir.path(), "acme_planes", source, &options) else { return };
    check_products(
        &dir,
        "acme.cpp_planes",
        "unpacked by `acme.cpp_planes`: codes of 4 bits, a scale for each 32",
    );
    assert_eq!(failures(&path), [""; 0]);
}

/// What `unpack` does wrong, and a part of the sentence that a weight is refused with.
const FAULTS: &[(&str, &str, &str)] = &[
    (
        "code too large",
        "unpack.first",
        "`unpack` of `unpack.first` gave value 5 of block 1 the code 16; codes of 4 bits are from 0 to 15",
    ),
    (
        "scale of no number",
        "unpack.first",
        "`unpack` of `unpack.first` gave group 1 of block 1 the scale NaN; a finite number is expected",
    ),
    ("infinite scale", "unpack.first", "gave group 1 of block 1 the scale inf; a finite number is expected"),
    (
        "minimum of no number",
        "unpack.min5",
        "`unpack` of `unpack.min5` gave group 2 of block 0 the minimum NaN; a finite number is expected",
    ),
    ("other values", "unpack.first", "`unpack` of `unpack.first` makes value 0 of block 0 "),
    ("other values", "unpack.min7", "and `dequantize` "),
    ("it fails", "unpack.first", "no blocks today"),
    ("it fails silently", "unpack.first", "`unpack` failed without saying why"),
    ("no status", "unpack.first", "`unpack` returned the status 77, which bitquilt.h does not have"),
];

#[test]
fn a_weight_of_which_wrong_is_unpacked_is_refused() {
    for (fault, encoding, sentence) in FAULTS {
        let dir = PluginDir::new();
        faulty(&dir, fault, &[]);
        for threads in [1, 3] {
            let session = session(&dir, None, threads);
            let error = load(&session, &weight(&session, encoding), "fast").err().unwrap_or_default();
            assert!(error.contains(sentence), "{fault}: {error}");
            assert!(error.contains("row 0 of `w` cannot be prepared: "), "{fault}: {error}");
        }
    }
}

/// Options for the first encoding's description, and a part of the sentence that the library is refused with.
const DESCRIPTIONS: &[(&[&str], &str)] = &[
    (
        &["-DGROUP_LEN=8"],
        "plugin->encodings[0]->unpack is there, but its groups have 8 values; a multiple of 16",
    ),
    (&["-DGROUP_LEN=128"], "its groups have 128 values; a multiple of 16 that divides 64"),
    (&["-DBLOCK_LEN=48", "-DGROUP_LEN=16"], "its blocks have 48 values; a multiple of 32 is expected"),
    (&["-DBITS=0", "-DOFFSET=0"], "its codes have 0 bits; 1 to 8 are expected"),
    (&["-DBITS=9"], "its codes have 9 bits"),
    (&["-DOFFSET=16"], "16 is taken from its codes, which are from 0 to 15"),
    (&["-DMINIMA=2"], "plugin->encodings[0]->has_minima is 2; 0 or 1 is expected"),
    (&["-DRESERVED=1"], "plugin->encodings[0]->reserved is 1"),
    (
        &["-DUNPACK=NULL"],
        "plugin->encodings[0]->unpack is NULL, and group_len is 32, code_bits 4, code_offset 8",
    ),
    (
        &["-DQUANTIZE=NULL", "-DDEQUANTIZE=NULL", "-DLAYOUT=\"name = 'unpack.first'\""],
        "plugin->encodings[0]->unpack is there, and plugin->encodings[0]->dequantize, which it has to agree with, is NULL",
    ),
];

#[test]
fn what_makes_no_sense_in_a_description_is_refused() {
    for (options, sentence) in DESCRIPTIONS {
        let dir = PluginDir::new();
        faulty(&dir, "", options);
        let mut registry = Registry::default();
        let loaded = Loader::new(&mut registry).file(&dir.file("unpack"));
        let refusal = loaded.err().map_or_else(|| "it was taken".to_owned(), |refusal| refusal.to_string());
        assert!(refusal.contains(sentence), "{options:?}: {refusal}");
        assert_eq!(contents(&registry), [""; 0], "{options:?}");
    }
}

/// A layout of the first encoding, with this taken from each code.
fn layout(offset: u32) -> String {
    format!(
        "-DLAYOUT=\"name = 'unpack.first'\\nblock_len = 32\\nblock_bytes = 36\\ncodes = {{ at = 4, bits = 8 }}\\noffset = {offset}\\n\
         scale = {{ at = 0, dtype = 'f32' }}\""
    )
}

const BYTES: [&str; 3] = ["-DBLOCK_LEN=32", "-DBITS=8", "-DOFFSET=128"];

#[test]
fn each_road_is_taken_where_it_is_there() {
    let right = layout(128);
    for (options, note) in [
        // What plugins of an earlier header say ends before `unpack`.
        (vec!["-DSIZE=offsetof(bitquilt_encoding,unpack)"], "decoded at each run by unpack.first"),
        (BYTES.to_vec(), "unpacked by `unpack.first`: codes of 8 bits"),
        ([&BYTES[..], &[&right]].concat(), "declared: integers of 8 bits"),
        (vec!["-DLAYOUT=\"of a later version\""], "unpacked by `unpack.first`: codes of 4 bits"),
    ] {
        let dir = PluginDir::new();
        faulty(&dir, "", &options);
        let session = session(&dir, None, 1);
        let weight = weight(&session, "unpack.first");
        let model = load(&session, &weight, "fast").unwrap();
        let plan = model.explain().unwrap();
        assert!(plan.nodes[0].note.contains(note), "{note}: {plan}");
        let decoded = session.registry().to_f32(&weight).unwrap();
        let precision = if note.starts_with("decoded") { "exact" } else { "fast" };
        check(&model, decoded.values::<f32>().unwrap(), precision, 3);
    }
}

/// What the conformance kit finds wrong.
fn failures(path: &Path) -> Vec<String> {
    let report = PluginCheck::program(env!("CARGO_BIN_EXE_test-host")).run(path, &mut |_| {}).unwrap();
    assert!(report.findings.iter().any(|it| it.verdict == CheckVerdict::Pass));
    let failed = report.findings.iter().filter(|finding| finding.verdict == CheckVerdict::Fail);
    failed.map(|it| format!("{} {}: {}", it.subject, it.check, it.detail)).collect()
}

#[test]
fn the_conformance_kit_compares_what_is_unpacked_and_declared_with_what_is_decoded() {
    let (right, wrong) = (layout(128), layout(127));
    let one = "-DCOUNT=1";
    for (fault, options, sentence) in [
        ("", vec![], ""),
        ("", [&BYTES[..], &[one, &right]].concat(), ""),
        ("", [&BYTES[..], &[one, &wrong]].concat(), "encoding unpack.first layout: value "),
        ("other values", vec![one], "encoding unpack.first unpacking: value "),
        ("a code is left", vec![one], "unpacking: `unpack` does not write code "),
        ("a scale is left", vec![one], "unpacking: `unpack` does not write scale "),
        (
            "code too large",
            vec![one],
            "unpacking: `unpack` of `unpack.first` gave value 5 of block 1 the code 16",
        ),
        ("it fails", vec![one], "unpacking: no blocks today"),
        ("it writes beyond", vec![one], "encoding unpack.first bounds: "),
    ] {
        let dir = PluginDir::new();
        faulty(&dir, fault, &options);
        let failures = failures(&dir.file("unpack"));
        match sentence {
            "" => assert_eq!(failures, [""; 0], "{options:?}"),
            _ => {
                assert!(failures.iter().any(|it| it.contains(sentence)), "{fault} {options:?}: {failures:?}")
            }
        }
    }
}
