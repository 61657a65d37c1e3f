//! Why a text is no declaration.

use std::fmt::{self, Display, Formatter};

use bitquilt_plugin_api::text::Brief;
use bitquilt_plugin_api::{EncodingSpec, MAX_NAME};

/// The longest text, in bytes.
pub(crate) const MAX_TEXT: usize = 1 << 20;
/// The longest summary, in bytes.
pub(crate) const MAX_SUMMARY: usize = 200;

/// What is wrong in a declaration, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeclarationError {
    /// The line of the text, counted from 1; None where a key is missing, or there is no text.
    pub line: Option<usize>,
    /// The key, `codes.bits` for one in a table, `values[3]` for an entry.
    pub key: Option<String>,
    /// What is wrong, what was expected, and what to do.
    pub problem: Problem,
}

impl DeclarationError {
    /// The sentence without its place.
    pub fn message(&self) -> String {
        self.problem.to_string()
    }
}

impl Display for DeclarationError {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match (self.line, &self.key) {
            (Some(line), Some(key)) => write!(f, "line {line}, `{}`: ", Brief(key))?,
            (Some(line), None) => write!(f, "line {line}: ")?,
            (None, Some(key)) => write!(f, "`{}`: ", Brief(key))?,
            (None, None) => {}
        }
        self.problem.fmt(f)
    }
}

impl std::error::Error for DeclarationError {}

/// What is wrong in a declaration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The text is too long to be a declaration.
    #[error("the text has {bytes} bytes, and a declaration at most {MAX_TEXT}; is this the right file?")]
    TooLong {
        /// Its bytes.
        bytes: usize,
    },
    /// The text is no TOML.
    #[error("this is no TOML: {}", Brief(.said))]
    Syntax {
        /// What its parser says.
        said: String,
    },
    /// A key is there twice.
    #[error("this key is given twice; remove one of the two")]
    Duplicate,
    /// No such key.
    #[error("there is no such key here; {known} are known, so correct or remove it")]
    UnknownKey {
        /// The keys that may be here.
        known: String,
    },
    /// A key that every declaration has is not there.
    #[error("this key is missing; add `{example}`, with your own values")]
    Missing {
        /// A line that would do.
        example: &'static str,
    },
    /// A value is of another type.
    #[error("it is {found}, and {expected} is expected")]
    Type {
        /// What it is.
        found: String,
        /// What it ought to be.
        expected: &'static str,
    },
    /// A word that is none of those that are known.
    #[error("it is \"{}\", and {known} are known; write one of these", Brief(.found))]
    Word {
        /// The word.
        found: String,
        /// The words that are known.
        known: String,
    },
    /// A whole number is too small or too large.
    #[error("it is {found}, and must be from {least} to {greatest}")]
    Range {
        /// The number.
        found: i64,
        /// The least that is allowed.
        least: i64,
        /// The largest that is allowed.
        greatest: i64,
    },
    /// The name is none.
    #[error(
        "\"{}\" {problem}; a name has 1 to {MAX_NAME} of a-z A-Z 0-9 _ - . and begins with a letter", Brief(.name)
    )]
    Name {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// The summary is not one short line.
    #[error("it must be one line of at most {MAX_SUMMARY} bytes without control characters; shorten it")]
    Summary,
    /// The groups are not of the same length.
    #[error(
        "{groups} groups are not equal parts of the {block_len} values of a block; take a divisor of {block_len}"
    )]
    Groups {
        /// The groups.
        groups: usize,
        /// Values in a block.
        block_len: usize,
    },
    /// Two keys that cannot be together.
    #[error("it cannot stand beside `{other}`: {reason}; remove one of the two")]
    Conflict {
        /// The other key.
        other: &'static str,
        /// Why not.
        reason: &'static str,
    },
    /// A key without another that it needs.
    #[error("it needs `{other}`: {reason}; add it")]
    Needs {
        /// The other key.
        other: &'static str,
        /// Why.
        reason: &'static str,
    },
    /// Halves of codes that are no nibbles, or of an odd number.
    #[error(
        "`halves` is for 4-bit codes of blocks with an even number of values; {found}, so write \"sequential\""
    )]
    Halves {
        /// What is otherwise.
        found: String,
    },
    /// A table of another length.
    #[error("it has {found} entries, and codes of {bits} bits have {} values; {}", 1usize << .bits, entries_hint(*.found, *.bits))]
    Entries {
        /// Its entries.
        found: usize,
        /// Bits of a code.
        bits: u32,
    },
    /// `unused` where every code has a value.
    #[error("every code has a value of its own, so none is unused; remove it")]
    NothingUnused,
    /// An infinity or NaN.
    #[error("it is {found}; a value must be a finite f32, at most 3.4028235e38 in magnitude")]
    NotFinite {
        /// The value.
        found: String,
    },
    /// A minimum or a zero of a dtype without a sign.
    #[error("e8m0 has neither zero nor negative values, which {what} may be; take f32, f16, bf16 or f8_e4m3")]
    NoSign {
        /// What it is of.
        what: &'static str,
    },
    /// A field ends after the block.
    #[error(
        "its bytes are {at} to {end}, and a block has {block_bytes}; move it, or make `block_bytes` larger"
    )]
    Beyond {
        /// Its first byte.
        at: usize,
        /// The byte after its last.
        end: usize,
        /// Bytes of a block.
        block_bytes: usize,
    },
    /// Two fields have bytes in common.
    #[error(
        "its bytes {at} to {end} overlap bytes {other_at} to {other_end} of `{other}`; move one of the two"
    )]
    Overlap {
        /// Its first byte.
        at: usize,
        /// The byte after its last.
        end: usize,
        /// The other field.
        other: &'static str,
        /// The other's first byte.
        other_at: usize,
        /// The byte after the other's last.
        other_end: usize,
    },
}

const _: () = assert!(EncodingSpec::MAX_BLOCK == 1 << 20);

fn entries_hint(found: usize, bits: u32) -> &'static str {
    if found > 1 << bits {
        "remove some, or give the codes more bits"
    } else {
        "add the others, or say what they are by `unused`"
    }
}
