//! States: a caller's memory for running a model.

use std::collections::BTreeMap;
use std::ops::Range;
use std::ptr::NonNull;
use std::time::Instant;

use bitquilt_plugin_api::{Dim, Element, ElementView, Executor, Scalar, TensorView};

use crate::memory::{ALIGNMENT, AlignedBytes};
use crate::model::Model;
use crate::plan::{Layout, Location, OutputPort, Place, Program, RunError, bindings_of};
use crate::quantize::importance::{ColumnImportance, ImportanceMatrix};
use crate::run::profile::{Profile, Profiler};
use crate::run::recorder::Recorder;
use crate::run::{InputBytes, Run};
use crate::tensor::{Tensor, describe};
use crate::text::Brief;

/// How many bindings of the symbols a state keeps the layout of.
const MAX_LAYOUTS: usize = 64;

/// A caller's memory for running a model: the arena, and the states that live from run to run.
///
/// The arena is laid out once for each binding of the symbols. A run whose binding was seen before allocates nothing.
pub struct State {
    model: Model,
    arena: AlignedBytes,
    /// The memory of all states, and where in it each is.
    states: AlignedBytes,
    state_ranges: Vec<Range<usize>>,
    state_pointers: Vec<NonNull<u8>>,
    /// The most recently used last.
    layouts: Vec<Layout>,
    inputs: Vec<InputBytes>,
    given: Vec<usize>,
    shapes: Vec<Vec<usize>>,
    bindings: Vec<usize>,
    profiler: Option<Box<Profiler>>,
    recorder: Option<Box<Recorder>>,
}

// SAFETY: the pointers are to memory that the state owns, and to inputs that are used only while a run borrows them.
unsafe impl Send for State {}
// SAFETY: as above; a shared reference only reads.
unsafe impl Sync for State {}

impl Model {
    /// Memory for runs, with all states zero.
    pub fn new_state(&self) -> Result<State, RunError> {
        State::new(self.clone())
    }

    /// Runs once, with memory and states of its own, and gives the outputs.
    pub fn execute<'t, V: Into<TensorView<'t>>>(
        &self,
        inputs: impl IntoIterator<Item = (&'t str, V)>,
    ) -> Result<OwnedResults, RunError> {
        self.new_state()?.run(inputs)?.to_owned()
    }
}

/// The value of a symbol that is not bound yet.
const UNBOUND: usize = usize::MAX;

impl State {
    pub(crate) fn new(model: Model) -> Result<Self, RunError> {
        let program = &model.program;
        let mut state_ranges = Vec::with_capacity(program.states.len());
        let mut end = 0usize;
        for state in &program.states {
            // One piece of memory is a large one, which the system gives page by page as states are written.
            let range = end
                .checked_next_multiple_of(ALIGNMENT)
                .and_then(|begin| Some(begin..begin.checked_add(state.bytes)?));
            let range = range.ok_or_else(|| too_large(program))?;
            end = range.end;
            state_ranges.push(range);
        }
        let states = AlignedBytes::zeroed(end).ok_or_else(|| too_large(program))?;
        // SAFETY: the ranges are within the memory.
        let pointer = |range: &Range<usize>| unsafe { states.start().add(range.start) };
        let state_pointers = state_ranges.iter().map(pointer).collect();
        let inputs = program.inputs.len();
        Ok(Self {
            arena: AlignedBytes::empty(),
            states,
            state_ranges,
            state_pointers,
            layouts: Vec::new(),
            inputs: vec![InputBytes::new(&[]); inputs],
            given: vec![0; inputs],
            shapes: program.inputs.iter().map(|port| Vec::with_capacity(port.tensor.rank())).collect(),
            bindings: vec![UNBOUND; program.symbols.len()],
            profiler: None,
            recorder: None,
            model,
        })
    }

    /// The model that this is the memory of.
    pub fn model(&self) -> &Model {
        &self.model
    }

    /// Runs the model on these inputs, each given once by name. The results are in this state's memory, until its next run.
    ///
    /// If a kernel fails, states that were written before it keep what was written.
    pub fn run<'t, V: Into<TensorView<'t>>>(
        &mut self,
        inputs: impl IntoIterator<Item = (&'t str, V)>,
    ) -> Result<Results<'_>, RunError> {
        self.take_inputs(inputs)?;
        self.bind()?;
        let index = self.lay_out()?;
        let layout = &self.layouts[index];
        let (program, core) = (&self.model.program, &self.model.core);
        for (port, input) in program.inputs.iter().zip(&self.inputs) {
            if let Some(expected) =
                port.value.map(|value| layout.bytes(value)).filter(|bytes| *bytes != input.len())
            {
                return Err(RunError::InputBytes { input: port.name.clone(), expected, found: input.len() });
            }
        }
        let (arena, inputs, states) = (&mut self.arena, &self.inputs, &self.state_pointers);
        let (profiler, recorder) = (&mut self.profiler, &mut self.recorder);
        program.effects.alone(|| {
            let entered = core.pool.enter();
            // SAFETY: the inputs are borrowed for `'t`, which lives through this call, and have the bytes of their values in the
            // layout; the states are this one's, which is borrowed mutably.
            let run = unsafe {
                let executor = Executor::of(&entered);
                Run::new(program, layout, &core.registry, arena, inputs, states, executor)
            };
            match (profiler, recorder) {
                (None, None) => run.steps(&mut ()),
                (None, Some(recorder)) => run.steps(&mut **recorder),
                (Some(profiler), recorder) => {
                    let begin = Instant::now();
                    match recorder {
                        None => run.steps(&mut **profiler)?,
                        Some(recorder) => run.steps(&mut (&mut **profiler, &mut **recorder))?,
                    }
                    profiler.run(begin);
                    Ok(())
                }
            }
        })?;
        Ok(Results { layout: &self.layouts[index], state: self })
    }

    /// Begins to note how long each node takes, anew if it was noted before, or stops and forgets.
    ///
    /// What is noted has its memory from now on: runs still allocate nothing. Reading the clock costs each node some 50 ns.
    pub fn set_profile(&mut self, on: bool) {
        self.profiler = on.then(|| Box::new(Profiler::new(&self.model.program)));
    }

    /// Where the time of the runs since [`Self::set_profile`] went; none if nothing was noted.
    pub fn profile(&self) -> Option<Profile> {
        self.profiler.as_ref().map(|profiler| profiler.profile(&self.model.program))
    }

    /// Begins to record the importance of weights' columns, anew if it was recorded before, or stops and forgets.
    ///
    /// What is recorded has its memory from now on: runs still allocate nothing. A run whose activations are not all finite fails, with the
    /// name of the node; what its earlier nodes multiplied is recorded.
    pub fn set_record_importance(&mut self, on: bool) {
        self.recorder = on.then(|| Box::new(Recorder::new(&self.model.program)));
    }

    /// What the runs since [`Self::set_record_importance`] have multiplied weights with, by the names of the weights: those that constants
    /// were [given](crate::Graph::constant_named), or that [`Graph::weights`](crate::Graph::weights) has. None if nothing was recorded.
    ///
    /// A weight is a constant of rank 2 and more that an op's signature has a [contraction](bitquilt_plugin_api::Contraction) for. Each of
    /// its columns has the sum of the squares of what it was multiplied with, over all rows of all runs and all nodes that take the weight.
    /// Sums are in f64, and the same bits for any number of threads.
    pub fn importance(&self) -> Option<ImportanceMatrix> {
        let weights = self.recorder.as_ref()?.weights(&self.model.program);
        let weights = weights
            .into_iter()
            .map(|weight| (weight.name.to_owned(), ColumnImportance::recorded(weight.squares, weight.rows)));
        Some(ImportanceMatrix::recorded(weights))
    }

    /// Sets every state to zero.
    pub fn reset(&mut self) {
        self.states.fill(0);
    }

    /// What a state holds.
    pub fn state(&self, name: &str) -> Option<TensorView<'_>> {
        let index = *self.model.program.index.states.get(name)?;
        let slot = &self.model.program.states[index];
        let element = ElementView::Dense(slot.tensor.dtype()?);
        Some(TensorView::from_parts(element, &slot.shape, &self.states[self.state_ranges[index].clone()]))
    }

    fn take_inputs<'t, V: Into<TensorView<'t>>>(
        &mut self,
        inputs: impl IntoIterator<Item = (&'t str, V)>,
    ) -> Result<(), RunError> {
        let program = &self.model.program;
        let ports = &program.inputs;
        self.given.fill(0);
        for (name, view) in inputs {
            let view: TensorView<'t> = view.into();
            let Some(&index) = program.index.inputs.get(name) else {
                let known = ports.iter().map(|port| port.name.clone()).collect();
                return Err(RunError::UnknownInput { input: name.to_owned(), known });
            };
            let port = &ports[index];
            let same_element = match (view.element(), &port.tensor.element) {
                (ElementView::Dense(found), Element::Dense(expected)) => found == *expected,
                (ElementView::Encoded(found), Element::Encoded(expected)) => found == expected,
                _ => false,
            };
            if !same_element || view.shape().len() != port.tensor.rank() {
                let (input, expected) = (port.name.clone(), port.tensor.clone());
                return Err(RunError::InputType { input, expected, found: describe(&view) });
            }
            self.given[index] += 1;
            self.inputs[index] = InputBytes::new(view.bytes());
            self.shapes[index].clear();
            self.shapes[index].extend_from_slice(view.shape());
        }
        match self.given.iter().position(|times| *times != 1) {
            Some(index) => {
                Err(RunError::InputTimes { input: ports[index].name.clone(), times: self.given[index] })
            }
            None => Ok(()),
        }
    }

    /// Binds the symbols to the inputs' dimensions, and checks all others.
    fn bind(&mut self) -> Result<(), RunError> {
        let program = &self.model.program;
        self.bindings.fill(UNBOUND);
        let mut has_expressions = false;
        for (port, shape) in program.inputs.iter().zip(&self.shapes) {
            for (dim, found) in port.tensor.shape.iter().zip(shape) {
                match (dim, dim.as_symbol()) {
                    (Dim::Fixed(expected), _) if expected != found => {
                        return Err(self.wrong_input(&port.name));
                    }
                    (_, Some(symbol)) => {
                        // Loading has listed every symbol of every input.
                        let Ok(slot) = program.symbols.binary_search_by(|known| known.as_str().cmp(symbol))
                        else {
                            continue;
                        };
                        let bound = std::mem::replace(&mut self.bindings[slot], *found);
                        if bound != UNBOUND && bound != *found {
                            let (input, symbol) = (port.name.clone(), symbol.to_owned());
                            return Err(RunError::SymbolConflict { input, symbol, bound, found: *found });
                        }
                    }
                    (Dim::Symbolic(_), None) => has_expressions = true,
                    _ => {}
                }
            }
        }
        if has_expressions {
            let bindings = bindings_of(&program.symbols, &self.bindings);
            for (port, shape) in program.inputs.iter().zip(&self.shapes) {
                if port.tensor.evaluate(&bindings).map_err(RunError::Shape)? != *shape {
                    return Err(self.wrong_input(&port.name));
                }
            }
        }
        Ok(())
    }

    fn wrong_input(&self, name: &str) -> RunError {
        let ports = &self.model.program.inputs;
        match ports.iter().zip(&self.shapes).find(|(port, _)| port.name == name) {
            Some((port, shape)) => RunError::InputType {
                input: port.name.clone(),
                expected: port.tensor.clone(),
                found: format!("{} {:?}", port.tensor.element, shape),
            },
            None => RunError::UnknownInput { input: name.to_owned(), known: Vec::new() },
        }
    }

    /// Makes the layout for the bindings the last one, and the arena large enough for it; the layout's index.
    fn lay_out(&mut self) -> Result<usize, RunError> {
        match self.layouts.iter().position(|layout| layout.is_for(&self.bindings)) {
            Some(index) => self.layouts[index..].rotate_left(1),
            None => {
                let (program, core) = (&self.model.program, &self.model.core);
                let layout = Layout::new(program, &core.registry, &self.bindings, core.pool.workers())?;
                if self.layouts.len() == MAX_LAYOUTS {
                    self.layouts.remove(0);
                }
                self.layouts.push(layout);
            }
        }
        let index = self.layouts.len() - 1;
        let layout = &self.layouts[index];
        if self.arena.len() < layout.arena_bytes() {
            self.arena = AlignedBytes::empty();
            self.arena = layout.arena(&self.model.program)?;
        }
        Ok(index)
    }
}

/// The memory of all states cannot be had.
fn too_large(program: &Program) -> RunError {
    let largest = program.states.iter().max_by_key(|state| state.bytes);
    let what = largest.map_or_else(
        || "the states".to_owned(),
        |state| format!("the model's states, of which `{}` takes {} bytes,", Brief(&state.name), state.bytes),
    );
    // Loading has found that the sum can be addressed.
    RunError::TooLarge { what, bytes: program.states.iter().map(|state| state.bytes as u128).sum() }
}

/// What a run gave, in its state's memory.
pub struct Results<'s> {
    state: &'s State,
    layout: &'s Layout,
}

impl<'s> Results<'s> {
    /// The values of an output; an error if there is none, or if it is encoded or of another dtype.
    pub fn get<T: Scalar>(&self, output: &str) -> Result<&'s [T], RunError> {
        self.view(output)?.values().map_err(RunError::Shape)
    }

    /// An output with its shape.
    pub fn view(&self, output: &str) -> Result<TensorView<'s>, RunError> {
        let program = &self.state.model.program;
        let Some(&index) = program.index.outputs.get(output) else {
            let known = program.outputs.iter().map(|port| port.name.clone()).collect();
            return Err(RunError::UnknownOutput { output: output.to_owned(), known });
        };
        self.output(index, &program.outputs[index])
    }

    /// A copy of an output.
    pub fn tensor(&self, output: &str) -> Result<Tensor, RunError> {
        self.state.model.core.registry.tensor(&self.view(output)?).map_err(RunError::Tensor)
    }

    /// The outputs' names and views, in the graph's order.
    pub fn iter(&self) -> impl Iterator<Item = Result<(&'s str, TensorView<'s>), RunError>> {
        let outputs = &self.state.model.program.outputs;
        outputs.iter().enumerate().map(|(index, port)| Ok((port.name.as_str(), self.output(index, port)?)))
    }

    /// Copies of all outputs.
    pub fn to_owned(&self) -> Result<OwnedResults, RunError> {
        let registry = &self.state.model.core.registry;
        let tensors = self.iter().map(|output| {
            let (name, view) = output?;
            Ok((name.to_owned(), registry.tensor(&view).map_err(RunError::Tensor)?))
        });
        Ok(OwnedResults { tensors: tensors.collect::<Result<_, RunError>>()? })
    }

    fn output(&self, index: usize, port: &OutputPort) -> Result<TensorView<'s>, RunError> {
        let Self { state, layout } = self;
        let program = &state.model.program;
        let of_arena = |offset: usize| &state.arena[offset..][..layout.bytes(port.value)];
        let bytes: &[u8] = match (layout.value(port.value).location, &program.values[port.root].place) {
            (Location::Arena(offset), _) => of_arena(offset),
            (Location::State(slot), _) => &state.states[state.state_ranges[slot].clone()],
            (_, Place::Constant(tensor)) => tensor.as_ref().map_or(&[], Tensor::bytes),
            _ => layout.copy(index).map_or(&[], |piece| of_arena(piece.offset)),
        };
        let element = match &program.values[port.value].tensor.element {
            Element::Dense(dtype) => ElementView::Dense(*dtype),
            Element::Encoded(name) => ElementView::Encoded(name),
        };
        Ok(TensorView::from_parts(element, layout.shape(port.value), bytes))
    }
}

/// What a run gave, in memory of its own.
#[derive(Clone, Debug)]
pub struct OwnedResults {
    tensors: BTreeMap<String, Tensor>,
}

impl OwnedResults {
    /// The values of an output; an error if there is none, or if it is encoded or of another dtype.
    pub fn get<T: Scalar>(&self, output: &str) -> Result<&[T], RunError> {
        self.tensor(output)?.values().map_err(RunError::Tensor)
    }

    /// An output.
    pub fn tensor(&self, output: &str) -> Result<&Tensor, RunError> {
        self.tensors.get(output).ok_or_else(|| {
            let known = self.tensors.keys().cloned().collect();
            RunError::UnknownOutput { output: output.to_owned(), known }
        })
    }

    /// The outputs, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Tensor)> {
        self.tensors.iter().map(|(name, tensor)| (name.as_str(), tensor))
    }
}

impl<'t> From<&'t Tensor> for TensorView<'t> {
    fn from(tensor: &'t Tensor) -> Self {
        tensor.view()
    }
}
