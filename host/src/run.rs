//! One run of a program: each step's kernel, over memory that is all laid out before.

use std::ptr::NonNull;

use bitquilt_plugin_api::host::{RunHost, WorkerMemory};
use bitquilt_plugin_api::{Element, ElementView, EncodingHandle, Executor, TensorView, TensorViewMut};

use crate::compile::{Layout, Place, Program};
use crate::memory::AlignedBytes;
use crate::plugin::Registry;
use crate::profile::Observer;
use crate::session::RunError;

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
    /// What `inputs` and `states` were made of must be alive for `'a`, and the states nobody else's. Each input has the bytes of its
    /// value in the layout.
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
        for (index, step) in self.program.steps.iter().enumerate() {
            for slot in &step.begins {
                let begin = observer.begin();
                self.transform(*slot).map_err(|source| RunError::node(step, source))?;
                observer.transform(*slot, begin, self.program, self.layout);
            }
            let begin = observer.begin();
            // SAFETY: `StepRun` keeps to the contract, see there.
            unsafe { step.kernel.run(&StepRun { run: self, step: index }) }
                .map_err(|source| RunError::node(step, source))?;
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
    fn bytes(&self, value: usize) -> Option<NonNull<u8>> {
        let root = self.program.root(value);
        match &self.program.values[root].place {
            Place::Input(input) => {
                debug_assert_eq!(self.inputs[*input].len, self.layout.bytes(value));
                Some(self.inputs[*input].data)
            }
            Place::Constant(tensor) => tensor.as_ref().map(|tensor| NonNull::from(tensor.bytes()).cast()),
            Place::State(state) => Some(self.states[*state]),
            // SAFETY: the layout's pieces lie inside the arena.
            Place::Arena => self.layout.offset(root).map(|offset| unsafe { self.arena.add(offset) }),
            Place::Alias(_) => None,
        }
    }

    fn element(&self, value: usize) -> ElementView<'a> {
        match &self.program.values[value].tensor.element {
            Element::Dense(dtype) => ElementView::Dense(*dtype),
            Element::Encoded(name) => ElementView::Encoded(name),
        }
    }

    /// A value, to read.
    pub(crate) fn view(&self, value: usize) -> Option<TensorView<'_>> {
        let (data, len) = (self.bytes(value)?, self.layout.bytes(value));
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
        let (data, len) = (self.bytes(value)?, self.layout.bytes(value));
        // SAFETY: as in `view`; values of the arena that are alive together do not overlap, a state has one writer at a time, and
        // the caller is the only user.
        let bytes = unsafe { std::slice::from_raw_parts_mut(data.as_ptr(), len) };
        Some(TensorViewMut::from_parts(self.element(value), self.layout.shape(value), bytes))
    }
}

/// One step of a run, as its kernel sees it.
struct StepRun<'a> {
    run: &'a Run<'a>,
    step: usize,
}

impl StepRun<'_> {
    fn step(&self) -> &crate::compile::Step {
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
        let piece = self.run.layout.transform(*self.step().transforms.get(index)?);
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
    fn decoder(&self, index: usize) -> Option<&EncodingHandle> {
        let (value, _) = *self.step().inputs.get(index)?;
        let name = self.run.program.values[value].tensor.encoding()?;
        self.run.registry.encoding(name).map(|encoding| &encoding.handle)
    }
    fn executor(&self) -> Executor<'_> {
        self.run.executor
    }
}
