//! Loading a plugin in a child process first, so that one that ends its process ends the child alone.
//!
//! The child is this program, or another that calls [`child_main`](super::child_main) first. It does all that loading does, writes its verdict, and
//! exits. The verdict is kept in the user's cache directory under the file's identity (path, inode, size, times), so that
//! each file costs one child. A child that found a plugin wanting is asked again the next time: a library that it needs may have
//! been installed since.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::child::{self, End};
use super::preflight::{FileReport, PreflightError};
use super::verdicts::{self, Verdict};
use crate::file::{cache_directory, is_elevated};

/// Tells a child what to load. A process that has it set starts no children.
pub(super) const CHILD_VARIABLE: &str = "BITQUILT_PROBE_CHILD";
/// Begins the child's last line.
pub(super) const MARK: &str = "bitquilt-probe:";
pub(super) const PASSED: &str = "passed";

/// How plugins are probed.
#[derive(Clone, Debug)]
pub struct PluginProbe {
    program: PathBuf,
    arguments: Vec<OsString>,
    time_limit: Duration,
    cache: Option<PathBuf>,
}

/// Why a probe did not let a plugin pass.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProbeError {
    /// The child loaded it and found it wanting.
    #[error("{reason}")]
    Refused {
        /// What the loader said there.
        reason: String,
    },
    /// The child did not live to say.
    #[error("a child process that loaded it {end}{}", said(.last_words))]
    Ended {
        /// How it ended.
        end: End,
        /// The last line it wrote.
        last_words: String,
    },
    /// A child did not live to say, at an earlier time.
    #[error("a child process that loaded it {how} when it was probed last; delete {} to try again", .cache.display())]
    Remembered {
        /// How it ended.
        how: String,
        /// The file that remembers.
        cache: PathBuf,
    },
    /// There is no child.
    #[error("no child process to probe it in could be started with {}: {reason}", .program.display())]
    NoChild {
        /// The program that was to be started.
        program: PathBuf,
        /// What the system says.
        reason: String,
    },
    /// The child says nothing of what a probe says.
    #[error("{} answered no probe: it must call `bitquilt::plugin::child_main` first", .program.display())]
    NoAnswer {
        /// The program that was started.
        program: PathBuf,
    },
}

fn said(words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("; its last words: {words}") }
}

impl PluginProbe {
    /// A probe whose children are this program, which has to call [`child_main`](super::child_main) before anything else. Verdicts are kept in
    /// the user's cache directory.
    pub fn new() -> std::io::Result<Self> {
        Ok(Self::program(std::env::current_exe()?))
    }

    /// A probe whose children are another program, which has to call [`child_main`](super::child_main) before anything else.
    pub fn program(program: impl Into<PathBuf>) -> Self {
        let cache = cache_directory().map(|base| base.join("probes"));
        let (program, time_limit) = (program.into(), Duration::from_secs(10));
        Self { program, arguments: Vec::new(), time_limit, cache }
    }

    /// The arguments that the child is started with; none if they are not set.
    #[must_use]
    pub fn arguments(mut self, arguments: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        self.arguments = arguments.into_iter().map(Into::into).collect();
        self
    }

    /// Sets how long a child may take; 10 seconds if it is not set.
    #[must_use]
    pub fn time_limit(mut self, limit: Duration) -> Self {
        self.time_limit = limit;
        self
    }

    /// Sets the directory that keeps verdicts; none keeps none.
    #[must_use]
    pub fn cache(mut self, directory: Option<PathBuf>) -> Self {
        self.cache = directory;
        self
    }

    /// Why verdicts are not kept; none if they are.
    pub fn cache_problem(&self) -> Option<PreflightError> {
        verdicts::check_directory(self.cache.as_deref()?).err()
    }

    /// Answers whether a file that passed the preflight can be loaded without harm.
    pub(super) fn check(&self, report: &FileReport) -> Result<(), ProbeError> {
        let reason = if is_elevated() {
            Some(
                "this process has more rights than its user, so that a child could not trust what it is told",
            )
        } else if std::env::var_os(CHILD_VARIABLE).is_some() {
            Some("this process is such a child itself")
        } else {
            None
        };
        if let Some(reason) = reason {
            return Err(ProbeError::NoChild { program: self.program.clone(), reason: reason.to_owned() });
        }
        let cached = self.cache.as_ref().map(|directory| Verdict::new(directory, report));
        match cached.as_ref().and_then(Verdict::read) {
            Some(verdict) if verdict == PASSED => return Ok(()),
            Some(how) => {
                let cache = cached.map(|cached| cached.path).unwrap_or_default();
                return Err(ProbeError::Remembered { how, cache });
            }
            None => {}
        }
        let verdict = self.run(&report.resolved);
        if let Some(cached) = &cached {
            match &verdict {
                Ok(()) => cached.write(PASSED),
                Err(ProbeError::Ended { end, .. }) => cached.write(&end.to_string()),
                Err(_) => {}
            }
        }
        verdict
    }

    fn run(&self, path: &Path) -> Result<(), ProbeError> {
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).env(CHILD_VARIABLE, path);
        let outcome = child::run(&mut command, self.time_limit).map_err(|error| ProbeError::NoChild {
            program: self.program.clone(),
            reason: error.to_string(),
        })?;
        let stdout = String::from_utf8_lossy(&outcome.stdout);
        let answer = stdout.lines().rev().find_map(|line| line.strip_prefix(MARK)).map(str::trim);
        match (answer, &outcome.end) {
            (Some(PASSED), End::Exited(0)) => Ok(()),
            (Some(reason), End::Exited(_)) if reason != PASSED && reason != BEGUN => {
                Err(ProbeError::Refused { reason: reason.to_owned() })
            }
            (None, End::Exited(_)) => Err(ProbeError::NoAnswer { program: self.program.clone() }),
            _ => Err(ProbeError::Ended { end: outcome.end, last_words: child::last_line(&outcome.stderr) }),
        }
    }
}

/// What a child says before it loads anything.
pub(super) const BEGUN: &str = "begun";
