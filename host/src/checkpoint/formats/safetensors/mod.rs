//! The safetensors container.

mod header;
mod metadata;
mod records;

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bitquilt_plugin_api::{DType, EncodingSpec, ShapeDisplay};
use safetensors::Dtype;
use serde::de::value::{Error as DeError, StrDeserializer};
use serde::de::{Deserialize, IntoDeserializer};

use self::header::{Header, METADATA_KEY, TensorInfo};
use self::records::{DECLARED_KEY, OPAQUE_KEY, OpaqueRecord, RECORDS_KEY, Record};
use crate::checkpoint::container::{Container, Contents, FileLayout, Format, HeadFirst, Shard, Types};
use crate::checkpoint::error::{Fault, MAX_RANK, TensorProblem};
use crate::checkpoint::metadata::Metadata;
use crate::checkpoint::stored::StoredTensor;
use crate::memory::ALIGNMENT;
use crate::tensor::{Opaque, TensorElement, value_count};
use crate::text::Brief;

/// The length of the header, before the header.
const LENGTH_BYTES: usize = size_of::<u64>();
/// The longest header that the format allows.
const MAX_HEADER: usize = 100_000_000;

const DTYPES: [(&str, DType); 15] = [
    ("F32", DType::F32),
    ("F64", DType::F64),
    ("F16", DType::F16),
    ("BF16", DType::BF16),
    ("I8", DType::I8),
    ("I16", DType::I16),
    ("I32", DType::I32),
    ("I64", DType::I64),
    ("U8", DType::U8),
    ("U16", DType::U16),
    ("U32", DType::U32),
    ("U64", DType::U64),
    (BOOL, DType::BOOL),
    ("F8_E4M3", DType::F8_E4M3),
    ("F8_E5M2", DType::F8_E5M2),
];

/// The dtype of booleans.
const BOOL: &str = "BOOL";

/// The dtype of encoded rows, and of other bytes whose type only a record tells.
const BYTES: &str = "U8";

/// The format.
pub(super) struct SafeTensors;

impl Container for SafeTensors {
    fn name(&self) -> &'static str {
        "safetensors"
    }
    fn extension(&self) -> &'static str {
        "safetensors"
    }
    fn matches(&self, first: &[u8]) -> bool {
        first.get(LENGTH_BYTES) == Some(&b'{')
    }
    fn parse(&self, bytes: &[u8]) -> Result<Contents, Fault> {
        parse(bytes)
    }
    fn lay_out<'a>(&self, types: Types<'a>, metadata: &Metadata) -> Result<Box<dyn FileLayout + 'a>, String> {
        Ok(Box::new(lay_out(types, metadata)?))
    }
    fn index(&self, path: &Path, shards: &[Shard]) -> Option<(PathBuf, String)> {
        index(path, shards)
    }
    #[cfg(test)]
    fn sample(&self) -> crate::checkpoint::container::Sample {
        crate::checkpoint::tests::round_trips::sample()
    }
}

fn parse(bytes: &[u8]) -> Result<Contents, Fault> {
    let (header, data_at) = split(bytes)?;
    let Header { mut metadata, mut tensors } = serde_json::from_slice(header)
        .map_err(|error| format!("the header is malformed: {}", Brief(&error.to_string())))?;
    let mut records = Records {
        encoded: records::take(&mut metadata, RECORDS_KEY)?,
        opaque: records::take(&mut metadata, OPAQUE_KEY)?,
        declared: records::take_declared(&mut metadata)?,
    };
    let metadata = metadata::read(metadata)?;
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let available = bytes.len() - data_at;
    let mut end = 0;
    let mut stored = BTreeMap::new();
    for (name, info) in tensors {
        let (begin, after) = info.data_offsets;
        let tensor = place(&info, end, available)
            .and_then(|()| records.element(&name, info))
            .and_then(|(element, shape)| StoredTensor::new(element, shape, data_at + begin..data_at + after))
            .map_err(|problem| Fault::tensor(&name, problem))?;
        end = after;
        stored.insert(name, tensor);
    }
    if end != available {
        let problem = format!("the tensors end at byte {end} of the data, of which the file has {available}");
        return Err(problem.into());
    }
    let left = records.encoded.into_keys().map(|name| (RECORDS_KEY, name));
    if let Some((key, name)) = left.chain(records.opaque.into_keys().map(|name| (OPAQUE_KEY, name))).next() {
        return Err(
            format!("the metadata `{key}` has a tensor `{}` that the file has not", Brief(&name)).into()
        );
    }
    Ok(Contents { format: Format::new("safetensors", None), metadata, tensors: stored })
}

/// The header, and where the data begins.
fn split(bytes: &[u8]) -> Result<(&[u8], usize), Fault> {
    let Some((length, rest)) = bytes.split_first_chunk::<LENGTH_BYTES>() else {
        let found = bytes.len();
        return Err(format!(
            "the file has {found} bytes, the length of the header alone takes {LENGTH_BYTES}"
        )
        .into());
    };
    let length = u64::from_le_bytes(*length);
    let found = usize::try_from(length).ok().filter(|length| *length <= MAX_HEADER);
    let Some(found) = found else {
        return Err(format!("the header has {length} bytes, at most {MAX_HEADER} are allowed").into());
    };
    match rest.get(..found) {
        Some(header) => Ok((header, LENGTH_BYTES + found)),
        None => {
            let available = rest.len();
            Err(format!(
                "the header has {found} bytes, of which the file has {available}; it was cut, or is damaged"
            )
            .into())
        }
    }
}

/// Whether a tensor begins where the one before it ends, and lies in the file.
fn place(info: &TensorInfo, expected: usize, available: usize) -> Result<(), TensorProblem> {
    let (begin, end) = info.data_offsets;
    if end < begin {
        return Err(TensorProblem::Backwards { begin: begin as u64, end: end as u64 });
    }
    if begin != expected {
        return Err(TensorProblem::Offset { expected: expected as u64, found: begin as u64 });
    }
    if end > available {
        return Err(TensorProblem::BeyondEnd { end: end as u64, available: available as u64 });
    }
    Ok(())
}

/// What the metadata says of tensors, by name.
struct Records {
    encoded: BTreeMap<String, Record>,
    opaque: BTreeMap<String, OpaqueRecord>,
    /// The encodings that are declared, by name.
    declared: BTreeMap<String, EncodingSpec>,
}

impl Records {
    /// Element and logical shape of a tensor, whose records are used up.
    fn element(
        &mut self,
        name: &str,
        info: TensorInfo,
    ) -> Result<(TensorElement, Vec<usize>), TensorProblem> {
        let (begin, end) = info.data_offsets;
        let record = self.encoded.remove(name);
        let opaque = self.opaque.remove(name).filter(|_| record.is_none());
        let logical = record.as_ref().map(|record| &record.shape);
        let logical = logical.or(opaque.as_ref().map(|opaque| &opaque.shape));
        let rank = info.shape.len().max(logical.map_or(0, Vec::len));
        if rank > MAX_RANK {
            return Err(TensorProblem::Rank { rank, max: MAX_RANK });
        }
        let (element, shape, expected) = match (record, opaque) {
            (Some(record), _) => {
                let spec =
                    record.spec(&self.declared).map_err(|problem| TensorProblem::Declared { problem })?;
                let (spec, shape) = (Arc::new(spec), record.shape);
                TensorElement::Encoded(Arc::clone(&spec)).bytes(&shape)?;
                // The check above found that the rows are whole blocks.
                let expected = spec.byte_shape(&shape).unwrap_or_default();
                (TensorElement::Encoded(spec), shape, expected)
            }
            (None, Some(opaque)) => (opaque.element(end - begin), opaque.shape, vec![end - begin]),
            (None, None) => return Ok((stored_element(&info)?, info.shape)),
        };
        if info.dtype != BYTES || info.shape != expected {
            let found =
                format!("{} {}", Brief(&info.dtype).to_string().to_lowercase(), ShapeDisplay(&info.shape));
            return Err(TensorProblem::Record {
                encoding: element.name().to_string(),
                shape,
                expected,
                found,
            });
        }
        Ok((element, shape))
    }
}

/// The element of a tensor that has no record.
fn stored_element(info: &TensorInfo) -> Result<TensorElement, TensorProblem> {
    if let Some((_, dtype)) = DTYPES.iter().find(|(name, _)| *name == info.dtype) {
        return Ok(TensorElement::Dense(*dtype));
    }
    if !records::is_name(&info.dtype) {
        return Err(TensorProblem::DType { found: format!("`{}`", Brief(&info.dtype)) });
    }
    let bytes = info.data_offsets.1 - info.data_offsets.0;
    let known: StrDeserializer<'_, DeError> = info.dtype.as_str().into_deserializer();
    if let Ok(dtype) = Dtype::deserialize(known) {
        let bits = value_count(&info.shape)?.checked_mul(dtype.bitsize());
        if bits.map(|bits| bits.div_ceil(8)) != Some(bytes) {
            let (name, shape, bits) = (info.dtype.clone(), info.shape.clone(), dtype.bitsize());
            return Err(TensorProblem::Bits { name, shape, bits, found: bytes });
        }
    }
    let opaque = Opaque { name: info.dtype.clone(), bytes, is_dtype: true };
    Ok(TensorElement::Opaque(Arc::new(opaque)))
}

/// Dtypes of larger values come first and the data begins at a multiple of 64, so that every value is aligned.
fn lay_out<'a>(mut order: Types<'a>, metadata: &Metadata) -> Result<HeadFirst<'a>, String> {
    order.sort_by_key(|(name, element, _)| (Reverse(element.alignment()), *name));
    if let Some(key) =
        [RECORDS_KEY, OPAQUE_KEY, DECLARED_KEY, metadata::KEY].into_iter().find(|key| metadata.contains(key))
    {
        return Err(format!("the metadata `{key}` is written by the library; remove it"));
    }
    let mut header =
        Header { metadata: metadata::write(metadata)?, tensors: Vec::with_capacity(order.len()) };
    let (mut encoded, mut opaque, mut declared) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
    let mut end = 0usize;
    for (name, element, logical) in &order {
        let (name, begin) = ((*name).to_owned(), end);
        if name == METADATA_KEY {
            return Err(format!("a tensor cannot have the name `{METADATA_KEY}`; rename it"));
        }
        let bytes = element.bytes(logical).map_err(|error| format!("tensor `{}`: {error}", Brief(&name)))?;
        let (dtype, shape) = stored_type(element, logical).ok_or_else(|| {
            format!("safetensors has no dtype for {} of `{}`", element.name(), Brief(&name))
        })?;
        if shape.len() > MAX_RANK {
            let (name, rank) = (Brief(&name), shape.len());
            return Err(format!("the tensor `{name}` has {rank} dimensions, at most {MAX_RANK} are allowed"));
        }
        end = begin.checked_add(bytes).ok_or("the tensors have more bytes than a file can")?;
        if let Some(record) = Record::of(element, logical) {
            encoded.insert(name.clone(), record);
        }
        if let TensorElement::Encoded(spec) = element
            && let Some(layout) = &spec.layout
            && declared.insert(spec.name.clone(), layout.clone()).is_some_and(|other| other != *layout)
        {
            let encoding = Brief(&spec.name);
            return Err(format!(
                "two tensors are of encodings `{encoding}` that are declared differently; rename one"
            ));
        }
        if let Some(record) = OpaqueRecord::of(element, logical) {
            opaque.insert(name.clone(), record);
        }
        header.tensors.push((name, TensorInfo { dtype, shape, data_offsets: (begin, end) }));
    }
    if !encoded.is_empty() {
        let text = records::write(encoded).map_err(|error| error.to_string())?;
        header.metadata.insert(RECORDS_KEY.to_owned(), text);
    }
    if !opaque.is_empty() {
        let text = records::write(opaque).map_err(|error| error.to_string())?;
        header.metadata.insert(OPAQUE_KEY.to_owned(), text);
    }
    if !declared.is_empty() {
        let text = records::write_declared(declared).map_err(|error| error.to_string())?;
        header.metadata.insert(DECLARED_KEY.to_owned(), text);
    }
    Ok(HeadFirst { head: head(&header)?, order, alignment: 1 })
}

/// The index that Hugging Face's libraries look for: the file of each tensor.
fn index(path: &Path, shards: &[Shard]) -> Option<(PathBuf, String)> {
    let mut name = path.file_name()?.to_owned();
    name.push(".index.json");
    let mut weight_map = BTreeMap::new();
    for (shard, tensors) in shards {
        let file = shard.file_name()?.to_str()?;
        weight_map.extend(tensors.iter().map(|tensor| (tensor.as_str(), file)));
    }
    let text = serde_json::to_string_pretty(&serde_json::json!({"metadata": {}, "weight_map": weight_map}));
    Some((path.with_file_name(name), text.ok()?))
}

/// The element of a bool tensor with other bytes than 0 and 1.
pub(crate) fn opaque_bool(bytes: usize) -> TensorElement {
    TensorElement::Opaque(Arc::new(Opaque { name: BOOL.to_owned(), bytes, is_dtype: true }))
}

/// Dtype and shape in the file of a tensor of this logical shape.
fn stored_type(element: &TensorElement, logical: &[usize]) -> Option<(String, Vec<usize>)> {
    let dtype = match element {
        TensorElement::Encoded(_) => BYTES,
        TensorElement::Opaque(opaque) if opaque.is_dtype => &opaque.name,
        TensorElement::Opaque(_) => BYTES,
        TensorElement::Dense(dtype) => DTYPES.iter().find(|(_, known)| known == dtype)?.0,
    };
    Some((dtype.to_owned(), element.byte_shape(logical)))
}

/// The header's length and the header, with spaces up to where the data may begin.
fn head(header: &Header) -> Result<Vec<u8>, String> {
    let mut head = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut head, header).map_err(|error| error.to_string())?;
    head.resize(head.len().next_multiple_of(ALIGNMENT), b' ');
    let length = head.len() - LENGTH_BYTES;
    if length > MAX_HEADER {
        return Err(format!(
            "names and metadata take {length} bytes, at most {MAX_HEADER} are allowed; save less metadata"
        ));
    }
    head[..LENGTH_BYTES].copy_from_slice(&(length as u64).to_le_bytes());
    Ok(head)
}
