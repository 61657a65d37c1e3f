//! The outputs of two graphs on the same inputs.

use std::path::Path;

use bitquilt_plugin_api::{DType, Scalar};

use super::difference::Difference;
use super::error::CompareError;
use crate::checkpoint::TensorDict;
use crate::model::Model;
use crate::registry::Registry;
use crate::state::OwnedResults;
use crate::tensor::Tensor;

/// A loaded graph, and what messages call it.
#[derive(Clone, Copy)]
pub struct NamedModel<'a> {
    /// The name.
    pub name: &'a str,
    /// The graph.
    pub model: &'a Model,
}

/// How far the outputs of a graph are from those of another, over the sets of inputs that were added.
pub struct OutputComparison<'a> {
    reference: NamedModel<'a>,
    other: NamedModel<'a>,
    outputs: Vec<(String, Difference)>,
}

impl<'a> OutputComparison<'a> {
    /// A comparison of two graphs, on no inputs yet; an error if they have not the same outputs.
    pub fn new(reference: NamedModel<'a>, other: NamedModel<'a>) -> Result<Self, CompareError> {
        let names = |it: &NamedModel<'_>| {
            let mut names: Vec<String> = it.model.outputs().map(|(name, _)| name.to_owned()).collect();
            names.sort();
            names
        };
        let (expected, found) = (names(&reference), names(&other));
        if expected != found {
            let (reference, other) = (reference.name.to_owned(), other.name.to_owned());
            return Err(CompareError::Outputs { reference, other, expected, found });
        }
        let outputs = expected.into_iter().map(|name| (name, Difference::default())).collect();
        Ok(Self { reference, other, outputs })
    }

    /// Runs both graphs, each with states of its own, and adds their outputs. `set` is where the inputs are from.
    pub fn add(&mut self, set: &Path, inputs: &TensorDict) -> Result<(), CompareError> {
        let (expected, found) = (run(&self.reference, set, inputs)?, run(&self.other, set, inputs)?);
        for (output, sum) in &mut self.outputs {
            let at = |it: &NamedModel<'_>| Output { graph: it.name.to_owned(), output, set };
            let (a, b) = (tensor(&expected, &at(&self.reference))?, tensor(&found, &at(&self.other))?);
            if a.shape() != b.shape() {
                return Err(CompareError::OutputShape {
                    inputs: set.to_owned(),
                    output: output.clone(),
                    reference: self.reference.name.to_owned(),
                    other: self.other.name.to_owned(),
                    expected: a.shape().to_vec(),
                    found: b.shape().to_vec(),
                });
            }
            let registry = &self.reference.model.core.registry;
            let a = at(&self.reference).numbers(a, registry)?;
            let b = at(&self.other).numbers(b, &self.other.model.core.registry)?;
            *sum = sum.and(&Difference::of(&a, &b));
        }
        Ok(())
    }

    /// The difference of each output, by name.
    pub fn outputs(&self) -> impl ExactSizeIterator<Item = (&str, &Difference)> {
        self.outputs.iter().map(|(name, difference)| (name.as_str(), difference))
    }

    /// The difference of all outputs.
    pub fn total(&self) -> Difference {
        self.outputs.iter().fold(Difference::default(), |sum, (_, difference)| sum.and(difference))
    }
}

fn run(it: &NamedModel<'_>, set: &Path, inputs: &TensorDict) -> Result<OwnedResults, CompareError> {
    it.model.execute(inputs.iter()).map_err(|source| CompareError::Run {
        graph: it.name.to_owned(),
        inputs: set.to_owned(),
        source,
    })
}

fn tensor<'r>(results: &'r OwnedResults, at: &Output<'_>) -> Result<&'r Tensor, CompareError> {
    results.tensor(at.output).map_err(|source| CompareError::Run {
        graph: at.graph.clone(),
        inputs: at.set.to_owned(),
        source,
    })
}

/// An output of a graph on a set of inputs.
struct Output<'a> {
    graph: String,
    output: &'a str,
    set: &'a Path,
}

impl Output<'_> {
    fn wrong(&self, problem: String) -> CompareError {
        let (inputs, output, graph) = (self.set.to_owned(), self.output.to_owned(), self.graph.clone());
        CompareError::Output { inputs, output, graph, problem }
    }

    /// The values as f64, all of them finite.
    fn numbers(&self, tensor: &Tensor, registry: &Registry) -> Result<Vec<f64>, CompareError> {
        let values = numbers(tensor, registry).map_err(|problem| self.wrong(problem))?;
        let Some(at) = values.iter().position(|value| !value.is_finite()) else { return Ok(values) };
        let row_len = tensor.shape().last().copied().unwrap_or(1);
        let (row, column, value) = (at / row_len, at % row_len, values[at]);
        Err(self.wrong(format!("has {value} at row {row}, column {column}; only finite values are compared")))
    }
}

/// The values of a tensor of numbers as f64; of integers above 2^53, those nearest.
fn numbers(tensor: &Tensor, registry: &Registry) -> Result<Vec<f64>, String> {
    fn of<T: Scalar>(tensor: &Tensor, number: impl Fn(T) -> f64) -> Result<Vec<f64>, String> {
        let values = tensor.values::<T>().map_err(|error| error.to_string())?;
        Ok(values.iter().map(|value| number(*value)).collect())
    }
    match tensor.dtype() {
        Some(DType::F64) => of(tensor, |value: f64| value),
        Some(DType::I8) => of::<i8>(tensor, f64::from),
        Some(DType::I16) => of::<i16>(tensor, f64::from),
        Some(DType::I32) => of::<i32>(tensor, f64::from),
        Some(DType::I64) => of(tensor, |value: i64| value as f64),
        Some(DType::U8) => of::<u8>(tensor, f64::from),
        Some(DType::U16) => of::<u16>(tensor, f64::from),
        Some(DType::U32) => of::<u32>(tensor, f64::from),
        Some(DType::U64) => of(tensor, |value: u64| value as f64),
        Some(DType::BOOL) => Ok(tensor.bytes().iter().map(|byte| f64::from(*byte)).collect()),
        _ => {
            let decoded = registry.to_f32(tensor).map_err(|error| format!("is not compared: {error}"))?;
            of::<f32>(&decoded, f64::from)
        }
    }
}
