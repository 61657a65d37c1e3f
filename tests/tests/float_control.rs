//! Floating-point control is the host's: no plugin changes a byte or a value of anybody, and neither does what the caller has set.

#![cfg(all(target_os = "linux", any(target_arch = "x86_64", target_arch = "aarch64")))]
#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use std::path::Path;
use std::process::Command;

use bitquilt::plugin::{CheckVerdict, PluginCheck};
use bitquilt::plugin_api::host::FloatControl;
use bitquilt::{Graph, InferenceSession, Tensor, TensorType};
use bitquilt_tests::{PluginDir, c};

/// Where the fixture leaves the control changed, and the call that `plugin check` names.
const PLACES: &[(&str, &str)] = &[
    ("constructor", "a constructor of the library, or of one that it needs, leaves"),
    ("quantize", "QuantizationEncoding::quantize leaves"),
    ("dequantize", "QuantizationEncoding::dequantize leaves"),
    ("infer", "Op::infer leaves"),
    ("scratch", "Kernel::scratch leaves"),
    ("task", "a parallel task leaves"),
    ("run", "Kernel::run leaves"),
];

const HOWS: &[(&str, &str)] = &[("up", "results are rounded up"), ("zero", "below the normal")];

fn fixture(dir: &PluginDir, place: &str, how: &str) {
    let options = [format!("-DPLACE=\"{place}\""), format!("-DHOW=\"{how}\"")];
    c::build(dir.path(), "control", "tests/c/control.c", &[&options[0], &options[1]]);
}

/// Values that other controls change: ordinary ones, and some below the normal numbers.
fn weights(scale: f32) -> Tensor {
    let values = (0..4 * 256).map(|index| ((index * 37 % 101) as f32 - 50.3) * scale);
    Tensor::new([4, 256], values.collect::<Vec<f32>>()).unwrap()
}

fn twice_of(session: &InferenceSession, op: &str) -> Vec<f32> {
    let tiny = Tensor::new([64], vec![1e-39f32; 64]).unwrap();
    let mut graph = Graph::new(session.registry(), [TensorType::f32([64])]).unwrap();
    let input = graph.input(0);
    let first = match op {
        "add" => graph.op("add", [input, input]),
        _ => graph.op(op, [input]),
    }
    .unwrap();
    let halves = graph.op("add", [first, first]).unwrap();
    graph.output(halves).unwrap();
    let model = session.load(&graph).unwrap();
    let results = model.execute([("input0", &tiny)]).unwrap();
    results.get::<f32>("output0").unwrap().to_vec()
}

/// Two sets of weights; made before another control could change them.
fn all_weights() -> [Tensor; 2] {
    [weights(0.013), weights(1e-39)]
}

/// Bytes and values of all that the host computes which another control would change.
fn digest(session: &InferenceSession, weights: &[Tensor; 2]) -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    for name in ["q4_0", "q8_0", "q4_k", "mxfp4", "tq1_0", "iq4_nl", "f16"] {
        let Some(encoding) = session.registry().encoding(name) else { continue };
        for weights in weights {
            let encoded = match encoding.quantize(weights) {
                Ok(encoded) => encoded.tensor,
                // Values that an encoding does not hold are refused in the same words.
                Err(error) => {
                    all.push((name.to_owned(), error.to_string().into_bytes()));
                    continue;
                }
            };
            all.push((name.to_owned(), encoded.bytes().to_vec()));
            all.push((format!("{name} back"), encoding.dequantize(&encoded).unwrap().bytes().to_vec()));
        }
    }
    let sum: Vec<u8> = twice_of(session, "add").iter().flat_map(|value| value.to_le_bytes()).collect();
    all.push(("sums of 1e-39".to_owned(), sum));
    all
}

/// Uses all that the fixture has, in a child: what a faulty constructor does to a process cannot be undone for the next case.
fn use_in_child(dir: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_child_uses_a_directory", "--nocapture"])
        .env("BITQUILT_TEST_DIRECTORY", dir)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

#[test]
fn a_child_uses_a_directory() {
    let Some(directory) = std::env::var_os("BITQUILT_TEST_DIRECTORY") else { return };
    for threads in [1, 3] {
        let plain = InferenceSession::builder().threads(threads).build().unwrap();
        let weights = all_weights();
        let expected = digest(&plain, &weights);
        let session = InferenceSession::builder().threads(threads).plugin_dir(&directory).build().unwrap();
        assert_eq!(session.refusals(), []);
        assert_eq!(FloatControl::current(), FloatControl::DEFAULT, "loading");
        for _ in 0..3 {
            if let Some(encoding) = session.registry().encoding("control.raw") {
                let encoded = encoding.quantize(&weights[1]).unwrap().tensor;
                let decoded = encoding.dequantize(&encoded).unwrap();
                assert_eq!(decoded.bytes(), weights[1].bytes());
                let four = 4.0 * 1e-39f32;
                assert_eq!(twice_of(&session, "control.twice"), vec![four; 64], "{threads} threads");
            }
            assert_eq!(FloatControl::current(), FloatControl::DEFAULT);
            for ((what, expected), (_, found)) in expected.iter().zip(&digest(&session, &weights)) {
                assert_eq!(expected, found, "{what}, {threads} threads");
            }
        }
        for ((what, expected), (_, found)) in expected.iter().zip(&digest(&plain, &weights)) {
            assert_eq!(expected, found, "{what} in the session without plugins, {threads} threads");
        }
    }
    println!("the same");
}

#[test]
fn nothing_that_a_plugin_leaves_changes_a_byte() {
    for (place, _) in PLACES {
        for (how, _) in HOWS {
            let dir = PluginDir::new();
            fixture(&dir, place, how);
            assert!(use_in_child(dir.path()).contains("the same"), "{place} {how}");
        }
    }
}

#[test]
fn a_library_that_was_linked_with_fast_math_changes_no_byte() {
    let dir = PluginDir::new();
    c::build(dir.path(), "acme_c", "examples/c-plugin/acme.c", &["-ffast-math"]);
    assert!(use_in_child(dir.path()).contains("the same"));
}

#[test]
fn the_check_names_the_call() {
    for (place, call) in PLACES {
        for (how, meaning) in HOWS {
            let dir = PluginDir::new();
            fixture(&dir, place, how);
            let report = PluginCheck::program(env!("CARGO_BIN_EXE_test-host"))
                .run(&dir.file("control"), &mut |_| {})
                .unwrap();
            let failed = report.findings.iter().filter(|finding| finding.verdict == CheckVerdict::Fail);
            let failed: Vec<_> =
                failed.map(|it| format!("{}: {}: {}", it.subject, it.check, it.detail)).collect();
            assert!(!failed.is_empty(), "{place} {how} passes");
            for said in &failed {
                let fits = said.contains("float control") && said.contains(call) && said.contains(meaning);
                assert!(fits, "{place} {how}: {failed:#?}");
            }
        }
    }
}

/// Sets this thread's control as a C program would, for the time of a call.
#[cfg(target_env = "gnu")]
fn rounding_up<T>(call: impl FnOnce() -> T) -> T {
    unsafe extern "C" {
        fn fesetround(mode: i32) -> i32;
    }
    let (upward, nearest) = if cfg!(target_arch = "x86_64") { (0x800, 0) } else { (0x40_0000, 0) };
    // SAFETY: sets this thread's rounding, which is put back before anything of this test computes.
    unsafe { fesetround(upward) };
    let set = FloatControl::current();
    let answer = call();
    let kept = FloatControl::current();
    // SAFETY: as above.
    unsafe { fesetround(nearest) };
    assert_ne!(set, FloatControl::DEFAULT);
    assert_eq!(kept, set, "the caller's own control is put back");
    answer
}

#[test]
#[cfg(target_env = "gnu")]
fn a_caller_s_own_control_changes_nothing() {
    for threads in [1, 3] {
        let make = || InferenceSession::builder().threads(threads).build().unwrap();
        let weights = all_weights();
        let expected = digest(&make(), &weights);
        // The session's threads are started by a thread that rounds up.
        assert!(rounding_up(|| digest(&make(), &weights)) == expected, "{threads} threads");
    }
}
