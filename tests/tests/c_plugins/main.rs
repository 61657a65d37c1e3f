//! Plugins in C load and run like any other, and what makes no sense in them is refused with a sentence.

#![allow(clippy::unwrap_used, reason = "helpers of tests may unwrap")]

use std::path::Path;

use bitquilt::InferenceSession;
use bitquilt::plugin::{CheckVerdict, PluginCheck};
use bitquilt_tests::PluginDir;

mod examples;
mod faults;
mod full;

fn values(count: usize) -> Vec<f32> {
    (0..count).map(|index| ((index * 37 % 101) as f32 - 50.0) / 25.0).collect()
}

fn session(dir: &PluginDir) -> InferenceSession {
    let session = InferenceSession::builder().threads(2).plugin_dir(dir.path()).build().unwrap();
    assert_eq!(session.refusals(), []);
    session
}

/// Checks that the conformance kit finds nothing wrong, and tries something of each kernel.
fn conforms(path: &Path) {
    let report = PluginCheck::program(env!("CARGO_BIN_EXE_test-host")).run(path, &mut |_| {}).unwrap();
    let failed = report.findings.iter().filter(|finding| finding.verdict == CheckVerdict::Fail);
    let failed: Vec<_> = failed.map(|it| format!("{} {}: {}", it.subject, it.check, it.detail)).collect();
    assert_eq!(failed, [""; 0]);
    assert!(report.findings.iter().any(|it| it.verdict == CheckVerdict::Pass));
}
