//! What a format of checkpoints is to the library.

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;

use super::error::Fault;
use super::metadata::Metadata;
use super::stored::StoredTensor;
use crate::tensor::{Tensor, TensorElement};

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

    /// Its name: `safetensors`, `GGUF` or `npz`.
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

    /// Lays out a file; or says what the format does not take, and of which tensors.
    fn lay_out<'a>(&self, types: Types<'a>, metadata: &Metadata) -> Result<Box<dyn FileLayout + 'a>, String>;

    /// The metadata of one of several files that make a checkpoint, counted from 0; all is in the first.
    fn shard_metadata(&self, whole: &Metadata, index: usize, count: usize, tensors: usize) -> Metadata {
        let _ = (count, tensors);
        if index == 0 { whole.clone() } else { Metadata::new() }
    }

    /// Path and text of the index that lies beside several files, where the format has one. `path` is what they were named after.
    fn index(&self, path: &Path, shards: &[Shard]) -> Option<(PathBuf, String)> {
        let _ = (path, shards);
        None
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

/// The path of one of several files, and the names of its tensors.
pub(super) type Shard = (PathBuf, Vec<String>);

/// What one file has.
pub(super) struct Contents {
    pub(super) format: Format,
    pub(super) metadata: Metadata,
    pub(super) tensors: BTreeMap<String, StoredTensor>,
}

/// Names, elements and logical shapes.
pub(super) type Types<'a> = Vec<(&'a str, &'a TensorElement, &'a [usize])>;

/// A file to be written. It takes types alone, so that the bytes need not all be there when the first are written.
pub(super) trait FileLayout {
    /// Writes the file, with the tensors that are asked for one at a time.
    fn write(&self, out: &mut (dyn Write + Send), tensor: &mut NextTensor<'_>) -> io::Result<()>;
}

/// Answers the tensor of a name, an element and a logical shape.
pub(super) type NextTensor<'a> = dyn FnMut(&str, &TensorElement, &[usize]) -> io::Result<Tensor> + 'a;

/// A file that has everything else before the data.
pub(super) struct HeadFirst<'a> {
    pub(super) head: Vec<u8>,
    /// The tensors, in the order of their bytes.
    pub(super) order: Types<'a>,
    /// Zeros follow each tensor's bytes up to a multiple of it, counted from the first byte of the data.
    pub(super) alignment: usize,
}

impl HeadFirst<'_> {
    /// Writes a tensor's bytes, and what they are padded with.
    fn put(&self, bytes: &[u8], out: &mut dyn Write) -> io::Result<()> {
        out.write_all(bytes)?;
        let padding = bytes.len().next_multiple_of(self.alignment) - bytes.len();
        io::copy(&mut io::repeat(0).take(padding as u64), out).map(drop)
    }
}

impl FileLayout for HeadFirst<'_> {
    /// A thread writes a tensor while the next one is made; there are no more than these two.
    fn write(&self, out: &mut (dyn Write + Send), tensor: &mut NextTensor<'_>) -> io::Result<()> {
        out.write_all(&self.head)?;
        thread::scope(|scope| {
            let (sender, tensors) = mpsc::sync_channel::<Tensor>(0);
            let write = move || tensors.into_iter().try_for_each(|tensor| self.put(tensor.bytes(), out));
            let writer = thread::Builder::new().spawn_scoped(scope, write)?;
            let mut made = Ok(());
            for (name, element, shape) in &self.order {
                let sent = tensor(name, element, shape).map(|tensor| sender.send(tensor));
                match sent {
                    Ok(Ok(())) => continue,
                    // The writer has failed, and says why.
                    Ok(Err(_)) => {}
                    Err(error) => made = Err(error),
                }
                break;
            }
            drop(sender);
            let written = writer.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            made.and(written)
        })
    }
}
