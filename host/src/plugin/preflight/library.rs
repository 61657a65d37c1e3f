//! What is read of a library.

use std::fmt::{self, Display, Formatter};

use super::error::PreflightError;

/// What a shared library needs and exports.
pub(super) struct Library {
    pub(super) needed: Vec<String>,
    pub(super) exports: Vec<Export>,
}

/// A symbol that a library exports.
pub(super) struct Export {
    pub(super) name: String,
    /// Its length, if it is known to be data.
    pub(super) data_len: Option<u64>,
    /// The first bytes of what stands there.
    pub(super) bytes: Vec<u8>,
}

/// What was found in a library's file.
pub(super) struct Contents {
    pub(super) architecture: String,
    pub(super) entry: Option<Entry>,
    pub(super) api_version: Option<String>,
    pub(super) needed: Vec<String>,
    pub(super) refusal: Option<PreflightError>,
}

/// The kinds of plugin library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// Built with `export_plugin!`.
    Rust,
    /// Written in C, against `bitquilt.h`.
    C,
}

impl Display for Entry {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "export_plugin!",
            Self::C => "bitquilt.h",
        })
    }
}
