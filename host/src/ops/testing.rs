//! Runs one op on tensors, for the tests of each.

use std::cell::UnsafeCell;

use bitquilt_plugin_api::host::{EncodingHandle, NodeHost, RunHost, WorkerMemory, register};
use bitquilt_plugin_api::{
    Attributes, Bindings, ElementView, Executor, InputKind, OutputType, Plugin, Result, Scalar, Scratch,
    Shapes, TensorType, TensorView, TensorViewMut,
};

use crate::Tensor;
use crate::executor::ThreadPool;
use crate::memory::AlignedBytes;
use crate::plugin::{Origin, RegisteredOp, Registry, Staged};
use crate::tensor::dense_bytes;

/// What memory holds before it is written.
const GARBAGE: u8 = 0xa5;

/// The standard ops, and what a test adds.
pub(super) struct Ops(Registry);

impl Ops {
    pub(super) fn standard() -> Self {
        let mut ops = Self(Registry::default());
        ops.add(super::plugin());
        ops
    }

    pub(super) fn add(&mut self, plugin: Plugin) {
        let staged = Staged::default();
        register(plugin, &staged).unwrap();
        self.0.commit(staged, Origin::BuiltIn).unwrap();
    }

    fn node(&self, op: &str, attributes: &Attributes, inputs: Vec<TensorType>) -> (Node<'_>, &RegisteredOp) {
        let op = self.0.op(op).unwrap();
        let mut all: Attributes = (op.signature().attributes.iter())
            .filter_map(|spec| Some((spec.name.clone(), spec.default.clone()?)))
            .collect();
        for (name, value) in attributes.iter() {
            let spec = op.signature().attributes.iter().find(|spec| spec.name == name).unwrap();
            all.insert(name, value.clone().into_kind(spec.kind).unwrap());
        }
        let name = op.signature().name.clone();
        (Node { registry: &self.0, op: name, attributes: all, inputs, outputs: Vec::new() }, op)
    }

    /// The types of the outputs.
    pub(super) fn infer(
        &self,
        op: &str,
        attributes: &Attributes,
        inputs: &[TensorType],
    ) -> Result<Vec<OutputType>> {
        let (node, op) = self.node(op, attributes, inputs.to_vec());
        op.handle.infer(&node)
    }

    /// The one output. It is computed by one worker and by three, to the same bits; a state counts as an output.
    pub(super) fn run(&self, op: &str, attributes: &Attributes, inputs: &[Tensor]) -> Result<Tensor> {
        let alone = self.run_with(op, attributes, inputs, 1);
        let together = self.run_with(op, attributes, inputs, 3);
        assert_eq!(alone, together, "`{op}` depends on the number of workers");
        alone
    }

    fn run_with(
        &self,
        op: &str,
        attributes: &Attributes,
        inputs: &[Tensor],
        workers: usize,
    ) -> Result<Tensor> {
        let types = inputs.iter().map(Tensor::tensor_type).collect();
        let (mut node, op) = self.node(op, attributes, types);
        let [output] = <[OutputType; 1]>::try_from(op.handle.infer(&node)?).unwrap();
        node.outputs = vec![output.tensor.clone()];
        let (dtype, shape) = (output.tensor.dtype().unwrap(), output.tensor.evaluate(&Bindings::new())?);
        let kinds = &op.signature().inputs;
        let state = kinds.iter().position(|input| input.kind == InputKind::State);
        if let (Some(alias), None) = (output.alias, state) {
            return Ok(Tensor::from_bytes(dtype, shape, inputs[alias].bytes()).unwrap());
        }
        let memory = match state {
            Some(state) => AlignedBytes::copy_of(inputs[state].bytes()),
            None => garbage(dense_bytes(dtype, &shape).unwrap()),
        };
        let encoding =
            op.signature().kernel_input.and_then(|input| Some(inputs[input].encoding()?.name.clone()));
        let kernel = self.0.kernels(&op.signature().name, encoding.as_deref()).next().unwrap();
        let kernel = kernel.handle.prepare(&node)?.kernel;
        let input_shapes: Vec<&[usize]> = inputs.iter().map(Tensor::shape).collect();
        let Scratch { shared, per_worker } =
            kernel.scratch(&Shapes { inputs: &input_shapes, outputs: &[&shape], workers })?;
        let stride = per_worker.next_multiple_of(64);
        let pool = ThreadPool::new(workers).unwrap();
        let entered = pool.enter();
        let run = Run {
            registry: &self.0,
            inputs,
            state,
            element: ElementView::Dense(dtype),
            shape: &shape,
            memory: UnsafeCell::new(memory),
            shared: UnsafeCell::new(garbage(shared)),
            workers: UnsafeCell::new(garbage(stride * workers)),
            piece: (stride, per_worker, workers),
            executor: Executor::of(&entered),
        };
        // SAFETY: what the run answers is alive, and memory, shared and worker scratch are buffers of their own.
        unsafe { kernel.run(&run) }?;
        Ok(Tensor::from_memory(dtype, shape.clone(), run.memory.into_inner()).unwrap())
    }
}

fn garbage(len: usize) -> AlignedBytes {
    let mut bytes = AlignedBytes::zeroed(len);
    bytes.fill(GARBAGE);
    bytes
}

struct Node<'a> {
    registry: &'a Registry,
    op: String,
    attributes: Attributes,
    inputs: Vec<TensorType>,
    outputs: Vec<TensorType>,
}

impl NodeHost for Node<'_> {
    fn op(&self) -> &str {
        &self.op
    }
    fn attributes(&self) -> &Attributes {
        &self.attributes
    }
    fn inputs(&self) -> &[TensorType] {
        &self.inputs
    }
    fn outputs(&self) -> &[TensorType] {
        &self.outputs
    }
    fn is_constant(&self, _: usize) -> bool {
        false
    }
    fn constant(&self, _: usize) -> Option<TensorView<'_>> {
        None
    }
    fn encoding(&self, name: &str) -> Option<&EncodingHandle> {
        self.registry.encoding(name).map(|encoding| &encoding.handle)
    }
    fn option(&self, _: &str) -> Option<String> {
        None
    }
    fn executor(&self) -> Executor<'_> {
        Executor::serial()
    }
}

struct Run<'a> {
    registry: &'a Registry,
    inputs: &'a [Tensor],
    state: Option<usize>,
    element: ElementView<'a>,
    shape: &'a [usize],
    /// Of the output, or of the state.
    memory: UnsafeCell<AlignedBytes>,
    shared: UnsafeCell<AlignedBytes>,
    workers: UnsafeCell<AlignedBytes>,
    piece: (usize, usize, usize),
    executor: Executor<'a>,
}

impl Run<'_> {
    fn memory(&self) -> TensorViewMut<'_> {
        // SAFETY: asked for once, as output or as state.
        TensorViewMut::from_parts(self.element, self.shape, unsafe { &mut *self.memory.get() })
    }
}

// SAFETY: inputs are immutable; each cell is handed out once.
unsafe impl RunHost for Run<'_> {
    fn input_count(&self) -> usize {
        self.inputs.len()
    }
    fn input(&self, index: usize) -> Option<TensorView<'_>> {
        self.inputs.get(index).filter(|_| self.state != Some(index)).map(Tensor::view)
    }
    fn output(&self, index: usize) -> Option<TensorViewMut<'_>> {
        (self.state.is_none() && index == 0).then(|| self.memory())
    }
    fn state(&self, index: usize) -> Option<TensorViewMut<'_>> {
        (self.state == Some(index)).then(|| self.memory())
    }
    fn transformed(&self, _: usize) -> Option<&[u8]> {
        None
    }
    fn shared_scratch(&self) -> &mut [u8] {
        // SAFETY: asked for once.
        unsafe { &mut *self.shared.get() }
    }
    fn worker_scratch(&self) -> WorkerMemory<'_> {
        let (stride, bytes, workers) = self.piece;
        // SAFETY: asked for once.
        WorkerMemory { memory: unsafe { &mut *self.workers.get() }, stride, bytes, workers }
    }
    fn decoder(&self, index: usize) -> Option<&EncodingHandle> {
        let name = &self.inputs.get(index)?.encoding()?.name;
        self.registry.encoding(name).map(|encoding| &encoding.handle)
    }
    fn executor(&self) -> Executor<'_> {
        self.executor
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
/// output's type, followed by ` = input N` where it aliases one, or, after `error: `, a part of the sentence.
#[track_caller]
pub(super) fn check_inference(op: &str, cases: &[(Attributes, &[&str], &str)]) {
    let ops = Ops::standard();
    for (attributes, inputs, expected) in cases {
        let types: Vec<TensorType> = inputs.iter().map(|text| ty(text)).collect();
        let found = match ops.infer(op, attributes, &types) {
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
