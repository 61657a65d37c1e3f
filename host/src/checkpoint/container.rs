//! What a format of checkpoints is to the library.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};

use super::error::Fault;
use super::metadata::Metadata;
use super::stored::StoredTensor;
use crate::tensor::TensorElement;

/// The format of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Format {
    name: &'static str,
    version: Option<u32>,
}

impl Format {
    pub(super) const fn new(name: &'static str, version: Option<u32>) -> Self {
        Self { name, version }
    }

    /// Its name: `safetensors` or `GGUF`.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// The version that the file says it has; none for a format without versions.
    pub fn version(&self) -> Option<u32> {
        self.version
    }
}

impl Display for Format {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.version {
            None => f.write_str(self.name),
            Some(version) => write!(f, "{} version {version}", self.name),
        }
    }
}

/// Reads and writes the files of a format.
pub(super) trait Container: Sync {
    /// The format's name.
    fn name(&self) -> &'static str;

    /// The extension of its files' names.
    fn extension(&self) -> &'static str;

    /// Whether a file begins as those of the format do.
    fn matches(&self, first: &[u8]) -> bool;

    /// Reads everything before the data, and checks every number in it against the file.
    fn parse(&self, bytes: &[u8]) -> Result<Contents, Fault>;

    /// Whether files of the format are written.
    fn is_written(&self) -> bool {
        false
    }

    /// Lays out a file; or says what the format does not take.
    fn lay_out<'a>(&self, types: Types<'a>, metadata: &Metadata) -> Result<FileLayout<'a>, String> {
        let _ = (types, metadata);
        Err(format!("{} files are read, not written", self.name()))
    }

    /// A file for tests of what comes of cut and changed ones.
    #[cfg(test)]
    fn sample(&self) -> Sample;
}

/// A small file with all that the format has, its tensors dense, or of `q4_0` or `q4_1`.
#[cfg(test)]
pub(super) struct Sample {
    pub(super) bytes: Vec<u8>,
    /// Whether a file may have more bytes than its format accounts for.
    pub(super) may_go_on: bool,
}

/// What one file has.
pub(super) struct Contents {
    pub(super) format: Format,
    pub(super) metadata: Metadata,
    pub(super) tensors: BTreeMap<String, StoredTensor>,
}

/// Names, elements and logical shapes.
pub(super) type Types<'a> = Vec<(&'a str, &'a TensorElement, &'a [usize])>;

/// A file to be written: everything before the data, and the order in which the tensors' bytes follow.
///
/// It takes types alone, so that the bytes need not all be there when the first are written.
pub(super) struct FileLayout<'a> {
    pub(super) head: Vec<u8>,
    pub(super) order: Types<'a>,
}
