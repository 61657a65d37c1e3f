//! What a file says about itself: typed values by key.

mod exact;
mod find;
mod value;

use std::collections::{BTreeMap, btree_map};

pub use find::{FromValue, MetadataError};
pub use value::{Array, Value};
pub(super) use value::{Escaped, text};

/// Values by key, of the types that GGUF has. Metadata of safetensors files is text, and so is what other programs see there.
///
/// In a safetensors file a text is an entry of `__metadata__`; all values of other types are in one entry, as
/// [the format of checkpoints](super#the-format-of-checkpoints) says, and come back as they were, bit for bit. Iteration is in the order
/// of the keys.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    entries: BTreeMap<String, Value>,
}

impl Metadata {
    /// No values.
    pub fn new() -> Self {
        Self::default()
    }

    /// The value of this key.
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.entries.get(key)
    }

    /// The text of this key, if it is one.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.get(key)?.as_str()
    }

    /// Sets a value; answers the one that the key had before. Keys that begin with `bitquilt.` are the library's.
    pub fn insert(&mut self, key: impl Into<String>, value: impl Into<Value>) -> Option<Value> {
        self.entries.insert(key.into(), value.into())
    }

    /// Takes the value of this key out.
    pub fn remove(&mut self, key: &str) -> Option<Value> {
        self.entries.remove(key)
    }

    /// Whether there is such a key.
    pub fn contains(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    /// Takes everything out.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// All values, by key.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Value)> {
        self.entries.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// Adds the values of keys that are not there.
    pub(super) fn complete(&mut self, other: Self) {
        for (key, value) in other.entries {
            self.entries.entry(key).or_insert(value);
        }
    }
}

impl<K: Into<String>, V: Into<Value>> FromIterator<(K, V)> for Metadata {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(entries: I) -> Self {
        Self { entries: entries.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    }
}

impl IntoIterator for Metadata {
    type Item = (String, Value);
    type IntoIter = btree_map::IntoIter<String, Value>;
    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}
