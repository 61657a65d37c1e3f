//! The safetensors container.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::sync::Arc;

use bitquilt_plugin_api::{DType, ShapeDisplay};
use safetensors::Dtype;
use safetensors::tensor::TensorInfo;

use super::StoredTensor;
use super::error::{Brief, Fault, MAX_RANK, TensorProblem};
use super::header::{Header, METADATA_KEY};
use super::records::{self, RECORDS_KEY, Record};
use crate::memory::ALIGNMENT;
use crate::tensor::TensorElement;

/// The length of the header, before the header.
const LENGTH_BYTES: usize = size_of::<u64>();
/// The longest header that the format allows.
const MAX_HEADER: usize = 100_000_000;

const DTYPES: [(Dtype, DType); 15] = [
    (Dtype::F32, DType::F32),
    (Dtype::F64, DType::F64),
    (Dtype::F16, DType::F16),
    (Dtype::BF16, DType::BF16),
    (Dtype::I8, DType::I8),
    (Dtype::I16, DType::I16),
    (Dtype::I32, DType::I32),
    (Dtype::I64, DType::I64),
    (Dtype::U8, DType::U8),
    (Dtype::U16, DType::U16),
    (Dtype::U32, DType::U32),
    (Dtype::U64, DType::U64),
    (Dtype::BOOL, DType::BOOL),
    (Dtype::F8_E4M3, DType::F8_E4M3),
    (Dtype::F8_E5M2, DType::F8_E5M2),
];

/// What a file has.
pub(super) struct Contents {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: BTreeMap<String, StoredTensor>,
}

/// Whether a file begins as safetensors files do.
pub(super) fn matches(bytes: &[u8]) -> bool {
    bytes.get(LENGTH_BYTES) == Some(&b'{')
}

/// Reads the header, and checks every number in it against the file.
pub(super) fn parse(bytes: &[u8]) -> Result<Contents, Fault> {
    let (header, data_at) = split(bytes)?;
    let Header { mut metadata, mut tensors } = serde_json::from_slice(header)
        .map_err(|error| format!("the header is malformed: {}", Brief(&error.to_string())))?;
    let mut records = match metadata.remove(RECORDS_KEY) {
        Some(text) => records::read(&text)?,
        None => BTreeMap::new(),
    };
    tensors.sort_by_key(|(_, info)| info.data_offsets);
    let available = bytes.len() - data_at;
    let mut end = 0;
    let mut stored = BTreeMap::new();
    for (name, info) in tensors {
        let record = records.remove(&name);
        let tensor = place(&info, record.as_ref(), end, available)
            .and_then(|(element, shape)| {
                let (begin, end) = info.data_offsets;
                StoredTensor::new(element, shape, data_at + begin..data_at + end)
            })
            .map_err(|problem| Fault::tensor(&name, problem))?;
        end = info.data_offsets.1;
        stored.insert(name, tensor);
    }
    if end != available {
        let problem = format!("the tensors end at byte {end} of the data, of which the file has {available}");
        return Err(problem.into());
    }
    if let Some(name) = records.keys().next() {
        let name = Brief(name);
        return Err(
            format!("the metadata `{RECORDS_KEY}` has a tensor `{name}` that the file has not").into()
        );
    }
    Ok(Contents { metadata, tensors: stored })
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

/// Element and logical shape of a tensor that begins where the one before it ends.
fn place(
    info: &TensorInfo,
    record: Option<&Record>,
    expected: usize,
    available: usize,
) -> Result<(TensorElement, Vec<usize>), TensorProblem> {
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
    let rank = info.shape.len().max(record.map_or(0, |record| record.shape.len()));
    if rank > MAX_RANK {
        return Err(TensorProblem::Rank { rank, max: MAX_RANK });
    }
    let Some(record) = record else {
        let dtype = DTYPES.iter().find(|(stored, _)| *stored == info.dtype).map(|(_, dtype)| *dtype);
        let dtype = dtype.ok_or_else(|| TensorProblem::DType { found: info.dtype.to_string() })?;
        return Ok((TensorElement::Dense(dtype), info.shape.clone()));
    };
    let (spec, shape) = (record.spec(), record.shape.clone());
    let element = TensorElement::Encoded(Arc::clone(&spec));
    element.bytes(&shape)?;
    // The check above found that the rows are whole blocks.
    let expected = spec.byte_shape(&shape).unwrap_or_default();
    if info.dtype != Dtype::U8 || info.shape != expected {
        let found = format!("{} {}", info.dtype.to_string().to_lowercase(), ShapeDisplay(&info.shape));
        return Err(TensorProblem::Record { encoding: spec.name.clone(), shape, expected, found });
    }
    Ok((element, shape))
}

/// A file to be written: everything before the data, and the order in which the tensors' bytes follow.
///
/// It takes types alone, so that the bytes need not all be there when the first are written.
pub(super) struct Layout<'a> {
    pub(super) head: Vec<u8>,
    pub(super) order: Types<'a>,
}

/// Names, elements and logical shapes.
pub(super) type Types<'a> = Vec<(&'a str, &'a TensorElement, &'a [usize])>;

/// Lays the tensors out; or says what the format does not take.
///
/// Dtypes of larger values come first and the data begins at a multiple of 64, so that every value is aligned.
pub(super) fn layout<'a>(
    mut order: Types<'a>,
    metadata: &BTreeMap<String, String>,
) -> Result<Layout<'a>, String> {
    order.sort_by_key(|(name, element, _)| (Reverse(element.alignment()), *name));
    let mut header = Header { metadata: metadata.clone(), tensors: Vec::with_capacity(order.len()) };
    let mut records = BTreeMap::new();
    let mut end = 0usize;
    for (name, element, logical) in &order {
        let (name, begin) = ((*name).to_owned(), end);
        if name == METADATA_KEY {
            return Err(format!("a tensor cannot have the name `{METADATA_KEY}`; rename it"));
        }
        let bytes = element.bytes(logical).map_err(|error| format!("tensor `{}`: {error}", Brief(&name)))?;
        let shape = element.byte_shape(logical);
        if shape.len() > MAX_RANK {
            let (name, rank) = (Brief(&name), shape.len());
            return Err(format!("the tensor `{name}` has {rank} dimensions, at most {MAX_RANK} are allowed"));
        }
        let dtype = stored_dtype(element).ok_or_else(|| {
            format!("safetensors has no dtype for {} of `{}`", element.name(), Brief(&name))
        })?;
        end = begin.checked_add(bytes).ok_or("the tensors have more bytes than a file can")?;
        if let Some(record) = Record::of(element, logical) {
            records.insert(name.clone(), record);
        }
        header.tensors.push((name, TensorInfo { dtype, shape, data_offsets: (begin, end) }));
    }
    if header.metadata.contains_key(RECORDS_KEY) {
        return Err(format!("the metadata `{RECORDS_KEY}` is written by the library; remove it"));
    }
    if !records.is_empty() {
        let text = records::write(records).map_err(|error| error.to_string())?;
        header.metadata.insert(RECORDS_KEY.to_owned(), text);
    }
    Ok(Layout { head: head(&header)?, order })
}

fn stored_dtype(element: &TensorElement) -> Option<Dtype> {
    match element {
        TensorElement::Encoded(_) => Some(Dtype::U8),
        TensorElement::Dense(dtype) => {
            DTYPES.iter().find(|(_, known)| known == dtype).map(|(stored, _)| *stored)
        }
    }
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
