//! What a file is, found by reading it: whether it is a plugin that this host may open, and if not, why.
//!
//! Opening a library runs its constructors, and a damaged one ends the process in the dynamic linker. So a file is read as bytes
//! first. What passes can still misbehave once it runs; that is what the [probe](super::probe) is for.

use std::fmt::{self, Display, Formatter};
use std::fs::{self, Metadata};
use std::io;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use bitquilt_c_bridge::C_ENTRY_SYMBOL;
use bitquilt_plugin_api::host::ENTRY_SYMBOL;

use super::format::{self, Contents};
use super::held::HeldFile;
use super::ownership;
use super::source::Source;

/// The longest file that is taken for a plugin.
const MAX_FILE: u64 = 1 << 30;

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
    pub refusal: Option<FileError>,
    pub(super) held: HeldFile,
}

/// The kinds of plugin library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Built with `export_plugin!`.
    Rust,
    /// Written in C, against `bitquilt.h`.
    C,
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

/// Why a file is not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// There is nothing of this name.
    #[error("there is no such file")]
    Missing,
    /// A symbolic link leads nowhere.
    #[error("it is a symbolic link to {}, which does not exist", .target.display())]
    Dangling {
        /// Where it leads.
        target: PathBuf,
    },
    /// Symbolic links lead in a circle.
    #[error("it is a symbolic link that leads back to itself")]
    Loop,
    /// It is a directory, device, pipe or socket.
    #[error("it is {kind}, not a regular file")]
    NotAFile {
        /// What it is.
        kind: &'static str,
    },
    /// The system does not let this process read it.
    #[error("it cannot be read: {reason}")]
    Unreadable {
        /// What the system says.
        reason: String,
    },
    /// It has no bytes, or too many.
    #[error("it has {size} bytes; a plugin has 1 to {MAX_FILE}")]
    Size {
        /// Its length.
        size: u64,
    },
    /// It is no shared library of this system.
    #[error("it is {found}, not {expected}")]
    Format {
        /// What it seems to be.
        found: String,
        /// What this system takes.
        expected: &'static str,
    },
    /// It is for another machine.
    #[error("it is built for {found}, this host is {expected}; build it for this machine")]
    Machine {
        /// What it is for.
        found: String,
        /// What this host is.
        expected: String,
    },
    /// The dynamic linker would read outside the file, or write where it cannot.
    #[error("the file is damaged: {what}")]
    Damaged {
        /// What is wrong.
        what: String,
    },
    /// It is a library, but no plugin.
    #[error(
        "it is a shared library, but no plugin: it does not export `{ENTRY_SYMBOL}` (see `export_plugin!`) or `{C_ENTRY_SYMBOL}` (see bitquilt.h)"
    )]
    NoEntry,
    /// The entry symbol is not the data it should be.
    #[error("its symbol `{symbol}` is no plugin's: {problem}")]
    Entry {
        /// The symbol.
        symbol: &'static str,
        /// What is wrong with it.
        problem: String,
    },
    /// Somebody else can change what it does.
    #[error("{} {problem}, so somebody else could change what this program runs; {remedy}", .path.display())]
    Untrusted {
        /// The file, or a directory it is in.
        path: PathBuf,
        /// Who owns it, or who can write to it.
        problem: String,
        /// What to do.
        remedy: String,
    },
}

/// Reads what stands in a file about it. An error if it is no file, or none that can be read; whether it may be opened is in the
/// report.
pub fn inspect(path: &Path) -> Result<FileReport, FileError> {
    regular(&fs::metadata(path).map_err(|error| not_found(path, &error))?)?;
    let trail = ownership::follow(path).map_err(|error| not_found(path, &error))?;
    let held = HeldFile::open(&trail.resolved).map_err(unreadable)?;
    let metadata = held.file().metadata().map_err(unreadable)?;
    regular(&metadata)?;
    let size = metadata.len();
    if size == 0 || size > MAX_FILE {
        return Err(FileError::Size { size });
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
fn check_held(path: &Path, held: &HeldFile, file: &Metadata) -> Result<(), FileError> {
    ownership::check(path, file)?;
    let directory = held.directory().map_err(unreadable)?;
    ownership::check(path.parent().unwrap_or(path), &directory)
}

/// Reads a file, and answers why it is not opened, if it is not.
pub fn preflight(path: &Path) -> Result<FileReport, FileError> {
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

fn not_found(path: &Path, error: &io::Error) -> FileError {
    #[cfg(unix)]
    if error.raw_os_error() == Some(libc::ELOOP) {
        return FileError::Loop;
    }
    match (error.kind(), fs::read_link(path)) {
        (io::ErrorKind::NotFound, Ok(target)) => FileError::Dangling { target },
        (io::ErrorKind::NotFound, Err(_)) => FileError::Missing,
        _ => FileError::Unreadable { reason: error.to_string() },
    }
}

fn unreadable(error: io::Error) -> FileError {
    FileError::Unreadable { reason: error.to_string() }
}

/// An error for what is no regular file.
fn regular(metadata: &Metadata) -> Result<(), FileError> {
    irregular(metadata).map_or(Ok(()), |kind| Err(FileError::NotAFile { kind }))
}

fn irregular(metadata: &Metadata) -> Option<&'static str> {
    let kind = metadata.file_type();
    #[cfg(unix)]
    {
        use std::os::unix::fs::FileTypeExt;
        if kind.is_fifo() {
            return Some("a pipe");
        }
        if kind.is_socket() {
            return Some("a socket");
        }
        if kind.is_char_device() || kind.is_block_device() {
            return Some("a device");
        }
    }
    match (kind.is_file(), kind.is_dir()) {
        (true, _) => None,
        (_, true) => Some("a directory"),
        _ => Some("something else"),
    }
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

impl Display for Entry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "export_plugin!",
            Self::C => "bitquilt.h",
        })
    }
}
