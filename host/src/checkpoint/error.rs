//! What can be wrong with a file, and how it is said.

use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};

use bitquilt_plugin_api::{DType, EncodingSpec, ShapeDisplay};

use crate::file::FileError;
use crate::registry::UnknownEncoding;
use crate::tensor::TensorError;
use crate::text::Brief;

/// The most dimensions that a tensor in a file may have.
pub(super) const MAX_RANK: usize = 32;

/// Why a file was not read or written, or a tensor not found.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckpointError {
    /// The file was not opened, read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// A file of no format that is known.
    #[error("{} is neither a {known} file: it {found}", .path.display())]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// The formats that are read.
        known: String,
        /// What it begins with, or that it is empty.
        found: String,
    },
    /// The file breaks the rules of its format.
    #[error("{}: {problem}", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What was found where, and what was expected.
        problem: String,
    },
    /// A tensor of the file cannot be read.
    #[error("{}, tensor `{}`: {problem}", .path.display(), Brief(.tensor))]
    Tensor {
        /// The file.
        path: PathBuf,
        /// The tensor's name.
        tensor: String,
        /// What is wrong with it.
        problem: Box<TensorProblem>,
    },
    /// A file that belongs with this one is not there.
    #[error(
        "{} is not there, which {} belongs with: {of} files make the model; put all of them into one directory",
        .missing.display(), .path.display()
    )]
    MissingShard {
        /// The file that was opened.
        path: PathBuf,
        /// The file that is missing.
        missing: PathBuf,
        /// How many files there are in all.
        of: usize,
    },
    /// The file was made shorter while it was in use.
    #[error(
        "{} had {expected} bytes when it was opened and has {found} now; it must not be changed while it is read", .path.display()
    )]
    Changed {
        /// The file.
        path: PathBuf,
        /// Bytes when it was opened.
        expected: u64,
        /// Bytes now.
        found: u64,
    },
    /// The file was written to while it was read.
    #[error("{} was written to while it was read, so that what was read may be a mixture; do it again", .path.display())]
    WrittenTo {
        /// The file.
        path: PathBuf,
    },
    /// The format has no place for what was to be saved.
    #[error("{} was not written: {problem}", .path.display())]
    Unsupported {
        /// The file.
        path: PathBuf,
        /// What the format does not take.
        problem: String,
    },
    /// There is no tensor of this name.
    #[error("there is no tensor `{}`; {}", Brief(.tensor), Similar(.similar, *.of))]
    Missing {
        /// The name.
        tensor: String,
        /// Names that are almost the same, the most similar first.
        similar: Vec<String>,
        /// How many tensors there are.
        of: usize,
    },
    /// The tensor holds something else.
    #[error("tensor `{}`: {error}", Brief(.tensor))]
    WrongType {
        /// The tensor's name.
        tensor: String,
        /// What it holds and what was asked for.
        error: TensorError,
    },
}

/// What is wrong with a tensor of a file.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TensorProblem {
    /// Shape and bytes are no tensor.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// The dtype is one that no tensor has.
    #[error("it is {found}, which is not supported; convert it to one of {}, or to an encoding", dtypes())]
    DType {
        /// The dtype, as the format names it.
        found: String,
    },
    /// The bytes are not those of the shape, for a type of which the size of a value is known, and no more.
    #[error("it is {} {}, of {bits} bits a value, and has {found} bytes", Brief(.name), ShapeDisplay(.shape))]
    Bits {
        /// The type, as the format names it.
        name: String,
        /// The shape.
        shape: Vec<usize>,
        /// Bits of a value.
        bits: usize,
        /// Bytes there were.
        found: usize,
    },
    /// Its type is known by its name alone.
    #[error(
        "its type is {}, whose values this version does not read: it can be listed and carried over to another file, \
         and is of no other use",
        Brief(.name)
    )]
    Opaque {
        /// The type, as the file names it.
        name: String,
    },
    /// Its record does not fit the declaration of its encoding.
    #[error("{problem}; the file is damaged")]
    Declared {
        /// The record and the declaration.
        problem: String,
    },
    /// Too many dimensions.
    #[error("it has {rank} dimensions, at most {max} are allowed")]
    Rank {
        /// Dimensions.
        rank: usize,
        /// Dimensions the format, or this reader, allows.
        max: usize,
    },
    /// A dimension, offset or length that memory cannot have.
    #[error("its {what} is {found}, more than this machine can address")]
    Unaddressable {
        /// What the number counts.
        what: &'static str,
        /// The number.
        found: u64,
    },
    /// Two tensors overlap, or there is a hole between them.
    #[error("it begins at byte {found} of the data, {expected} was expected: tensors follow each other")]
    Offset {
        /// Where the tensor before it ends, padding included.
        expected: u64,
        /// Where it begins.
        found: u64,
    },
    /// It ends before it begins.
    #[error("it begins at byte {begin} of the data and ends at {end}, before that")]
    Backwards {
        /// Where it begins.
        begin: u64,
        /// Where it ends.
        end: u64,
    },
    /// It reaches beyond the file.
    #[error(
        "it ends at byte {end} of the data, of which the file has {available}; the file was cut, or is damaged"
    )]
    BeyondEnd {
        /// Where it ends.
        end: u64,
        /// Bytes of data in the file.
        available: u64,
    },
    /// The record of its encoding says something else than the container.
    #[error("it is recorded as `{}` {}, for which the file must have u8 {}; it has {found}",
        Brief(.encoding), ShapeDisplay(.shape), ShapeDisplay(.expected))]
    Record {
        /// The encoding's name.
        encoding: String,
        /// The logical shape.
        shape: Vec<usize>,
        /// The shape of the bytes that follows.
        expected: Vec<usize>,
        /// Dtype and shape in the container.
        found: String,
    },
    /// It is not what it was said to be when the file was laid out.
    #[error("it was announced as {} and is {}", Brief(.expected), Brief(.found))]
    Announced {
        /// The type that was announced.
        expected: String,
        /// The type it has.
        found: String,
    },
    /// Its encoding is not registered.
    #[error("{0}; add the plugin that has it")]
    UnknownEncoding(UnknownEncoding),
    /// The encoding of this name that is registered has another byte format.
    #[error(
        "its blocks are of `{}`, {}; registered is {}: use the plugin it was saved with, or quantize the weight anew",
        Brief(&.found.name), Layout(.found), Layout(.expected)
    )]
    OtherEncoding {
        /// The encoding that is registered.
        expected: Box<EncodingSpec>,
        /// The encoding as the file records it.
        found: Box<EncodingSpec>,
    },
    /// The encoding is declared in the file, and registered with another declaration.
    #[error(
        "its encoding `{}` is declared otherwise in the file than it is registered; load the file without that declaration, or give one of \
         the two another name",
        Brief(.encoding)
    )]
    DeclaredOtherwise {
        /// The encoding.
        encoding: String,
    },
}

/// What a parser, which does not know the path, found.
#[derive(Debug)]
pub(super) enum Fault {
    /// The file is wrong.
    File(String),
    /// A tensor is wrong.
    Tensor(String, TensorProblem),
}

impl Fault {
    /// The error, for the file at `path`.
    pub(super) fn at(self, path: &Path) -> CheckpointError {
        let path = path.to_owned();
        match self {
            Self::File(problem) => CheckpointError::Malformed { path, problem },
            Self::Tensor(tensor, problem) => {
                CheckpointError::Tensor { path, tensor, problem: Box::new(problem) }
            }
        }
    }

    /// The fault of a tensor.
    pub(super) fn tensor(name: &str, problem: impl Into<TensorProblem>) -> Self {
        Self::Tensor(name.to_owned(), problem.into())
    }
}

impl From<String> for Fault {
    fn from(problem: String) -> Self {
        Self::File(problem)
    }
}

/// Similar names, of so many.
struct Similar<'a>(&'a [String], usize);

impl Display for Similar<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            [] => write!(f, "none of the {} has a similar name", self.1),
            [first, others @ ..] => {
                write!(f, "did you mean `{}`", Brief(first))?;
                others.iter().try_for_each(|name| write!(f, " or `{}`", Brief(name)))?;
                f.write_str("?")
            }
        }
    }
}

struct Layout<'a>(&'a EncodingSpec);

impl Display for Layout<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let EncodingSpec { version, block_len, block_bytes, .. } = self.0;
        write!(f, "version {version} with {block_len} values in {block_bytes} bytes")
    }
}

fn dtypes() -> String {
    DType::all().map(|dtype| dtype.to_string()).collect::<Vec<_>>().join(", ")
}
