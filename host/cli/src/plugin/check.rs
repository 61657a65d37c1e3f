//! `bitquilt plugin check`

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use bitquilt::plugin::{CheckFinding, CheckVerdict, PluginCheck};
use clap::Args;
use miette::{IntoDiagnostic, miette};
use serde_json::json;

use crate::output::{print_json, print_line};

/// Runs every encoding, op and kernel of a plugin in child processes, and says which promises to the host it keeps.
///
/// A line for each check: block arithmetic, the round trip of 12 distributions and of edge values with its error, outputs wholly
/// written, the same outputs in each call and for each number of threads, inputs left alone, no panics, `qmatmul` by the generic
/// kernel against the decoded weight, nothing read or written outside the buffers, which stand beside guard pages, and no call, nor
/// loading it, that leaves the thread's floating-point control changed. Inputs of ops are found by trying what they take. A child that crashes or hangs is said to, and where; the checks after it are run in another.
///
/// Exit codes: 0 no check failed, 1 one did or the file is no plugin, 2 the command line is wrong.
#[derive(Args)]
pub struct CheckArguments {
    /// The library.
    file: PathBuf,
    /// Prints JSON, when all checks are done.
    #[arg(long)]
    json: bool,
    /// Seconds after which a call of the plugin is taken to hang.
    #[arg(long, value_name = "SECONDS", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=3600))]
    time: u32,
    /// MiB of address space of a child.
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u32).range(256..))]
    memory: u32,
}

impl CheckArguments {
    /// Does it.
    pub fn execute(&self) -> miette::Result<ExitCode> {
        let check = PluginCheck::new()
            .into_diagnostic()?
            .time_limit(Duration::from_secs(self.time.into()))
            .memory_limit(u64::from(self.memory) << 20);
        let mut printed = Ok(());
        let mut found = |finding: &CheckFinding| {
            if !self.json && printed.is_ok() {
                printed = print(finding);
            }
        };
        let report =
            check.run(&self.file, &mut found).map_err(|error| miette!("{}: {error}", self.file.display()))?;
        printed?;
        let [passed, failed, skipped] =
            [CheckVerdict::Pass, CheckVerdict::Fail, CheckVerdict::Skip].map(|verdict| report.count(verdict));
        if self.json {
            let all = json!({
                "file": self.file.display().to_string(),
                "plugin": report.plugin,
                "version": report.version,
                "passed": passed,
                "failed": failed,
                "skipped": skipped,
                "findings": report.findings,
            });
            print_json(&all)?;
        } else {
            print_line(format_args!(
                "{} {}: {passed} passed, {failed} failed, {skipped} skipped",
                report.plugin, report.version
            ))?;
        }
        Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }
}

fn print(finding: &CheckFinding) -> miette::Result<()> {
    let verdict = match finding.verdict {
        CheckVerdict::Pass => "pass",
        CheckVerdict::Fail => "FAIL",
        CheckVerdict::Skip => "skip",
    };
    let CheckFinding { subject, check, detail, .. } = finding;
    print_line(format_args!("{verdict}  {subject:32}  {check:17}  {detail}"))
}
