//! What an author's function returns when it cannot do its work.

use std::fmt::Display;

/// Why a call into a plugin, or from a plugin into the host, failed.
///
/// The host adds where it happened (node, op, encoding, file); the message says what was wrong, what was expected, and
/// what to do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: ErrorKind,
    message: String,
}

/// The result of a fallible call of this API.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The kinds of failure a caller may want to tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// An argument, attribute, type or shape is wrong: the caller can mend it.
    Invalid,
    /// The request makes sense but is not supported here.
    Unsupported,
    /// The work was begun and could not be finished.
    Failed,
    /// The author's code panicked; the message has the panic's text and, for a shared library, its place.
    Panicked,
}

impl Error {
    /// An error of the given kind.
    pub fn new(kind: ErrorKind, message: impl Display) -> Self {
        Self { kind, message: message.to_string() }
    }

    /// An argument, attribute, type or shape is wrong.
    pub fn invalid(message: impl Display) -> Self {
        Self::new(ErrorKind::Invalid, message)
    }

    /// The request is not supported.
    pub fn unsupported(message: impl Display) -> Self {
        Self::new(ErrorKind::Unsupported, message)
    }

    /// The work could not be finished.
    pub fn failed(message: impl Display) -> Self {
        Self::new(ErrorKind::Failed, message)
    }

    /// The kind of failure.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// The sentence.
    pub fn message(&self) -> &str {
        &self.message
    }
}
