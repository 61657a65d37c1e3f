//! What a node that an op takes is made of.

use bitquilt_plugin_api::{Attributes, Element, Error, OutputType, Result, Rows, TensorType};

use super::values::{Filling, dense_bytes, normal};
use crate::{TestHost, TestTensor};

/// Inputs' types and attributes that an op takes.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) types: Vec<TensorType>,
    /// The names of the last of them, which are given by name.
    pub(super) named: Vec<String>,
    pub(super) attributes: Attributes,
}

impl Node {
    /// Says what it is: `f32 [3, 64], acme.int3 [5, 64]`.
    pub(super) fn describe(&self) -> String {
        let by_place = self.types.len() - self.named.len();
        let text = |(index, tensor): (usize, &TensorType)| match index.checked_sub(by_place) {
            Some(named) => format!("{}: {tensor}", self.named[named]),
            None => tensor.to_string(),
        };
        self.types.iter().enumerate().map(text).collect::<Vec<_>>().join(", ")
    }

    /// What tells it from others that show another side of an op.
    pub(super) fn profile(&self) -> (Vec<(Element, usize)>, &[String]) {
        (self.types.iter().map(|tensor| (tensor.element.clone(), tensor.rank())).collect(), &self.named)
    }

    /// The output types of an op for it.
    pub(super) fn infer(&self, host: &TestHost, op: &str) -> Result<Vec<OutputType>> {
        host.infer_named(op, &self.types, &self.named, &self.attributes)
    }

    /// Tensors of its types.
    pub(super) fn tensors(&self, host: &TestHost, filling: Filling) -> Result<Vec<TestTensor>> {
        let fill = |(index, tensor): (usize, &TensorType)| {
            let shape = tensor.fixed_shape().ok_or_else(|| Error::failed("a candidate has symbols"))?;
            let (count, seed) = (shape.iter().product(), 100 + index as u64);
            match &tensor.element {
                Element::Dense(dtype) => {
                    TestTensor::from_bytes(*dtype, &shape, &dense_bytes(*dtype, count, filling, seed))
                }
                Element::Encoded(name) => encoded(host, name, &shape, &normal(count, seed)),
            }
        };
        self.types.iter().enumerate().map(fill).collect()
    }
}

/// Values in an encoding, with importance if it demands it.
fn encoded(host: &TestHost, name: &str, shape: &[usize], values: &[f32]) -> Result<TestTensor> {
    let handle = host.encoding(name)?;
    let row_len = shape.last().copied().unwrap_or_default();
    let mut blocks = vec![0; handle.spec().byte_shape(shape)?.iter().product()];
    if !values.is_empty() {
        let importance = vec![1.0; row_len];
        let rows = Rows::new(values, row_len)?;
        handle.encoding().quantize(rows, Some(&importance), &mut blocks)?;
    }
    TestTensor::from_encoded(handle.spec(), shape, &blocks)
}
