//! What a file is, found by reading it: whether it is a plugin that this host may open, and if not, why.
//!
//! Opening a library runs its constructors, and a damaged one ends the process in the dynamic linker. So a file is read as bytes
//! first. What passes can still misbehave once it runs; that is what the [probe](crate::plugin::PluginProbe) is for.

mod elf;
mod error;
mod format;
mod held;
mod library;
pub(super) mod ownership;
mod source;

use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

pub use error::PreflightError;
pub(super) use held::HeldFile;
pub use library::Entry;

use error::MAX_FILE;
use library::Contents;
use source::Source;

use crate::file::irregular;

/// What is known of a file without running any of its code.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct FileReport {
    /// The path it was asked for by.
    pub path: PathBuf,
    /// The path of the file itself: absolute, without symbolic links.
    pub resolved: PathBuf,
    /// What tells this file from another, and from a later one of its name.
    pub identity: FileIdentity,
    /// Its format: `64-bit ELF`, `Mach-O`.
    pub format: String,
    /// The machine it is for, as [`std::env::consts::ARCH`] names it.
    pub architecture: String,
    /// The kind of plugin it says it is; none for another library.
    pub entry: Option<Entry>,
    /// The version of plugin-api, or of `bitquilt.h`, it was built with, if it says so.
    pub api_version: Option<String>,
    /// Libraries it needs.
    pub needed: Vec<String>,
    /// Why this host does not open it; none if it may.
    pub refusal: Option<PreflightError>,
    pub(super) held: HeldFile,
}

/// What tells a file from another, and from a later one of its name. Its bytes are not read for it: no other file has its inode
/// while it is there, and what is written to it changes its times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileIdentity {
    /// Its length in bytes.
    pub size: u64,
    /// When it was last written.
    pub modified: SystemTime,
    /// Device and inode, where there are such.
    pub inode: Option<(u64, u64)>,
    /// When it, or what is known of it, was last changed, in nanoseconds since 1970; nobody can set this time. None where there is no
    /// such time.
    pub changed: Option<i128>,
}

/// Reads what stands in a file about it. An error if it is no file, or none that can be read; whether it may be opened is in the
/// report.
pub fn inspect(path: &Path) -> Result<FileReport, PreflightError> {
    regular(&fs::metadata(path).map_err(|error| not_found(path, &error))?)?;
    let trail = ownership::follow(path).map_err(|error| not_found(path, &error))?;
    let held = HeldFile::open(&trail.resolved).map_err(unreadable)?;
    let metadata = held.file().metadata().map_err(unreadable)?;
    regular(&metadata)?;
    let size = metadata.len();
    if size == 0 || size > MAX_FILE {
        return Err(PreflightError::Size { size });
    }
    let source = Source::new(held.file(), size);
    let mut report = FileReport {
        path: path.to_owned(),
        identity: identity(&metadata),
        format: format::describe(source.whole()),
        architecture: String::new(),
        entry: None,
        api_version: None,
        needed: Vec::new(),
        refusal: None,
        resolved: trail.resolved,
        held: held.clone(),
    };
    match format::read(&source) {
        Ok(contents) => {
            let Contents { architecture, entry, api_version, needed, refusal } = contents;
            (report.architecture, report.entry, report.api_version) = (architecture, entry, api_version);
            (report.needed, report.refusal) = (needed, refusal);
        }
        Err(error) => report.refusal = Some(error),
    }
    if report.refusal.is_none() {
        report.refusal = match trail.problem {
            Some(problem) => Some(problem),
            None => check_held(&report.resolved, &held, &metadata).err(),
        };
    }
    Ok(report)
}

/// Checks the file that is open, and the directory that it was opened in.
fn check_held(path: &Path, held: &HeldFile, file: &Metadata) -> Result<(), PreflightError> {
    ownership::check(path, file)?;
    let directory = held.directory().map_err(unreadable)?;
    ownership::check(path.parent().unwrap_or(path), &directory)
}

/// Reads a file, and answers why it is not opened, if it is not.
pub fn preflight(path: &Path) -> Result<FileReport, PreflightError> {
    let report = inspect(path)?;
    match report.refusal {
        Some(error) => Err(error),
        None => Ok(report),
    }
}

/// Whether the file that was read still has its name, and is as it was.
pub(super) fn same_file(report: &FileReport) -> bool {
    report.held.entry().is_ok_and(|metadata| identity(&metadata) == report.identity)
}

fn not_found(path: &Path, error: &io::Error) -> PreflightError {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::ELOOP) {
        return PreflightError::Loop;
    }
    match (error.kind(), fs::read_link(path)) {
        (io::ErrorKind::NotFound, Ok(target)) => PreflightError::Dangling { target },
        (io::ErrorKind::NotFound, Err(_)) => PreflightError::Missing,
        _ => PreflightError::Unreadable { reason: error.to_string() },
    }
}

fn unreadable(error: io::Error) -> PreflightError {
    PreflightError::Unreadable { reason: error.to_string() }
}

/// An error for what is no regular file.
fn regular(metadata: &Metadata) -> Result<(), PreflightError> {
    irregular(metadata.file_type()).map_or(Ok(()), |kind| Err(PreflightError::NotAFile { kind }))
}

fn identity(metadata: &Metadata) -> FileIdentity {
    FileIdentity {
        size: metadata.len(),
        modified: metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        inode: inode_of(metadata),
        changed: changed(metadata),
    }
}

#[cfg(unix)]
fn inode_of(metadata: &Metadata) -> Option<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    Some((metadata.dev(), metadata.ino()))
}

#[cfg(not(unix))]
fn inode_of(_: &Metadata) -> Option<(u64, u64)> {
    None
}

#[cfg(unix)]
fn changed(metadata: &Metadata) -> Option<i128> {
    use std::os::unix::fs::MetadataExt;
    Some(i128::from(metadata.ctime()) * 1_000_000_000 + i128::from(metadata.ctime_nsec()))
}

#[cfg(not(unix))]
fn changed(_: &Metadata) -> Option<i128> {
    None
}
