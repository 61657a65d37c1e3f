//! The JSON header of a safetensors file.

use std::collections::BTreeMap;
use std::fmt::{self, Formatter};

use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::checkpoint::unique::UniqueMap;
use crate::text::Brief;

/// The key of the metadata, which no tensor may have as its name.
pub(super) const METADATA_KEY: &str = "__metadata__";

/// The header: text by key, and the tensors' places.
///
/// Written, the keys are in order and the tensors in the order given, so that equal contents are equal bytes. Read, a name
/// that is there twice is an error: the `safetensors` crate keeps the last of them.
#[derive(Debug, Default)]
pub(super) struct Header {
    pub(super) metadata: BTreeMap<String, String>,
    pub(super) tensors: Vec<(String, TensorInfo)>,
}

/// A tensor's type and place. The type is as it is named, so that a file may have types that nobody here knows.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) struct TensorInfo {
    pub(super) dtype: String,
    pub(super) shape: Vec<usize>,
    /// Bytes of the data.
    pub(super) data_offsets: (usize, usize),
}

impl Serialize for Header {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        if !self.metadata.is_empty() {
            map.serialize_entry(METADATA_KEY, &self.metadata)?;
        }
        for (name, info) in &self.tensors {
            map.serialize_entry(name, info)?;
        }
        map.end()
    }
}

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("an object with an entry for each tensor")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut metadata = None;
        let mut tensors = BTreeMap::new();
        while let Some(name) = map.next_key::<String>()? {
            let first = if name == METADATA_KEY {
                metadata.replace(map.next_value::<UniqueMap<String>>()?).is_none()
            } else {
                let info = map
                    .next_value::<TensorInfo>()
                    .map_err(|error| A::Error::custom(format_args!("tensor `{}`: {error}", Brief(&name))))?;
                tensors.insert(name.clone(), info).is_none()
            };
            if !first {
                return Err(A::Error::custom(format_args!("`{}` is there twice", Brief(&name))));
            }
        }
        let metadata = metadata.unwrap_or_default().0;
        Ok(Header { metadata, tensors: tensors.into_iter().collect() })
    }
}
