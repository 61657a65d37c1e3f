//! Runs one op on tensors, for the tests of each.

use bitquilt_plugin_api::{Attributes, OutputType, Plugin, Result, Scalar, TensorType};
use bitquilt_plugin_kit::{TestHost, TestTensor};

use crate::Tensor;

/// The standard ops, and what a test adds.
pub(super) struct Ops(TestHost);

impl Ops {
    pub(super) fn standard() -> Self {
        Self::with([])
    }

    pub(super) fn with(plugins: impl IntoIterator<Item = Plugin>) -> Self {
        Self(TestHost::new([super::plugin()].into_iter().chain(plugins)).unwrap())
    }

    /// The types of the outputs; the last inputs are those of these names.
    pub(super) fn infer(
        &self,
        op: &str,
        attributes: &Attributes,
        inputs: &[TensorType],
        names: &[String],
    ) -> Result<Vec<OutputType>> {
        self.0.infer_named(op, inputs, names, attributes)
    }

    /// The one output, as [`Self::run_all`] gives it.
    pub(super) fn run(&self, op: &str, attributes: &Attributes, inputs: &[Tensor]) -> Result<Tensor> {
        self.run_named(op, attributes, inputs, &[])
    }

    /// As [`Self::run`], with inputs that are given by name.
    pub(super) fn run_named(
        &self,
        op: &str,
        attributes: &Attributes,
        inputs: &[Tensor],
        named: &[(&str, &Tensor)],
    ) -> Result<Tensor> {
        let [output] = <[Tensor; 1]>::try_from(self.run_all(op, attributes, inputs, named)?)
            .unwrap_or_else(|_| panic!("one output"));
        Ok(output)
    }

    /// The outputs. They are computed by one worker and by three, to the same bits.
    pub(super) fn run_all(
        &self,
        op: &str,
        attributes: &Attributes,
        inputs: &[Tensor],
        named: &[(&str, &Tensor)],
    ) -> Result<Vec<Tensor>> {
        let inputs: Vec<TestTensor> = inputs.iter().map(lend).collect();
        let named: Vec<(&str, TestTensor)> = named.iter().map(|(name, it)| (*name, lend(it))).collect();
        let [alone, together] = [1, 3].map(|threads| {
            let call = inputs.iter().fold(self.0.call(op).threads(threads), |call, input| call.input(input));
            let call = named.iter().fold(call, |call, (name, input)| call.input_named(name, input));
            let call =
                attributes.iter().fold(call, |call, (name, value)| call.attribute(name, value.clone()));
            let outputs = call.run()?.into_iter().map(|output| {
                let dtype = output.tensor_type().dtype().unwrap();
                Tensor::from_bytes(dtype, output.shape(), output.bytes()).unwrap()
            });
            Ok(outputs.collect::<Vec<_>>())
        });
        assert_eq!(alone, together, "`{op}` depends on the number of workers");
        alone
    }
}

fn lend(tensor: &Tensor) -> TestTensor {
    match (tensor.dtype(), tensor.encoding()) {
        (Some(dtype), _) => TestTensor::from_bytes(dtype, tensor.shape(), tensor.bytes()).unwrap(),
        (_, Some(spec)) => TestTensor::from_encoded(spec, tensor.shape(), tensor.bytes()).unwrap(),
        _ => unreachable!(),
    }
}

/// A type as it is displayed, such as `f32 [batch, 2*seq]` or `i64 []`.
pub(super) fn ty(text: &str) -> TensorType {
    let (element, shape) = text.split_once(' ').unwrap();
    let dims = shape.strip_prefix('[').unwrap().strip_suffix(']').unwrap();
    let dims = dims.split(',').filter(|dim| !dim.trim().is_empty()).map(|dim| dim.parse().unwrap());
    let shape: Vec<crate::Dim> = dims.collect();
    match crate::DType::from_name(element) {
        Some(dtype) => TensorType::dense(dtype, shape),
        None => TensorType::encoded(element, shape),
    }
}

/// Asserts what an op infers for inputs of these types: each case is its attributes, its inputs and its outcome. That is the
/// output's type, followed by ` = input N` where it aliases one, or, after `error: `, a part of the sentence. An input that is given by
/// name has its name and a colon before its type.
#[track_caller]
pub(super) fn check_inference(op: &str, cases: &[(Attributes, &[&str], &str)]) {
    let ops = Ops::standard();
    for (attributes, inputs, expected) in cases {
        let named: Vec<(&str, &str)> = inputs.iter().filter_map(|text| text.split_once(": ")).collect();
        let by_place = inputs.iter().filter(|text| !text.contains(": ")).copied();
        let types = by_place.chain(named.iter().map(|(_, text)| *text)).map(ty).collect::<Vec<_>>();
        let names: Vec<String> = named.iter().map(|(name, _)| (*name).to_owned()).collect();
        let found = match ops.infer(op, attributes, &types, &names) {
            Ok(outputs) => {
                let [output] = &outputs[..] else { panic!("`{op}` has {} outputs", outputs.len()) };
                let alias = output.alias.map(|input| format!(" = input {input}")).unwrap_or_default();
                format!("{}{alias}", output.tensor)
            }
            Err(error) => format!("error: {error}"),
        };
        assert_eq!(&found, expected, "{op}({}) with {attributes}", inputs.join(", "));
    }
}

/// No attributes.
pub(super) fn none() -> Attributes {
    Attributes::new()
}

/// Pseudo-random numbers between -1 and 1, the same for the same seed.
pub(super) fn noise(shape: &[usize], seed: u64) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let values: Vec<f32> = (0..shape.iter().product::<usize>())
        .map(|_| {
            // Xorshift: Marsaglia, "Xorshift RNGs", 2003.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::new(shape, values).unwrap()
}

/// Each index of a shape, in order.
pub(super) fn indices(shape: &[usize]) -> impl Iterator<Item = Vec<usize>> {
    let count: usize = shape.iter().product();
    (0..count).map(|flat| {
        let mut rest = flat;
        let mut index: Vec<usize> = shape
            .iter()
            .rev()
            .map(|extent| {
                let place = rest % extent;
                rest /= extent;
                place
            })
            .collect();
        index.reverse();
        index
    })
}

/// The value at `index` of a tensor that broadcasts to the shape the index is of.
pub(super) fn at<T: Scalar>(tensor: &Tensor, index: &[usize]) -> T {
    let own = &index[index.len() - tensor.shape().len()..];
    let flat = own
        .iter()
        .zip(tensor.shape())
        .fold(0, |flat, (place, extent)| flat * extent + if *extent == 1 { 0 } else { *place });
    tensor.values::<T>().unwrap()[flat]
}

/// Asserts that f32 values agree: `|found - expected| <= tolerance * max(1, |expected|)`, or both are NaN.
#[track_caller]
pub(super) fn assert_close(found: &Tensor, expected: &[f64], tolerance: f64, what: &str) {
    let found_values = found.values::<f32>().unwrap();
    assert_eq!(found_values.len(), expected.len(), "{what}");
    for (index, (found, expected)) in found_values.iter().zip(expected).enumerate() {
        let found = f64::from(*found);
        let close = (found - expected).abs() <= tolerance * expected.abs().max(1.0);
        assert!(
            close || found == *expected || found.is_nan() && expected.is_nan(),
            "{what}: value {index} is {found}, expected {expected}"
        );
    }
}
