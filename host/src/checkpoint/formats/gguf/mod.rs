//! GGUF, the format of llama.cpp: typed metadata and tensors in the encodings of ggml.
//!
//! Versions 2 and 3 are read, which differ in that 3 allows big-endian files; those are refused. The layout, all numbers
//! little-endian: `GGUF`, the version (u32), the numbers of tensors and of metadata entries (u64 each); the entries; for
//! each tensor its name, number of dimensions (u32), dimensions (u64, innermost first), type (u32) and offset in the data
//! (u64); padding up to a multiple of `general.alignment`; the data, each tensor padded to that as well.
//!
//! Shapes are given outermost dimension first, as everywhere else. A type of tensors that is not known is kept as bytes: how many, the
//! file does not say, and so they reach up to the next tensor or the end of the file, padding included.
//!
//! Version 3 is written. What has no number among ggml's types has no place in it.

mod cursor;
mod types;
mod value;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;

use self::cursor::Cursor;
use crate::checkpoint::container::{Container, Contents, FileLayout, Format, Types};
use crate::checkpoint::error::{Fault, TensorProblem};
use crate::checkpoint::metadata::{Metadata, Value};
use crate::checkpoint::stored::StoredTensor;
use crate::tensor::{Opaque, TensorElement};
use crate::text::Brief;

const MAGIC: &[u8; 4] = b"GGUF";
const VERSIONS: std::ops::RangeInclusive<u32> = 2..=3;
const ALIGNMENT_KEY: &str = "general.alignment";
const DEFAULT_ALIGNMENT: usize = 32;
/// The most dimensions of a tensor of ggml.
const MAX_RANK: usize = 4;

/// The format.
pub(super) struct Gguf;

impl Container for Gguf {
    fn name(&self) -> &'static str {
        "GGUF"
    }
    fn extension(&self) -> &'static str {
        "gguf"
    }
    fn matches(&self, first: &[u8]) -> bool {
        first.starts_with(MAGIC)
    }
    fn parse(&self, bytes: &[u8]) -> Result<Contents, Fault> {
        parse(bytes)
    }
    fn lay_out<'a>(&self, types: Types<'a>, metadata: &Metadata) -> Result<Box<dyn FileLayout + 'a>, String> {
        Ok(Box::new(write::lay_out(types, metadata)?))
    }
    fn shard_metadata(&self, whole: &Metadata, index: usize, count: usize, tensors: usize) -> Metadata {
        write::shard_metadata(whole, index, count, tensors)
    }
    #[cfg(test)]
    fn sample(&self) -> crate::checkpoint::container::Sample {
        crate::checkpoint::tests::gguf_files::sample()
    }
}

fn parse(bytes: &[u8]) -> Result<Contents, Fault> {
    let mut cursor = Cursor::new(bytes);
    cursor.take(MAGIC.len() as u64, "its first bytes")?;
    let version = read_version(&mut cursor)?;
    let tensor_count: u64 = cursor.number("the number of tensors")?;
    let entry_count: u64 = cursor.number("the number of metadata entries")?;
    let metadata = read_metadata(&mut cursor, entry_count)?;
    let alignment = alignment(&metadata)?;
    let descriptions = read_descriptions(&mut cursor, tensor_count)?;
    let tensors = place(descriptions, cursor.position(), bytes.len(), alignment as u64)?;
    Ok(Contents { format: Format::new("GGUF", Some(version)), metadata, tensors })
}

fn read_version(cursor: &mut Cursor<'_>) -> Result<u32, Fault> {
    let version: u32 = cursor.number("the version")?;
    if VERSIONS.contains(&version) {
        return Ok(version);
    }
    if VERSIONS.contains(&version.swap_bytes()) {
        return Err("the file is big-endian; only little-endian GGUF files are read, convert it"
            .to_owned()
            .into());
    }
    let (first, last) = VERSIONS.into_inner();
    Err(format!("the file is GGUF version {version}, versions {first} to {last} are read; convert it").into())
}

fn read_metadata(cursor: &mut Cursor<'_>, count: u64) -> Result<Metadata, Fault> {
    let mut metadata = Metadata::new();
    for index in 0..count {
        let key = cursor.name(format_args!("the key of metadata entry {index} of {count}"))?;
        let value = value::read(cursor, &key)?;
        if metadata.contains(&key) {
            return Err(format!("the metadata has the key `{}` twice", Brief(&key)).into());
        }
        metadata.insert(key, value);
    }
    Ok(metadata)
}

/// What the data of tensors is padded to.
fn alignment(metadata: &Metadata) -> Result<usize, String> {
    let value = match metadata.get(ALIGNMENT_KEY) {
        None => return Ok(DEFAULT_ALIGNMENT),
        Some(value) => value,
    };
    match value {
        Value::U32(alignment) if alignment.is_power_of_two() => Ok(*alignment as usize),
        other => {
            let found = Brief(&other.to_string()).to_string();
            Err(format!("`{ALIGNMENT_KEY}` is {found}; a power of two as u32 was expected"))
        }
    }
}

/// A tensor as it is described, before it is compared with the file.
struct Description {
    name: String,
    /// Outermost first.
    shape: Vec<u64>,
    type_id: u32,
    offset: u64,
}

fn read_descriptions(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<Description>, Fault> {
    let mut descriptions = Vec::new();
    for index in 0..count {
        let name = cursor.name(format_args!("the name of tensor {index} of {count}"))?;
        let what = format_args!("the description of tensor `{}`", Brief(&name)).to_string();
        let rank: u32 = cursor.number(&what)?;
        if rank as usize > MAX_RANK {
            return Err(Fault::tensor(&name, TensorProblem::Rank { rank: rank as usize, max: MAX_RANK }));
        }
        let mut shape = (0..rank).map(|_| cursor.number(&what)).collect::<Result<Vec<u64>, Fault>>()?;
        shape.reverse();
        let (type_id, offset) = (cursor.number(&what)?, cursor.number(&what)?);
        descriptions.push(Description { name: name.into_owned(), shape, type_id, offset });
    }
    Ok(descriptions)
}

/// Finds the bytes of each tensor: one after the other, as ggml itself demands. `described` bytes come before the data.
fn place(
    descriptions: Vec<Description>,
    described: usize,
    file_len: usize,
    alignment: u64,
) -> Result<BTreeMap<String, StoredTensor>, Fault> {
    // A file without data may end before the padding does.
    let data_at = (described as u64).next_multiple_of(alignment).min(file_len as u64);
    let available = file_len as u64 - data_at;
    let mut expected = 0u64;
    let mut tensors = BTreeMap::new();
    let nexts: Vec<u64> = descriptions.iter().skip(1).map(|next| next.offset).chain([available]).collect();
    for (description, next) in descriptions.into_iter().zip(nexts) {
        let Description { name, shape, type_id, offset } = description;
        let wrong = |problem| Fault::tensor(&name, problem);
        if offset != expected {
            return Err(wrong(TensorProblem::Offset { expected, found: offset }));
        }
        let shape = addresses(&shape).map_err(wrong)?;
        let element = types::element(type_id)
            .unwrap_or_else(|| unknown(type_id, next.min(available).saturating_sub(offset) as usize));
        let len = element.bytes(&shape).map_err(|error| wrong(error.into()))?;
        let end = offset.saturating_add(len as u64);
        if end > available {
            return Err(wrong(TensorProblem::BeyondEnd { end, available }));
        }
        expected = end.next_multiple_of(alignment);
        // Empty tensors may come after the end of the file; all others are within it.
        let begin = if len == 0 { 0 } else { (data_at + offset) as usize };
        let tensor = StoredTensor::new(element, shape, begin..begin + len).map_err(wrong)?;
        if tensors.contains_key(&name) {
            return Err(format!("there are two tensors `{}`", Brief(&name)).into());
        }
        tensors.insert(name, tensor);
    }
    Ok(tensors)
}

/// A tensor of a type whose size is not known, which has all `bytes` up to the next.
fn unknown(type_id: u32, bytes: usize) -> TensorElement {
    TensorElement::Opaque(Arc::new(Opaque { name: types::unknown_name(type_id), bytes, is_dtype: false }))
}

fn addresses(shape: &[u64]) -> Result<Vec<usize>, TensorProblem> {
    let address = |dim: &u64| {
        usize::try_from(*dim).map_err(|_| TensorProblem::Unaddressable { what: "dimension", found: *dim })
    };
    shape.iter().map(address).collect()
}
