//! The conformance kit, in child processes: good plugins pass, and each broken promise is found where it is broken.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use bitquilt::plugin::{CheckError, CheckFinding, CheckReport, CheckVerdict, PluginCheck};
use bitquilt_tests::{PluginDir, c, contract, fixture};

/// How long a call may take: the slowest machine needs less.
const LONG: Duration = Duration::from_secs(60);

/// How long a call may take of a plugin with calls that never end.
const SHORT: Duration = Duration::from_secs(5);

fn check_within(limit: Duration, path: &Path) -> Result<CheckReport, CheckError> {
    let check = PluginCheck::program(env!("CARGO_BIN_EXE_test-host"));
    check.time_limit(limit).run(path, &mut |_| {})
}

fn check(path: &Path) -> Result<CheckReport, CheckError> {
    check_within(LONG, path)
}

fn lines(report: &CheckReport) -> String {
    let line = |it: &CheckFinding| format!("{:?} {} {}: {}", it.verdict, it.subject, it.check, it.detail);
    report.findings.iter().map(line).collect::<Vec<_>>().join("\n")
}

#[test]
fn good_plugins_pass() {
    let dir = PluginDir::new();
    let in_c = c::build(dir.path(), "acme_c", "examples/c-plugin/acme.c", &[]);
    let int3 = fixture("good").with_file_name(format!("libacme_int3.{}", std::env::consts::DLL_EXTENSION));
    for path in [fixture("good"), fixture("second"), int3, in_c] {
        let report = check(&path).unwrap();
        let said = lines(&report);
        // Kernels for instruction sets that this machine has no use for are not run.
        let is_fine = |finding: &CheckFinding| match finding.verdict {
            CheckVerdict::Skip => finding.subject.starts_with("kernel qmatmul/"),
            verdict => verdict == CheckVerdict::Pass,
        };
        assert!(report.findings.iter().all(is_fine), "{said}");
        assert!(report.findings.iter().any(|finding| finding.check == "qmatmul"), "{said}");
        println!("{said}");
    }
}

#[test]
fn what_few_plugins_have_is_checked_too() {
    let report = check(&fixture("wide")).unwrap();
    let said = lines(&report);
    let of = |subject: &str, check: &str| {
        let finding = report.findings.iter().find(|it| it.subject == subject && it.check == check);
        finding.unwrap_or_else(|| panic!("{subject}, {check}: {said}"))
    };
    // An op with an effect need not give the same twice; all else holds for everything.
    for check in ["outputs written", "determinism"] {
        let finding = of("kernel wide.tick/plain", check);
        assert_eq!(finding.verdict, CheckVerdict::Skip, "{said}");
        assert!(finding.detail.contains("need not give the same outputs each time"), "{said}");
    }
    let layout = of("encoding wide.plain", "layout");
    assert_eq!(layout.verdict, CheckVerdict::Skip, "{said}");
    assert!(layout.detail.contains("bitquilt cannot read the layout"), "{said}");
    let skipped = report.findings.iter().filter(|it| it.verdict == CheckVerdict::Skip).count();
    assert!(report.findings.iter().all(|it| it.verdict != CheckVerdict::Fail) && skipped == 3, "{said}");
    // Inputs that may be left out are tried in all ways.
    let detail = &of("kernel wide.mix/plain", "determinism").detail;
    assert!(detail.contains("gain: f32") && detail.contains("bias: f32"), "{said}");
    assert!(of("kernel qmatmul/wide-gemv for q8_0", "bounds").detail.contains("q8_0"), "{said}");
}

#[test]
fn a_plugin_for_other_memory_is_refused() {
    let dir = PluginDir::new();
    let error = check(&dir.add("elsewhere", contract("half, then another memory space"))).unwrap_err();
    assert!(error.to_string().contains("is for memory space 1; this host has space 0"), "{error}");
}

/// The subject, the one check that fails, and a part of what is said of it.
const DEFECTS: &[(&str, &str, &str)] = &[
    ("encoding defective.arithmetic", "block arithmetic", "block 1 decoded alone differs"),
    (
        "encoding defective.rows",
        "block arithmetic",
        "row 1 encoded alone differs from the same row encoded with others",
    ),
    ("encoding defective.round_trip", "round trip", "normal values come back with a relative error of 2.000"),
    ("encoding defective.claims_too_much", "round trip", "the error bound of the spec allows"),
    ("encoding defective.nan", "round trip", "normal values are decoded to values that are not finite"),
    ("encoding defective.fails", "block arithmetic", "`dequantize`: no values today"),
    ("encoding defective.unwritten", "outputs written", "`quantize` does not write byte 20 of block 0"),
    (
        "encoding defective.nondeterministic",
        "determinism",
        "`quantize` gives other bytes when it is called again, first at byte 0",
    ),
    ("encoding defective.changes_rows", "inputs left alone", "`quantize` changes `rows`"),
    ("encoding defective.changes_blocks", "inputs left alone", "`dequantize` changes `blocks`"),
    ("encoding defective.panics_on_ones", "panics", "dequantize, blocks of bytes 0xff"),
    ("encoding defective.panics_on_huge", "panics", "too large for me"),
    (
        "encoding defective.hangs_on_zeros",
        "panics",
        "it hung, and was killed after 5000 ms without an answer, at: dequantize, blocks of bytes 0x00",
    ),
    (
        "encoding defective.exits_on_zeros",
        "panics",
        "the child process exited with status 0, at: dequantize, blocks of bytes 0x00",
    ),
    (
        "encoding defective.aborts_on_zeros",
        "panics",
        "the child process was ended by SIGABRT (it aborted), at: dequantize, blocks of bytes 0x00",
    ),
    ("encoding defective.eats_memory_on_zeros", "panics", "memory allocation of 1099511627776 bytes failed"),
    (
        "encoding defective.writes_after",
        "bounds",
        "`quantize` of 1 x 32 values writes outside `dst`: byte 1 after its end",
    ),
    (
        "encoding defective.writes_before",
        "bounds",
        "`quantize` of 1 x 32 values writes outside `dst`: byte 1 before its begin",
    ),
    (
        "encoding defective.reads_far",
        "bounds",
        "the child process was ended by SIGSEGV (an invalid memory access), at: dequantize, 1 x 32 values, buffers that end before a \
         guard page: it reads or writes outside them",
    ),
    ("op defective.op_infer_panics", "panics", "so many dimensions"),
    ("op defective.op_infer_changes_its_mind", "types", "the answer is another when it is asked again"),
    ("op defective.op_no_output", "types", "there is no output"),
    ("op defective.op_unknown_encoding", "types", "has the encoding `nobody.knows`, which is not registered"),
    ("op defective.op_symbols_disagree", "types", "with symbols the outputs have the shapes [[7]]"),
    (
        "kernel defective.op_unwritten/plain",
        "outputs written",
        "byte 0 of output 0 is not written, or depends on",
    ),
    (
        "kernel defective.op_nondeterministic/plain",
        "determinism",
        "byte 0 of output 0 is another on 2 threads",
    ),
    ("kernel defective.op_threads/plain", "determinism", "byte 0 of output 0 is another on 2 threads"),
    ("kernel defective.op_joins/at0", "parts of rows", "cut after 1 and joined, is not that of whole rows"),
    (
        "kernel defective.op_serves/at1",
        "determinism",
        "`serves` answers otherwise for the same shapes another time",
    ),
    ("kernel defective.op_changes_input/plain", "inputs left alone", "input 0 is changed"),
    ("kernel defective.op_panics_on_nothing/plain", "panics", "there is nothing to do"),
    (
        "kernel defective.op_segfaults_on_nan/plain",
        "panics",
        "the child process was ended by SIGSEGV (an invalid memory access), at: run, f32 [3, 8], values that are not \
         finite and odd indices, 1 threads",
    ),
    (
        "kernel defective.op_hangs/plain",
        "outputs written",
        "it hung, and was killed after 5000 ms without an answer, at: run, f32 [3, 8]",
    ),
    ("kernel defective.op_writes_after/plain", "bounds", "it writes outside output 0: byte 1 after its end"),
    (
        "kernel defective.op_writes_before/plain",
        "bounds",
        "it writes outside output 0: byte 1 before its begin",
    ),
    (
        "kernel defective.op_scratch_overrun/plain",
        "bounds",
        "it writes outside the scratch of worker 0: after its end",
    ),
];

#[test]
fn each_defect_is_found_and_named() {
    let report = check_within(SHORT, &fixture("defective")).unwrap();
    let mut failed: BTreeMap<&str, Vec<&CheckFinding>> = BTreeMap::new();
    for finding in report.findings.iter().filter(|finding| finding.verdict == CheckVerdict::Fail) {
        failed.entry(&finding.subject).or_default().push(finding);
    }
    for (subject, check, detail) in DEFECTS {
        let of_subject = failed.remove(subject).unwrap_or_else(|| panic!("{subject} passes"));
        let found = of_subject.iter().find(|finding| finding.check == *check);
        let found = found.unwrap_or_else(|| panic!("{subject}: {check} passes, {of_subject:#?}"));
        assert!(found.detail.contains(detail), "{subject}: {check}: {}", found.detail);
    }
    // An output that has another length each time is another each time.
    failed.remove("kernel defective.op_infer_changes_its_mind/plain");
    assert!(failed.is_empty(), "no defect, but failed: {failed:#?}");

    // What was not to be tried is skipped, and says why.
    let detail = |subject: &str, check: &str| {
        let found = report.findings.iter().find(|it| it.subject == subject && it.check == check).unwrap();
        (found.verdict, found.detail.clone())
    };
    let (verdict, said) = detail("op defective.op_no_inputs", "types");
    assert_eq!(verdict, CheckVerdict::Skip);
    assert!(said.contains("no inputs found") && said.contains("that is not the password"), "{said}");
    let (verdict, said) = detail("kernel defective.op_fails/plain", "determinism");
    assert_eq!(verdict, CheckVerdict::Skip);
    assert!(said.contains("no result today"), "{said}");
}

#[test]
fn a_file_that_does_not_load_says_why() {
    let dir = PluginDir::new();
    let refused = |path: &Path| check(path).unwrap_err().to_string();
    assert_eq!(refused(&dir.add("text", "no library")), "it is text, not an ELF shared library");
    let nameless = dir.add("nameless", contract("empty plugin name"));
    assert!(refused(&nameless).starts_with("the name \"\" of the plugin is empty"));
    let aborting = dir.add("aborting", contract("constructor aborts"));
    assert_eq!(refused(&aborting), "a child process that loaded it was ended by SIGABRT (it aborted)");
}
