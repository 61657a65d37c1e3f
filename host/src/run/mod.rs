//! One run of a program: each step's kernel, over memory that is all laid out before.

pub(crate) mod executor;
pub(crate) mod observe;
pub(crate) mod profile;
pub(crate) mod recorder;

use std::ptr::NonNull;

use bitquilt_plugin_api::host::{RunHost, WorkerMemory};
use bitquilt_plugin_api::{ElementView, Encoding, Executor, TensorView, TensorViewMut};

use self::observe::{Observer, Values};
use crate::interrupt::Interrupt;
use crate::memory::AlignedBytes;
use crate::plan::{Layout, Location, PlacedValue, Program, RunError, Step, StepKernel};
use crate::registry::Registry;
use crate::tensor::Tensor;
use bitquilt_simd::{prefetch, prefetch_line};

/// How many steps ahead what a step looks up is prefetched: the shortest take some hundred nanoseconds, and so does memory.
const AHEAD: usize = 2;

/// All that a run's kernels may touch.
pub(crate) struct Run<'a> {
    program: &'a Program,
    layout: &'a Layout,
    registry: &'a Registry,
    /// The arena; pieces of it are handed out as the layout says.
    arena: NonNull<u8>,
    inputs: &'a [InputBytes],
    states: &'a [NonNull<u8>],
    executor: Executor<'a>,
}

/// The caller's memory of an input, whose shape is the layout's.
#[derive(Clone, Copy)]
pub(crate) struct InputBytes {
    data: NonNull<u8>,
    len: usize,
}

// SAFETY: it is only read, and only while the caller's run borrows what it was made of.
unsafe impl Send for InputBytes {}
// SAFETY: as above.
unsafe impl Sync for InputBytes {}

impl InputBytes {
    pub(crate) fn new(bytes: &[u8]) -> Self {
        Self { data: NonNull::from(bytes).cast(), len: bytes.len() }
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl<'a> Run<'a> {
    /// A run over an arena that has the layout's bytes.
    ///
    /// # Safety
    /// The layout is one of the program. What `inputs` and `states` were made of must be alive for `'a`, and the states nobody else's.
    /// Each input has the bytes of its value in the layout.
    pub(crate) unsafe fn new(
        program: &'a Program,
        layout: &'a Layout,
        registry: &'a Registry,
        arena: &'a mut AlignedBytes,
        inputs: &'a [InputBytes],
        states: &'a [NonNull<u8>],
        executor: Executor<'a>,
    ) -> Self {
        debug_assert!(arena.len() >= layout.arena_bytes());
        let arena = NonNull::from(&mut **arena).cast();
        Self { program, layout, registry, arena, inputs, states, executor }
    }

    /// Runs every step.
    pub(crate) fn steps(&self, observer: &mut impl Observer) -> Result<(), RunError> {
        let interrupt = Interrupt::in_scope();
        for (index, step) in self.program.steps.iter().enumerate() {
            if interrupt.as_ref().is_some_and(Interrupt::is_requested) {
                return Err(RunError::Interrupted);
            }
            self.prefetch(index);
            observer.inputs(index, self)?;
            for slot in self.layout.begins(index) {
                let begin = observer.begin();
                self.transform(*slot).map_err(|source| step.failed(source))?;
                observer.transform(*slot, begin, self.program, self.layout);
            }
            let begin = observer.begin();
            let kernel = self.layout.kernel(self.program, index);
            // SAFETY: `StepRun` keeps to the contract, see there.
            unsafe { kernel.kernel.run(&StepRun { run: self, step: index, kernel }) }
                .map_err(|source| step.failed(source))?;
            observer.step(index, begin, self.program, self.layout);
        }
        for (index, output) in self.program.outputs.iter().enumerate() {
            if let Some(piece) = self.layout.copy(index)
                && let Some(view) = self.view(output.value)
            {
                // SAFETY: the piece is this copy's own when the last step has run.
                unsafe { self.piece(piece.offset, piece.bytes) }.copy_from_slice(view.bytes());
            }
        }
        Ok(())
    }

    /// Prefetches what the steps after `step` look up.
    fn prefetch(&self, step: usize) {
        for line in self.layout.lookups(step + AHEAD) {
            prefetch_line(std::ptr::without_provenance(*line));
        }
        prefetch(self.layout.lookups(step + 2 * AHEAD));
    }

    fn transform(&self, slot: usize) -> Result<(), bitquilt_plugin_api::Error> {
        let (transform, piece) = (&self.program.transforms[slot], self.layout.transform(slot));
        let input = self.view(transform.value).ok_or_else(|| {
            bitquilt_plugin_api::Error::failed(
                "a transform's input was released; that is a fault of the kernel",
            )
        })?;
        // SAFETY: the layout gives the piece to this transform alone from this step on, and its input is elsewhere.
        let dst = unsafe { self.piece(piece.offset, piece.bytes) };
        transform.transform.run(&input, dst, self.executor)
    }

    /// A piece of the arena.
    ///
    /// # Safety
    /// The piece is the layout's, and nobody else uses it while the slice is alive.
    #[allow(clippy::mut_from_ref)]
    unsafe fn piece(&self, offset: usize, bytes: usize) -> &mut [u8] {
        // SAFETY: the layout's pieces lie inside the arena, which `'a` borrows mutably.
        unsafe { std::slice::from_raw_parts_mut(self.arena.add(offset).as_ptr(), bytes) }
    }

    /// Where a value's bytes are; none for a constant that was released.
    fn bytes(&self, value: &PlacedValue) -> Option<NonNull<u8>> {
        match value.location {
            Location::Input(input) => {
                debug_assert_eq!(self.inputs[input].len, value.bytes);
                Some(self.inputs[input].data)
            }
            // A tensor's of the program, which `'a` borrows.
            Location::Constant(data) => Some(data),
            Location::Released => None,
            Location::State(state) => Some(self.states[state]),
            // SAFETY: the layout's pieces lie inside the arena.
            Location::Arena(offset) => Some(unsafe { self.arena.add(offset) }),
        }
    }

    fn element(&self, value: usize) -> ElementView<'a> {
        match self.layout.value(value).dtype {
            Some(dtype) => ElementView::Dense(dtype),
            None => ElementView::Encoded(self.program.values[value].tensor.encoding().unwrap_or_default()),
        }
    }

    /// A value, to read.
    pub(crate) fn view(&self, value: usize) -> Option<TensorView<'_>> {
        let placed = self.layout.value(value);
        let (data, len) = (self.bytes(placed)?, placed.bytes);
        // SAFETY: every place has the bytes of its value (inputs were checked, constants are tensors of that type, states and
        // pieces were made so), and no step that reads a value runs while another writes its memory.
        let bytes = unsafe { std::slice::from_raw_parts(data.as_ptr(), len) };
        Some(TensorView::from_parts(self.element(value), self.layout.shape(value), bytes))
    }

    /// A value, to write.
    ///
    /// # Safety
    /// Only the step that writes the value may ask, once.
    unsafe fn view_mut(&self, value: usize) -> Option<TensorViewMut<'_>> {
        let placed = self.layout.value(value);
        let (data, len) = (self.bytes(placed)?, placed.bytes);
        // SAFETY: as in `view`; values of the arena that are alive together do not overlap, a state has one writer at a time, and
        // the caller is the only user.
        let bytes = unsafe { std::slice::from_raw_parts_mut(data.as_ptr(), len) };
        Some(TensorViewMut::from_parts(self.element(value), self.layout.shape(value), bytes))
    }
}

impl Values for Run<'_> {
    fn program(&self) -> &Program {
        self.program
    }
    fn value(&self, value: usize) -> Option<TensorView<'_>> {
        self.view(value)
    }
    fn executor(&self) -> Executor<'_> {
        self.executor
    }
}

/// One step of a run, as its kernel sees it.
struct StepRun<'a> {
    run: &'a Run<'a>,
    step: usize,
    kernel: &'a StepKernel,
}

impl StepRun<'_> {
    fn step(&self) -> &Step {
        &self.run.program.steps[self.step]
    }
}

// SAFETY: a step's inputs, outputs, transforms and scratch are all used by this step in the layout's lifetimes, so that they do
// not overlap; states are in memory of their own, and a step that takes a state to write it does not get it as an input.
unsafe impl RunHost for StepRun<'_> {
    fn input_count(&self) -> usize {
        self.step().inputs.len()
    }
    fn input(&self, index: usize) -> Option<TensorView<'_>> {
        let (value, written) = *self.step().inputs.get(index)?;
        if written { None } else { self.run.view(value) }
    }
    fn output(&self, index: usize) -> Option<TensorViewMut<'_>> {
        let (value, alias) = *self.step().outputs.get(index)?;
        // SAFETY: this step writes its outputs; the context asks once.
        if alias { None } else { unsafe { self.run.view_mut(value) } }
    }
    fn state(&self, index: usize) -> Option<TensorViewMut<'_>> {
        let (value, written) = *self.step().inputs.get(index)?;
        // SAFETY: this step writes the state; the context asks once.
        if written { unsafe { self.run.view_mut(value) } } else { None }
    }
    fn transformed(&self, index: usize) -> Option<&[u8]> {
        let piece = self.run.layout.transform(*self.kernel.transforms.get(index)?);
        // SAFETY: the layout's pieces lie inside the arena; this one was written before the step and is only read now.
        Some(unsafe { std::slice::from_raw_parts(self.run.arena.add(piece.offset).as_ptr(), piece.bytes) })
    }
    fn shared_scratch(&self) -> &mut [u8] {
        let piece = self.run.layout.step(self.step).shared;
        // SAFETY: the layout gives the piece to this step alone; the context asks once.
        unsafe { self.run.piece(piece.offset, piece.bytes) }
    }
    fn worker_scratch(&self) -> WorkerMemory<'_> {
        let memory = self.run.layout.step(self.step);
        let workers = self.run.executor.workers();
        // SAFETY: as above.
        let bytes = unsafe { self.run.piece(memory.workers.offset, memory.workers.bytes) };
        WorkerMemory { memory: bytes, stride: memory.stride, bytes: memory.per_worker, workers }
    }
    fn decoder(&self, index: usize) -> Option<Encoding<'_>> {
        let (value, _) = *self.step().inputs.get(index)?;
        let name = self.run.program.values[value].tensor.encoding()?;
        self.run.registry.encoding(name).map(|encoding| encoding.handle.encoding())
    }
    fn executor(&self) -> Executor<'_> {
        self.run.executor
    }
}

/// Runs a program that has no inputs, symbols or states; its outputs.
pub(crate) fn run_once(
    program: &Program,
    registry: &Registry,
    executor: Executor<'_>,
) -> Result<Vec<Tensor>, RunError> {
    let layout = Layout::new(program, registry, &[], executor.workers())?;
    let mut arena = layout.arena(program)?;
    // SAFETY: there are no inputs and states.
    let run = unsafe { Run::new(program, &layout, registry, &mut arena, &[], &[], executor) };
    run.steps(&mut ())?;
    let output = |value: usize| {
        let view = run.view(value).ok_or_else(|| released(program, value))?;
        registry.tensor(&view).map_err(RunError::Tensor)
    };
    program.outputs.iter().map(|port| output(port.value)).collect()
}

fn released(program: &Program, value: usize) -> RunError {
    RunError::Shape(bitquilt_plugin_api::Error::failed(format_args!(
        "the output {} was released; that is a fault of a kernel",
        program.values[value].tensor
    )))
}
