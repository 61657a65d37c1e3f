//! What a checkpoint records of its encoded tensors.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitquilt_plugin_api::EncodingSpec;
use serde::{Deserialize, Serialize};

use super::error::Brief;
use super::header::UniqueMap;
use crate::tensor::TensorElement;

/// The key of the records in the metadata.
pub(super) const RECORDS_KEY: &str = "bitquilt.encodings";

/// The form of the records; another one is refused.
const FORMAT: u32 = 1;

/// The longest name of an encoding.
const MAX_NAME: usize = 64;

/// The encoding of a tensor and its logical shape, which the container's u8 rows do not tell.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Record {
    encoding: String,
    version: u32,
    block_len: usize,
    block_bytes: usize,
    pub(super) shape: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
struct Records {
    format: u32,
    tensors: UniqueMap<Record>,
}

impl Record {
    /// The record of a tensor, if it is encoded.
    pub(super) fn of(element: &TensorElement, shape: &[usize]) -> Option<Self> {
        let TensorElement::Encoded(spec) = element else { return None };
        let EncodingSpec { version, block_len, block_bytes, .. } = **spec;
        let (encoding, shape) = (spec.name.clone(), shape.to_vec());
        Some(Self { encoding, version, block_len, block_bytes, shape })
    }

    /// The encoding, as far as it is recorded.
    pub(super) fn spec(&self) -> Arc<EncodingSpec> {
        let spec = EncodingSpec::new(self.encoding.as_str(), self.block_len, self.block_bytes);
        Arc::new(spec.version(self.version))
    }
}

/// The text of the records, by tensor.
pub(super) fn write(records: BTreeMap<String, Record>) -> serde_json::Result<String> {
    serde_json::to_string(&Records { format: FORMAT, tensors: UniqueMap(records) })
}

/// The records in a text, by tensor; or what is wrong with it.
pub(super) fn read(text: &str) -> Result<BTreeMap<String, Record>, String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let malformed =
        |error: serde_json::Error| format!("the metadata `{RECORDS_KEY}`: {}", Brief(&error.to_string()));
    let Format { format } = serde_json::from_str(text).map_err(malformed)?;
    if format != FORMAT {
        return Err(format!(
            "the metadata `{RECORDS_KEY}` has format {format}, {FORMAT} is read; the file may be of a newer bitquilt"
        ));
    }
    let Records { tensors: UniqueMap(records), .. } = serde_json::from_str(text).map_err(malformed)?;
    for (tensor, Record { encoding, .. }) in &records {
        let printable = encoding.bytes().all(|byte| byte.is_ascii_graphic());
        if !printable || !(1..=MAX_NAME).contains(&encoding.len()) {
            let (tensor, encoding) = (Brief(tensor), Brief(encoding));
            return Err(format!(
                "the metadata `{RECORDS_KEY}` has for tensor `{tensor}` an encoding `{encoding}`, which no encoding \
                 can have as its name"
            ));
        }
    }
    Ok(records)
}
