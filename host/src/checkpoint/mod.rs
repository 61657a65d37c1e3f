//! Tensors on disk: checkpoints, GGUF files, and NumPy arrays.
//!
//! [`save`] writes a [`TensorDict`] and [`load`] reads it; [`Checkpoint::open`] looks into a file without needing its
//! encodings, and [`CheckpointWriter`] writes tensors that are not all there at once. [`npy`] is for single arrays, [`RawFile`]
//! for formats that a program knows itself.
//!
//! ```
//! use bitquilt::registry::Registry;
//! use bitquilt::{Tensor, TensorDict, checkpoint};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("checkpoint.safetensors");
//! let mut tensors = TensorDict::new();
//! tensors.insert("x", Tensor::new([1, 2, 2], [1i32, 2, 3, 4])?);
//! tensors.insert("y", Tensor::full([10, 5], -1.23f32));
//! checkpoint::save(&tensors, &path)?;
//!
//! let tensors = checkpoint::load(&path, &Registry::default())?;
//! assert_eq!(tensors.values::<i32>("x")?, [1, 2, 3, 4]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The format of checkpoints
//!
//! Read are safetensors and GGUF files, archives of NumPy's arrays, and models that are split into several of either: any of the files, or the index beside them,
//! opens all.
//!
//! Written are GGUF files of version 3, where a name ends in `.gguf` or the format is [set](CheckpointWriter::set_format): tensors of
//! dtypes and encodings that have a number in ggml, and metadata with its types. All that is in such a file llama.cpp reads.
//!
//! Archives of NumPy's arrays, `.npz`, are read and written as well: dense tensors, by the names of their files, and nothing else. Those
//! that are compressed are not read, since their values could not be used where they lie.
//!
//! Otherwise written are [safetensors](https://github.com/huggingface/safetensors) files, which other programs can read. A dense
//! tensor has its dtype. An encoded one is `U8` of shape `[.., bytes a row]`, and what else is needed to read
//! it is in the metadata `bitquilt.encodings`, as JSON:
//!
//! ```json
//! {"format": 1, "tensors": {
//!     "blk.0.up": {"encoding": "q4_0", "version": 1, "block_len": 32, "block_bytes": 18, "shape": [1536, 576]}
//! }}
//! ```
//!
//! `shape` counts values. A tensor of a type that is known by its name alone has that type, as it is named in safetensors; one that is
//! carried over from another format is `U8` of one dimension, and the metadata `bitquilt.opaque` has its type and shape:
//!
//! ```json
//! {"format": 1, "tensors": {"blk.0.new": {"type": "ggml.137", "shape": [32]}}}
//! ```
//!
//! [`Metadata`] that is text is an entry of its own. All values of other types, such as those of GGUF files, are in the metadata
//! `bitquilt.metadata`: each is an object of its type and value. Floats are texts: the shortest decimal that is read as the same number, or
//! the bits of a NaN. `bytes` are a text that is no UTF-8, and a `bool` is a byte.
//!
//! ```json
//! {"format": 1, "entries": {
//!     "llama.block_count": {"u32": 30}, "llama.rope.freq_base": {"f32": "100000.0"},
//!     "tokenizer.ggml.add_bos_token": {"bool": 0}, "tokenizer.ggml.tokens": {"array": {"string": ["<s>", "</s>"]}}
//! }}
//! ```
//!
//! Files of other programs, which have no such entries, are read as well. Equal dictionaries are
//! saved as equal bytes.
//!
//! # What is promised
//!
//! - Every number of a file is checked before it is used. What is wrong becomes a [`CheckpointError`]; nothing
//!   panics, and nothing is allocated whose size the file alone decides.
//! - An encoding that is not registered, or registered with another version or block layout, is refused.
//! - What cannot be used is kept: a type that is not known, a text that is no UTF-8 and a boolean that is neither 0 nor 1 are listed and
//!   carried over, and refused where their values are asked for. Bytes of a name that are no UTF-8 are written as `\\x80`.
//! - Of a model in several files all are read, or none.
//! - Tensors share the mapped file. So a file must not be changed in place while tensors of it live; it may be
//!   replaced, and [`save`] does just that. A file that is found to be shorter than it was is an error where a tensor is taken out of it;
//!   one that is cut later ends the process by a signal (SIGBUS) where the bytes that are gone are read.
//! - [`save`] and [`CheckpointWriter::write`] are atomic, as [`crate::file::replace`] is: until everything is on the disk, the
//!   path names what it named before.
//!
//! # Byte order
//!
//! All these formats are little-endian, and the bytes are used where they lie: the crate builds for little-endian
//! machines only.

#[cfg(target_endian = "big")]
compile_error!(
    "bitquilt uses the little-endian bytes of model files where they lie: big-endian machines are not supported"
);

mod container;
mod dict;
mod error;
mod formats;
mod mapped;
pub mod metadata;
pub mod npy;
pub mod npz;
mod open;
mod raw;
mod shards;
mod stored;
#[cfg(test)]
mod tests;
mod unique;
mod writer;

use std::path::Path;

pub use container::Format;
pub use dict::TensorDict;
pub use error::{CheckpointError, TensorProblem};
pub use metadata::Metadata;
pub use open::Checkpoint;
pub use raw::RawFile;
pub use stored::StoredTensor;
pub use writer::CheckpointWriter;

use crate::registry::Registry;

/// Whether [`save`] and [`CheckpointWriter::write`] would write to `path`: an error before work is done that could not be kept.
///
/// A file takes the place of one of its own format alone, as no format has all that another has: a safetensors file is not written over
/// a file that is GGUF whatever its name, be it by a link.
pub fn check_target(path: impl AsRef<Path>) -> Result<(), CheckpointError> {
    formats::to_write(path.as_ref(), None).map(drop)
}

/// Writes tensors and metadata into a file, which is replaced if it is there: a GGUF file if its name ends in `.gguf`, otherwise a
/// safetensors file.
///
/// The tensors' bytes are written from where they are; no copy is held.
pub fn save(tensors: &TensorDict, path: impl AsRef<Path>) -> Result<(), CheckpointError> {
    let path = path.as_ref();
    let types = tensors.iter().map(|(name, tensor)| (name, tensor.tensor_element(), tensor.shape()));
    let layout = writer::lay_out(path, None, types.collect(), tensors.metadata())?;
    writer::write_file(path, &*layout, |name, _, _| tensors.require(name).cloned())
}

/// Reads all tensors of a safetensors or GGUF file, with encodings from `registry`.
pub fn load(path: impl AsRef<Path>, registry: &Registry) -> Result<TensorDict, CheckpointError> {
    Checkpoint::open(path)?.load(registry)
}
