//! What a checkpoint records of the tensors that it has as bytes.

use std::collections::BTreeMap;
use std::sync::Arc;

use bitquilt_declared::Declaration;
use bitquilt_plugin_api::EncodingSpec;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::checkpoint::unique::UniqueMap;
use crate::tensor::{Opaque, TensorElement};
use crate::text::Brief;

/// The key of the records of encoded tensors in the metadata.
pub(super) const RECORDS_KEY: &str = "bitquilt.encodings";

/// The key of the records of opaque tensors whose type is no dtype of safetensors.
pub(super) const OPAQUE_KEY: &str = "bitquilt.opaque";

/// The key of the declarations of encodings in the metadata.
pub(super) const DECLARED_KEY: &str = "bitquilt.declared";

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

/// The type of an opaque tensor and its logical shape.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct OpaqueRecord {
    r#type: String,
    pub(super) shape: Vec<usize>,
}

#[derive(Serialize, Deserialize)]
struct Records<R> {
    format: u32,
    tensors: R,
}

impl OpaqueRecord {
    /// The record of a tensor, if it is opaque and its type no dtype.
    pub(super) fn of(element: &TensorElement, shape: &[usize]) -> Option<Self> {
        match element {
            TensorElement::Opaque(opaque) if !opaque.is_dtype => {
                Some(Self { r#type: opaque.name.clone(), shape: shape.to_vec() })
            }
            _ => None,
        }
    }

    /// The element of a tensor of so many bytes.
    pub(super) fn element(&self, bytes: usize) -> TensorElement {
        TensorElement::Opaque(Arc::new(Opaque { name: self.r#type.clone(), bytes, is_dtype: false }))
    }
}

/// A record of either kind.
pub(super) trait Named {
    /// What the record calls the type.
    fn name(&self) -> &str;
}

impl Named for Record {
    fn name(&self) -> &str {
        &self.encoding
    }
}

impl Named for OpaqueRecord {
    fn name(&self) -> &str {
        &self.r#type
    }
}

impl Record {
    /// The record of a tensor, if it is encoded.
    pub(super) fn of(element: &TensorElement, shape: &[usize]) -> Option<Self> {
        let TensorElement::Encoded(spec) = element else { return None };
        let EncodingSpec { version, block_len, block_bytes, .. } = **spec;
        let (encoding, shape) = (spec.name.clone(), shape.to_vec());
        Some(Self { encoding, version, block_len, block_bytes, shape })
    }

    /// The encoding, as far as it is recorded, or else declared.
    pub(super) fn spec(&self, declared: &BTreeMap<String, EncodingSpec>) -> Result<EncodingSpec, String> {
        let spec = EncodingSpec::new(self.encoding.as_str(), self.block_len, self.block_bytes);
        let spec = spec.version(self.version);
        let Some(declared) = declared.get(&spec.name) else { return Ok(spec) };
        let block = |spec: &EncodingSpec| (spec.version, spec.block_len, spec.block_bytes);
        if block(declared) == block(&spec) {
            return Ok(declared.clone());
        }
        Err(format!(
            "it is recorded as {} version {}, {} values in {} bytes, which the file declares as version {}, {} values in {} bytes",
            spec.name,
            spec.version,
            spec.block_len,
            spec.block_bytes,
            declared.version,
            declared.block_len,
            declared.block_bytes
        ))
    }
}

#[derive(Serialize, Deserialize)]
struct Declared<E> {
    format: u32,
    encodings: E,
}

/// The text of the declarations of encodings, by name.
pub(super) fn write_declared(declarations: BTreeMap<String, String>) -> serde_json::Result<String> {
    serde_json::to_string(&Declared { format: FORMAT, encodings: UniqueMap(declarations) })
}

/// Takes the declared encodings out of the metadata; or says what is wrong with them.
pub(super) fn take_declared(
    metadata: &mut BTreeMap<String, String>,
) -> Result<BTreeMap<String, EncodingSpec>, String> {
    let Some(text) = metadata.remove(DECLARED_KEY) else { return Ok(BTreeMap::new()) };
    check_format(DECLARED_KEY, &text, FORMAT)?;
    let Declared { encodings: UniqueMap(texts), .. }: Declared<UniqueMap<String>> =
        serde_json::from_str(&text).map_err(|error| malformed(DECLARED_KEY, &error))?;
    let mut declared = BTreeMap::new();
    for (name, text) in texts {
        let wrong = |problem: String| {
            format!("the metadata `{DECLARED_KEY}` declares the encoding `{}`: {problem}", Brief(&name))
        };
        let declaration = Declaration::parse(&text).map_err(|error| wrong(error.to_string()))?;
        if declaration.name() != name {
            return Err(wrong(format!("the declaration's name is `{}`", declaration.name())));
        }
        declared.insert(name, declaration.spec());
    }
    Ok(declared)
}

/// Whether a name can be an encoding's or a type's: so that it can be shown as it is.
pub(super) fn is_name(name: &str) -> bool {
    name.bytes().all(|byte| byte.is_ascii_graphic()) && (1..=MAX_NAME).contains(&name.len())
}

/// The text of the records, by tensor.
pub(super) fn write<R: Serialize>(records: BTreeMap<String, R>) -> serde_json::Result<String> {
    serde_json::to_string(&Records { format: FORMAT, tensors: UniqueMap(records) })
}

/// What is said of JSON in the metadata.
pub(super) fn malformed(key: &str, error: &serde_json::Error) -> String {
    format!("the metadata `{key}`: {}", Brief(&error.to_string()))
}

/// Whether the JSON of a key is of the one form that is read.
pub(super) fn check_format(key: &str, text: &str, read: u32) -> Result<(), String> {
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = serde_json::from_str(text).map_err(|error| malformed(key, &error))?;
    if format == read {
        return Ok(());
    }
    Err(format!(
        "the metadata `{key}` has format {format}, {read} is read; the file may be of a newer bitquilt"
    ))
}

/// Takes the records of a key out of the metadata; or says what is wrong with them.
pub(super) fn take<R: Named + DeserializeOwned>(
    metadata: &mut BTreeMap<String, String>,
    key: &str,
) -> Result<BTreeMap<String, R>, String> {
    let Some(text) = metadata.remove(key) else { return Ok(BTreeMap::new()) };
    check_format(key, &text, FORMAT)?;
    let Records { tensors: UniqueMap(records), .. } =
        serde_json::from_str(&text).map_err(|error| malformed(key, &error))?;
    if let Some((tensor, record)) = records.iter().find(|(_, record): &(_, &R)| !is_name(record.name())) {
        let (tensor, name) = (Brief(tensor), Brief(record.name()));
        return Err(format!(
            "the metadata `{key}` has for tensor `{tensor}` an encoding `{name}`, which no encoding can have as its name"
        ));
    }
    Ok(records)
}
