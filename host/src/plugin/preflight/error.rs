//! Why a file is not opened.

use std::path::PathBuf;

use bitquilt_c_bridge::C_ENTRY_SYMBOL;
use bitquilt_plugin_api::host::ENTRY_SYMBOL;

/// The longest file that is taken for a plugin.
pub(super) const MAX_FILE: u64 = 1 << 30;

/// Why a file is not opened.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PreflightError {
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
