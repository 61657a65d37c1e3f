//! Why a file was not read or written.

use std::fs::FileType;
use std::io;
use std::path::{Path, PathBuf};

/// Why a file was not read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// The operating system refused. What cannot be written is as it was before.
    #[error("cannot {action} {}: {error}", .path.display())]
    Io {
        /// What was tried: `read`, `write`.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        error: io::Error,
    },
    /// Something else than a regular file was to be read.
    #[error("{} is {kind}; a regular file was expected", .path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
        /// What it is: `a directory`, `a pipe`.
        kind: &'static str,
    },
    /// What the path names takes no file.
    #[error("{} is {kind}; name a file", .path.display())]
    NotWritable {
        /// The path.
        path: PathBuf,
        /// What it is, and why that takes no file.
        kind: &'static str,
    },
    /// What would be written takes the place of what is read.
    #[error("{option}: {} is what is read, which would be lost; name another", .path.display())]
    WouldBeLost {
        /// The option that names it.
        option: String,
        /// The file.
        path: PathBuf,
    },
    /// Two files that are to be written are one.
    #[error("{one} and {other} are both {}; name two files", .path.display())]
    WrittenTwice {
        /// The option that names the first.
        one: String,
        /// The option that names the second.
        other: String,
        /// The file.
        path: PathBuf,
    },
    /// The file is larger than such a file may be.
    #[error("{} has more than {limit} bytes, and is too large to be what was asked for", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The most bytes that it may have.
        limit: u64,
    },
    /// A text is not in UTF-8.
    #[error("{} is no text in UTF-8: byte {at} begins no character", .path.display())]
    NotText {
        /// The file.
        path: PathBuf,
        /// The first byte that is wrong, counted from 0.
        at: usize,
    },
}

impl FileError {
    pub(super) fn read(path: &Path, error: io::Error) -> Self {
        Self::Io { action: "read", path: path.to_owned(), error }
    }

    pub(super) fn write(path: &Path, error: io::Error) -> Self {
        Self::Io { action: "write", path: path.to_owned(), error }
    }

    pub(super) fn not_writable(path: &Path, kind: &'static str) -> Self {
        Self::NotWritable { path: path.to_owned(), kind }
    }
}

/// What something is that is no regular file; none for one.
pub(crate) fn irregular(kind: FileType) -> Option<&'static str> {
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
