//! One run of a kernel on memory of the tests' own.

use std::cell::{Cell, RefCell};

use bitquilt_plugin_api::host::{EncodingHandle, PreparedHandle, RunHost, WorkerMemory};
use bitquilt_plugin_api::{
    Encoding, Error, Executor, OpSignature, OutputType, Result, RowPart, Shapes, TensorView, TensorViewMut,
};

use crate::memory::{ALIGNMENT, Buffer, GARBAGE, Memory};
use crate::{TestHost, TestTensor};

/// A kernel, and what it runs on.
pub(super) struct Job<'a> {
    pub(super) host: &'a TestHost,
    pub(super) prepared: PreparedHandle,
    pub(super) signature: &'a OpSignature,
    /// The index in the signature of each input.
    pub(super) places: &'a [usize],
    pub(super) inputs: &'a [&'a TestTensor],
    pub(super) outputs: &'a [OutputType],
    pub(super) memory: Memory,
    pub(super) executor: Executor<'a>,
}

impl Job<'_> {
    /// Runs the transforms and the kernel. `written` are the outputs, those that alias an input with its bytes in them. Answers
    /// where something was written that is nobody's.
    pub(super) fn run(&self, written: &mut [TestTensor]) -> Result<Option<String>> {
        let Self { host, prepared, signature, places, inputs, outputs, memory, executor } = self;
        let mut transformed = Vec::new();
        for (input, _, transform) in &prepared.transforms {
            let input = inputs.get(*input).ok_or_else(|| {
                Error::failed(format_args!("`prepare` asks for a transform of input {input}, which is none"))
            })?;
            let mut result = Buffer::new(transform.bytes(input.shape())?, ALIGNMENT, *memory)?;
            transform.run(&input.view(), result.as_mut(), *executor)?;
            transformed.push(result);
        }
        let input_shapes: Vec<&[usize]> = inputs.iter().map(|tensor| tensor.shape()).collect();
        let output_shapes: Vec<Vec<usize>> = written.iter().map(|tensor| tensor.shape().to_vec()).collect();
        let output_shapes: Vec<&[usize]> = output_shapes.iter().map(Vec::as_slice).collect();
        let workers = executor.workers();
        let scratch =
            prepared.kernel.scratch(&Shapes { inputs: &input_shapes, outputs: &output_shapes, workers })?;
        let mut shared = Buffer::new(scratch.shared, ALIGNMENT, *memory)?;
        let mut pieces = WorkerPieces::new(scratch.per_worker, workers, *memory)?;

        let (mut own, mut states) = (Vec::new(), Vec::new());
        states.resize_with(inputs.len(), || None);
        for (output, tensor) in outputs.iter().zip(&mut *written) {
            match output.alias {
                Some(input) if places.get(input).is_some_and(|place| signature.is_state(*place)) => {
                    states[input] = Some(tensor.view_mut());
                    own.push(None);
                }
                Some(_) => own.push(None),
                None => own.push(Some(tensor.view_mut())),
            }
        }
        let mut readable = Vec::new();
        for (index, tensor) in inputs.iter().enumerate() {
            let is_read = states[index].is_none() && !prepared.released.contains(&index);
            readable.push(is_read.then_some(*tensor));
        }
        let run = Run {
            host,
            inputs: readable,
            outputs: RefCell::new(own),
            states: RefCell::new(states),
            transformed: &transformed,
            shared: Cell::new(shared.as_mut()),
            stride: pieces.stride,
            per_worker: scratch.per_worker,
            workers: Cell::new(pieces.memory.as_mut()),
            executor: *executor,
        };
        // SAFETY: `Run` keeps to the contract of `RunHost`, as is said there.
        unsafe { prepared.kernel.run(&run)? };

        let outputs = written.iter().map(|tensor| ("output", tensor.trespass()));
        let inputs = inputs.iter().map(|tensor| ("input", tensor.trespass()));
        let results = transformed.iter().map(|result| ("transform result", result.trespass()));
        let named = |(index, (what, place)): (usize, (&str, Option<String>))| {
            place.map(|place| format!("{what} {index}: {place}"))
        };
        let shared = || shared.trespass().map(|place| format!("the shared scratch: {place}"));
        Ok(outputs
            .enumerate()
            .find_map(named)
            .or_else(|| inputs.enumerate().find_map(named))
            .or_else(|| results.enumerate().find_map(named))
            .or_else(shared)
            .or_else(|| pieces.trespass()))
    }
}

impl Job<'_> {
    /// Whether the transforms that have a unit give for whole rows what they give for parts of them, joined.
    pub(super) fn check_joints(&self) -> Result<()> {
        for (input, _, transform) in &self.prepared.transforms {
            let Some(unit) = transform.unit()? else { continue };
            let input = self.inputs[*input];
            let len = input.shape().last().copied().unwrap_or_default();
            if !len.is_multiple_of(unit) {
                return Err(Error::failed(format_args!(
                    "rows of {len} values are taken, and the unit is {unit}"
                )));
            }
            let transformed = |input: &TestTensor| -> Result<Buffer> {
                let mut result = Buffer::new(transform.bytes(input.shape())?, ALIGNMENT, self.memory)?;
                transform.run(&input.view(), result.as_mut(), self.executor)?;
                Ok(result)
            };
            let whole = transformed(input)?;
            for cut in [unit, len / unit / 2 * unit].into_iter().filter(|cut| (1..len).contains(cut)) {
                let (left, right) =
                    (transformed(&input.columns(0..cut)?)?, transformed(&input.columns(cut..len)?)?);
                let parts = [(cut, &left), (len - cut, &right)]
                    .map(|(values, bytes)| RowPart { values, bytes: bytes.as_ref() });
                let mut joined = Buffer::new(whole.as_ref().len(), ALIGNMENT, self.memory)?;
                transform.join(input.shape(), &parts, joined.as_mut())?;
                if joined.as_ref() != whole.as_ref() {
                    return Err(Error::failed(format_args!(
                        "a transform of rows of {len} values, cut after {cut} and joined, is not that of whole rows"
                    )));
                }
            }
        }
        Ok(())
    }
}

/// Scratch memory of all workers.
struct WorkerPieces {
    memory: Buffer,
    bytes: usize,
    stride: usize,
}

impl WorkerPieces {
    fn new(bytes: usize, workers: usize, memory: Memory) -> Result<Self> {
        let stride = bytes.checked_next_multiple_of(ALIGNMENT);
        let too_large =
            || Error::failed(format_args!("there are no {bytes} bytes of memory for each worker"));
        let total = stride.and_then(|stride| stride.checked_mul(workers)).ok_or_else(too_large)?;
        let (memory, stride) = (Buffer::new(total, ALIGNMENT, memory)?, total / workers.max(1));
        let mut pieces = Self { memory, bytes, stride };
        pieces.gaps_mut().for_each(|gap| gap.fill(GARBAGE));
        Ok(pieces)
    }

    /// What lies between the memory of one worker and the next's.
    fn gaps_mut(&mut self) -> impl Iterator<Item = &mut [u8]> {
        let bytes = self.bytes;
        self.memory.as_mut().chunks_exact_mut(self.stride.max(1)).map(move |piece| &mut piece[bytes..])
    }

    fn trespass(&self) -> Option<String> {
        let what = |worker: usize, place: &str| format!("the scratch of worker {worker}: {place}");
        if self.bytes == 0 {
            return self.memory.trespass().map(|place| what(0, &place));
        }
        let pieces = self.memory.as_ref().chunks_exact(self.stride).enumerate();
        let mut gaps = pieces.map(|(worker, piece)| (worker, &piece[self.bytes..]));
        gaps.find(|(_, gap)| gap.iter().any(|byte| *byte != GARBAGE))
            .map(|(worker, _)| what(worker, "after its end"))
            .or_else(|| self.memory.trespass().map(|place| what(0, &place)))
    }
}

/// One run of a node. What is written is handed out once.
struct Run<'a> {
    host: &'a TestHost,
    inputs: Vec<Option<&'a TestTensor>>,
    outputs: RefCell<Vec<Option<TensorViewMut<'a>>>>,
    states: RefCell<Vec<Option<TensorViewMut<'a>>>>,
    transformed: &'a [Buffer],
    shared: Cell<&'a mut [u8]>,
    workers: Cell<&'a mut [u8]>,
    stride: usize,
    per_worker: usize,
    executor: Executor<'a>,
}

// SAFETY: all memory is borrowed for `'a`, which outlives the run. What is written are exclusive borrows of separate tensors and
// buffers, each given away once; inputs and transform results are shared borrows.
unsafe impl RunHost for Run<'_> {
    fn input_count(&self) -> usize {
        self.inputs.len()
    }
    fn input(&self, index: usize) -> Option<TensorView<'_>> {
        self.inputs.get(index).copied().flatten().map(TestTensor::view)
    }
    fn output(&self, index: usize) -> Option<TensorViewMut<'_>> {
        self.outputs.borrow_mut().get_mut(index)?.take()
    }
    fn state(&self, index: usize) -> Option<TensorViewMut<'_>> {
        self.states.borrow_mut().get_mut(index)?.take()
    }
    fn transformed(&self, index: usize) -> Option<&[u8]> {
        self.transformed.get(index).map(Buffer::as_ref)
    }
    fn shared_scratch(&self) -> &mut [u8] {
        self.shared.take()
    }
    fn worker_scratch(&self) -> WorkerMemory<'_> {
        let workers = self.executor.workers();
        WorkerMemory { memory: self.workers.take(), stride: self.stride, bytes: self.per_worker, workers }
    }
    fn decoder(&self, index: usize) -> Option<Encoding<'_>> {
        let tensor = self.inputs.get(index).copied().flatten()?;
        self.host.find_encoding(tensor.tensor_type().encoding()?).map(EncodingHandle::encoding)
    }
    fn executor(&self) -> Executor<'_> {
        self.executor
    }
}
