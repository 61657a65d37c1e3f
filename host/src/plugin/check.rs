//! Running the conformance kit on a library, in child processes with limits.
//!
//! One child lists what the plugin has; then each encoding, op and kernel has a child of its own. A child writes what it is about
//! to do into a file, so that when it ends or hangs it is known where; the checks it did not come to are run in another child.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bitquilt_plugin_kit::Conformance;
use bitquilt_plugin_kit::conformance::{Check, Subject, Verdict};
use bitquilt_simd::Isa;
use serde::{Deserialize, Serialize};

use super::child::{self, End, Limits, Outcome};
use super::loader::{self, Loader};
use super::preflight::{self, FileReport, PreflightError};
use crate::registry::Registry;

/// Tells a child which file to check. A process that has it set checks, and exits.
const CHILD_VARIABLE: &str = "BITQUILT_CHECK_CHILD";
/// The file that a child writes events into.
const EVENTS_VARIABLE: &str = "BITQUILT_CHECK_EVENTS";
/// What a child is to do: an [`Order`].
const ORDER_VARIABLE: &str = "BITQUILT_CHECK_ORDER";
/// Processor time that a child may use, as a multiple of the time limit of a call.
const PROCESSOR_TIMES: u64 = 60;

/// A subject that has hung so often is not tried further.
const MAX_HANGS: u32 = 2;

/// Checks plugins in child processes, with limits on time and memory.
#[derive(Clone, Debug)]
pub struct PluginCheck {
    program: PathBuf,
    time_limit: Duration,
    memory_limit: u64,
}

/// What the checks of a plugin found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckReport {
    /// The plugin's name.
    pub plugin: String,
    /// The plugin's version.
    pub version: String,
    /// A finding for each check.
    pub findings: Vec<CheckFinding>,
}

/// A check, and how it came out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckFinding {
    /// What was checked: `encoding acme.int3`, `kernel acme.sum/plain`.
    pub subject: String,
    /// For what: `round trip`.
    pub check: String,
    /// How it came out.
    pub verdict: CheckVerdict,
    /// What was seen, what is wrong and where, or why it could not be checked.
    pub detail: String,
}

/// How a check came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CheckVerdict {
    /// The promise is kept.
    Pass,
    /// It is broken.
    Fail,
    /// It could not be checked.
    Skip,
}

/// Why a plugin could not be checked at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// It is not opened.
    #[error(transparent)]
    File(#[from] PreflightError),
    /// A host does not load it.
    #[error("{reason}")]
    Refused {
        /// Why.
        reason: String,
    },
    /// The child that loaded it did not live to say what it has.
    #[error("a child process that loaded it {end}{}", said(.last_words))]
    Ended {
        /// How it ended.
        end: End,
        /// The last line it wrote.
        last_words: String,
    },
    /// No child could be started, or none that answers.
    #[error("no child process to check it in could be run with {}: {source}", .program.display())]
    NoChild {
        /// The program that was to be started.
        program: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; its last words: {words}") }
}

impl CheckReport {
    /// The number of findings of a verdict.
    pub fn count(&self, verdict: CheckVerdict) -> usize {
        self.findings.iter().filter(|finding| finding.verdict == verdict).count()
    }
}

/// What a child does.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Order {
    /// The subject that is checked; none to list them.
    subject: Option<usize>,
    /// The first of its checks that is run.
    first: usize,
    memory: u64,
    processor: u64,
}

/// What a child says, a line each.
#[derive(Serialize, Deserialize)]
enum Event {
    Plugin { name: String, version: String, subjects: Vec<Listed> },
    Refused(String),
    Begin(usize),
    At(String),
    End { verdict: CheckVerdict, detail: String },
}

/// A subject, and the names of its checks.
#[derive(Serialize, Deserialize)]
struct Listed {
    subject: String,
    checks: Vec<String>,
}

impl PluginCheck {
    /// Checks in children that are this program, which has to call [`child_main`](super::child_main) before anything else.
    pub fn new() -> io::Result<Self> {
        Ok(Self::program(std::env::current_exe()?))
    }

    /// Checks in children that are another program, which has to call [`child_main`](super::child_main) before anything else.
    pub fn program(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into(), time_limit: Duration::from_secs(10), memory_limit: 4 << 30 }
    }

    /// Sets the time after which a call of the plugin is taken to hang; 10 seconds otherwise.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets the bytes of address space of a child; 4 GiB otherwise.
    #[must_use]
    pub fn memory_limit(mut self, bytes: u64) -> Self {
        self.memory_limit = bytes;
        self
    }

    /// Checks the plugin in a file; `found` is told each finding as soon as there is one.
    pub fn run(&self, path: &Path, found: &mut dyn FnMut(&CheckFinding)) -> Result<CheckReport, CheckError> {
        let file = preflight::preflight(path)?;
        let (events, outcome) = self.child(&file, None, 0)?;
        let listed = events.into_iter().find_map(|event| match event {
            Event::Plugin { name, version, subjects } => Some(Ok((name, version, subjects))),
            Event::Refused(reason) => Some(Err(CheckError::Refused { reason })),
            _ => None,
        });
        let (plugin, version, subjects) = listed.unwrap_or_else(|| {
            Err(CheckError::Ended { last_words: child::last_line(&outcome.stderr), end: outcome.end })
        })?;
        let mut report = CheckReport { plugin, version, findings: Vec::new() };
        for (index, listed) in subjects.iter().enumerate() {
            let (mut done, mut hung) = (0, 0);
            while done < listed.checks.len() {
                let verdicts = if hung < MAX_HANGS {
                    let (events, outcome) = self.child(&file, Some(index), done)?;
                    hung += u32::from(matches!(outcome.end, End::TimedOut(_)));
                    verdicts(events, &outcome)
                } else {
                    vec![(CheckVerdict::Skip, format!("it hung in {hung} checks before this one"))]
                };
                for (verdict, detail) in verdicts {
                    let Some(check) = listed.checks.get(done) else { break };
                    let (subject, check) = (listed.subject.clone(), check.clone());
                    report.findings.push(CheckFinding { subject, check, verdict, detail });
                    report.findings.last().into_iter().for_each(&mut *found);
                    done += 1;
                }
            }
        }
        Ok(report)
    }

    fn child(
        &self,
        file: &FileReport,
        subject: Option<usize>,
        first: usize,
    ) -> Result<(Vec<Event>, Outcome), CheckError> {
        let failed = |source: io::Error| CheckError::NoChild { program: self.program.clone(), source };
        let events = tempfile::NamedTempFile::new().map_err(failed)?;
        let processor = self.time_limit.as_secs().max(1).saturating_mul(PROCESSOR_TIMES);
        let order = Order { subject, first, memory: self.memory_limit, processor };
        let mut command = Command::new(&self.program);
        command
            .env("RUST_BACKTRACE", "0")
            .env(CHILD_VARIABLE, &file.resolved)
            .env(EVENTS_VARIABLE, events.path())
            .env(ORDER_VARIABLE, serde_json::to_string(&order).map_err(|error| failed(error.into()))?);
        let length = || events.as_file().metadata().map_or(0, |metadata| metadata.len());
        let outcome = child::run_watched(&mut command, self.time_limit, length).map_err(failed)?;
        let text = fs::read(events.path()).map_err(failed)?;
        let lines = text.split(|byte| *byte == b'\n');
        // The last line may be half written.
        let events: Vec<Event> = lines.filter_map(|line| serde_json::from_slice(line).ok()).collect();
        if events.is_empty() && matches!(outcome.end, End::Exited(_)) {
            let silent = "it must call `bitquilt::plugin::child_main` first";
            return Err(failed(io::Error::other(silent)));
        }
        Ok((events, outcome))
    }
}

/// What a child's events and end say of its checks, in order: at least one verdict.
fn verdicts(events: Vec<Event>, outcome: &Outcome) -> Vec<(CheckVerdict, String)> {
    let (mut verdicts, mut begun, mut place) = (Vec::new(), None, String::new());
    for event in events {
        match event {
            Event::Begin(_) => (begun, place) = (Some(()), String::new()),
            Event::At(text) => place = text,
            Event::End { verdict, detail } => {
                verdicts.push((verdict, detail));
                begun = None;
            }
            Event::Plugin { .. } | Event::Refused(_) => {}
        }
    }
    if begun.is_some() || verdicts.is_empty() {
        let outside = match outcome.end {
            End::Signalled(_) if place.contains("guard page") => ": it reads or writes outside them",
            _ => "",
        };
        let place =
            if place.is_empty() { "before its first call".to_owned() } else { format!("at: {place}") };
        let words = said(&child::last_line(&outcome.stderr));
        let detail = match &outcome.end {
            End::TimedOut(limit) => {
                format!("it hung, and was killed after {} ms without an answer, {place}", limit.as_millis())
            }
            end => format!("the child process {end}, {place}{outside}{words}"),
        };
        verdicts.push((CheckVerdict::Fail, detail));
    }
    verdicts
}

/// Checks what this process was started to check, and exits; returns at once in any other process.
pub(super) fn child_main() {
    let (Some(path), Some(events), Ok(order)) =
        (std::env::var_os(CHILD_VARIABLE), std::env::var_os(EVENTS_VARIABLE), std::env::var(ORDER_VARIABLE))
    else {
        return;
    };
    let (Ok(order), Ok(events)) =
        (serde_json::from_str::<Order>(&order), File::options().append(true).open(events))
    else {
        std::process::exit(2);
    };
    child::limit_this_process(Limits { memory: Some(order.memory), processor: Some(order.processor) });
    let say = Events(events);
    let done = match order.subject {
        None => list(Path::new(&path), &say),
        Some(subject) => check(Path::new(&path), subject, order.first, &say),
    };
    if let Err(reason) = done {
        say.event(&Event::Refused(reason));
    }
    std::process::exit(0);
}

/// Where a child writes events. Each is one write, which the system keeps whatever becomes of the child.
struct Events(File);

impl Events {
    fn event(&self, event: &Event) {
        if let Ok(mut line) = serde_json::to_vec(event) {
            line.push(b'\n');
            let _ = (&self.0).write_all(&line);
        }
    }
}

fn list(path: &Path, events: &Events) -> Result<(), String> {
    // A host would load it: names, signatures and blocks make sense.
    let mut registry = Registry::default();
    let plugin = Loader::new(&mut registry).file(path).map_err(|refusal| refusal.reason.to_string())?;
    let listed = |subject: &Subject| Listed {
        subject: subject.to_string(),
        checks: Check::all_of(subject).iter().map(ToString::to_string).collect(),
    };
    let subjects = conformance(path)?.subjects().iter().map(listed).collect();
    events.event(&Event::Plugin { name: plugin.name.clone(), version: plugin.version.clone(), subjects });
    Ok(())
}

fn check(path: &Path, subject: usize, first: usize, events: &Events) -> Result<(), String> {
    let conformance = conformance(path)?;
    let subjects = conformance.subjects();
    let subject =
        subjects.get(subject).ok_or("the plugin registers another time less than the first time")?;
    for (index, check) in Check::all_of(subject).iter().enumerate().skip(first) {
        events.event(&Event::Begin(index));
        let verdict = conformance.check(subject, *check, &|place| events.event(&Event::At(place.to_owned())));
        let (verdict, detail) = match verdict {
            Verdict::Passed(detail) => (CheckVerdict::Pass, detail),
            Verdict::Failed(detail) => (CheckVerdict::Fail, detail),
            Verdict::Skipped(detail) => (CheckVerdict::Skip, detail),
        };
        events.event(&Event::End { verdict, detail });
    }
    Ok(())
}

/// The kit with the plugin of a file, and the built-in ones beside it.
fn conformance(path: &Path) -> Result<Conformance, String> {
    let file = preflight::preflight(path).map_err(|error| error.to_string())?;
    let library = loader::open(&file).map_err(|error| error.to_string())?;
    let mut conformance = Conformance::registered_by(|registrar| library.register(registrar))
        .map_err(|error| error.to_string())?;
    for plugin in crate::builtin_plugins(Isa::detect()) {
        conformance = conformance.beside(plugin).map_err(|error| error.to_string())?;
    }
    Ok(conformance)
}
