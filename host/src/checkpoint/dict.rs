//! Named tensors.

use std::collections::{BTreeMap, btree_map};

use bitquilt_plugin_api::Scalar;

use super::{CheckpointError, Metadata};
use crate::similar::similar;
use crate::tensor::Tensor;

/// Tensors by name, and metadata by key: what a checkpoint holds.
///
/// Iteration is in the order of the names. Tensors share their bytes, so a clone is cheap.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TensorDict {
    tensors: BTreeMap<String, Tensor>,
    metadata: Metadata,
}

impl TensorDict {
    /// An empty dictionary.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a tensor; answers the one that had the name before.
    pub fn insert(&mut self, name: impl Into<String>, tensor: Tensor) -> Option<Tensor> {
        self.tensors.insert(name.into(), tensor)
    }

    /// Takes a tensor out.
    pub fn remove(&mut self, name: &str) -> Option<Tensor> {
        self.tensors.remove(name)
    }

    /// The tensor of this name, if there is one.
    pub fn get(&self, name: &str) -> Option<&Tensor> {
        self.tensors.get(name)
    }

    /// The tensor of this name, or an error with the names that are almost the same.
    pub fn require(&self, name: &str) -> Result<&Tensor, CheckpointError> {
        self.get(name).ok_or_else(|| missing(name, self.tensors.keys()))
    }

    /// The values of the tensor of this name, row-major; an error if it is not there, encoded, or of another dtype.
    pub fn values<T: Scalar>(&self, name: &str) -> Result<&[T], CheckpointError> {
        let tensor = name.to_owned();
        self.require(name)?.values().map_err(|error| CheckpointError::WrongType { tensor, error })
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.tensors.contains_key(name)
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.tensors.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.tensors.is_empty()
    }

    /// All tensors, by name.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// All names.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.tensors.keys().map(String::as_str)
    }

    /// What is saved with the tensors.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The same, to change it. Keys that begin with `bitquilt.` are the library's.
    pub fn metadata_mut(&mut self) -> &mut Metadata {
        &mut self.metadata
    }
}

impl<N: Into<String>> FromIterator<(N, Tensor)> for TensorDict {
    fn from_iter<I: IntoIterator<Item = (N, Tensor)>>(tensors: I) -> Self {
        let mut dict = Self::new();
        dict.extend(tensors);
        dict
    }
}

impl<N: Into<String>> Extend<(N, Tensor)> for TensorDict {
    fn extend<I: IntoIterator<Item = (N, Tensor)>>(&mut self, tensors: I) {
        self.tensors.extend(tensors.into_iter().map(|(name, tensor)| (name.into(), tensor)));
    }
}

impl IntoIterator for TensorDict {
    type Item = (String, Tensor);
    type IntoIter = btree_map::IntoIter<String, Tensor>;
    fn into_iter(self) -> Self::IntoIter {
        self.tensors.into_iter()
    }
}

/// The error for a name that is not among `names`.
pub(super) fn missing<'a>(name: &str, names: impl ExactSizeIterator<Item = &'a String>) -> CheckpointError {
    let of = names.len();
    CheckpointError::Missing { tensor: name.to_owned(), similar: similar(name, names), of }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tensor_is_an_error_with_the_names_near_it() {
        let dict: TensorDict = ["layer.0.up", "layer.1.up", "norm"]
            .map(|name| (name, Tensor::scalar(1.0f32)))
            .into_iter()
            .collect();
        for (name, sentence) in [
            ("layer.2.up", "there is no tensor `layer.2.up`; did you mean `layer.0.up` or `layer.1.up`?"),
            ("Nrom", "there is no tensor `Nrom`; none of the 3 has a similar name"),
            ("NORM", "there is no tensor `NORM`; did you mean `norm`?"),
        ] {
            assert_eq!(dict.require(name).unwrap_err().to_string(), sentence);
        }
        let sentence = "tensor `norm`: the tensor holds f32 values, i32 were asked for";
        assert_eq!(dict.values::<i32>("norm").unwrap_err().to_string(), sentence);
        assert_eq!(dict.values::<f32>("norm").unwrap(), [1.0]);
    }
}
