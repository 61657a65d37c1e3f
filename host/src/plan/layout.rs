//! Where everything is, for one binding of the symbols.

use std::collections::BTreeMap;
use std::ptr::NonNull;
use std::slice::from_ref;

use bitquilt_plugin_api::{DType, Element, Shapes};

use super::arena::{Arena, Asked, Piece, Ticket};
use super::error::RunError;
use super::lookups::Lookups;
use super::program::{OutputPort, Place, Program, Step, StepKernel, TransformSlot, ValueSlot};
use crate::memory::{ALIGNMENT, AlignedBytes};
use crate::registry::Registry;
use crate::tensor::{dense_bytes, encoded_bytes};

/// Shapes in numbers, the arena, and where each value is.
///
/// Everything that a run looks up about a value is stored together, and values are stored in the order in which steps use them, because
/// the weights of a large model evict all else from the caches between two runs of a step.
pub(crate) struct Layout {
    /// The value of each symbol.
    bindings: Vec<usize>,
    values: Vec<PlacedValue>,
    /// The dimensions of all values.
    dims: Vec<usize>,
    steps: Vec<StepMemory>,
    transforms: Vec<Piece>,
    /// The transforms that are computed, in the order of the steps that they are computed before.
    begins: Vec<usize>,
    /// Of each output that is copied.
    copies: Vec<Option<Piece>>,
    arena_bytes: usize,
    /// The bytes of the largest buffer, and the step that needs it first; none in an empty arena.
    largest: Option<(usize, usize)>,
    lookups: Lookups,
}

/// A value in memory.
#[derive(Clone, Copy)]
pub(crate) struct PlacedValue {
    pub(crate) location: Location,
    pub(crate) bytes: usize,
    /// None if it is encoded.
    pub(crate) dtype: Option<DType>,
    /// Where its dimensions begin, and how many there are.
    dims: (u32, u32),
}

/// Where a value's bytes are.
#[derive(Clone, Copy)]
pub(crate) enum Location {
    /// They are those of a run's input.
    Input(usize),
    /// The program's; a tensor's that it keeps.
    Constant(NonNull<u8>),
    /// Nowhere: a constant that was released.
    Released,
    /// They are a state's.
    State(usize),
    /// They begin here in the arena.
    Arena(usize),
}

// SAFETY: a constant's bytes are a tensor's, which may be read from any thread.
unsafe impl Send for Location {}
// SAFETY: as above.
unsafe impl Sync for Location {}

/// What a step has for these shapes: which of its kernels, and scratch memory.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepMemory {
    pub(crate) kernel: u32,
    /// Where the transforms that are computed before it begin among all, and how many there are.
    begins: (u32, u32),
    pub(crate) shared: Piece,
    pub(crate) workers: Piece,
    pub(crate) per_worker: usize,
    pub(crate) stride: usize,
}

impl Layout {
    /// Lays out the arena for these values of the symbols.
    pub(crate) fn new(
        program: &Program,
        registry: &Registry,
        bindings: &[usize],
        workers: usize,
    ) -> Result<Self, RunError> {
        let shapes = shapes(program, bindings)?;
        let bytes = sizes(program, registry, &shapes)?;
        let mut asked = Asked::default();
        let values = ask_values(program, &bytes, &mut asked);
        let choice = choose(program, &shapes, workers)?;
        let steps: Vec<Scratch> = ask_scratch(program, &choice, &shapes, workers, &mut asked)?;
        let transforms = ask_transforms(program, &choice, &shapes, &mut asked)?;
        let copies = ask_copies(program, &bytes, &mut asked);
        let arena = asked.place(program)?;
        let Placed { values, dims } = place(program, &shapes, &bytes, &values, &arena)?;
        let step = |(index, scratch): (usize, Scratch)| {
            let Choice { kernels, begins, .. } = &choice;
            StepMemory { kernel: kernels[index], begins: begins[index], ..scratch.place(&arena) }
        };
        let piece = |ticket: Option<Ticket>| ticket.map(|ticket| arena.piece(ticket)).unwrap_or_default();
        let mut layout = Self {
            bindings: bindings.to_vec(),
            values,
            dims,
            steps: steps.into_iter().enumerate().map(step).collect(),
            transforms: transforms.into_iter().map(piece).collect(),
            begins: choice.order,
            copies: copies.into_iter().map(|ticket| Some(arena.piece(ticket?))).collect(),
            arena_bytes: arena.bytes,
            largest: arena.largest,
            lookups: Lookups::default(),
        };
        layout.lookups = lookups(program, &layout);
        Ok(layout)
    }

    /// Memory for the arena.
    pub(crate) fn arena(&self, program: &Program) -> Result<AlignedBytes, RunError> {
        AlignedBytes::zeroed(self.arena_bytes)
            .ok_or_else(|| program.arena_refused(self.largest, self.arena_bytes as u128))
    }

    /// Whether this is the layout for these values of the symbols.
    pub(crate) fn is_for(&self, bindings: &[usize]) -> bool {
        self.bindings == bindings
    }

    pub(crate) fn value(&self, value: usize) -> &PlacedValue {
        &self.values[value]
    }

    pub(crate) fn shape(&self, value: usize) -> &[usize] {
        let (first, rank) = self.values[value].dims;
        &self.dims[first as usize..][..rank as usize]
    }

    pub(crate) fn bytes(&self, value: usize) -> usize {
        self.values[value].bytes
    }

    pub(crate) fn step(&self, step: usize) -> &StepMemory {
        &self.steps[step]
    }

    /// The kernel that runs a step for these shapes.
    pub(crate) fn kernel<'p>(&self, program: &'p Program, step: usize) -> &'p StepKernel {
        &program.steps[step].kernels[self.steps[step].kernel as usize]
    }

    /// The transforms that are computed before a step.
    pub(crate) fn begins(&self, step: usize) -> &[usize] {
        let (first, count) = self.steps[step].begins;
        &self.begins[first as usize..][..count as usize]
    }

    pub(crate) fn transform(&self, slot: usize) -> Piece {
        self.transforms[slot]
    }

    /// Where an output is copied to, if it is.
    pub(crate) fn copy(&self, output: usize) -> Option<Piece> {
        self.copies[output]
    }

    /// The addresses of the cache lines that a step looks up before its kernel runs; none if there is no such step.
    pub(crate) fn lookups(&self, step: usize) -> &[usize] {
        self.lookups.lines(step)
    }

    pub(crate) fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    pub(crate) fn scratch_bytes(&self, step: usize) -> usize {
        self.steps[step].shared.bytes + self.steps[step].workers.bytes
    }
}

/// What each step looks up before its kernel runs: records of the program and of the layout, and the kernel.
fn lookups(program: &Program, layout: &Layout) -> Lookups {
    let mut lookups = Lookups::default();
    for (index, step) in program.steps.iter().enumerate() {
        let kernel = layout.kernel(program, index);
        lookups.add_step(|lines| {
            lines.add(from_ref(step));
            lines.add(from_ref(layout.step(index)));
            lines.add(&step.inputs);
            lines.add(&step.outputs);
            for (value, _) in step.inputs.iter().chain(&step.outputs) {
                lines.add(from_ref(layout.value(*value)));
                lines.add(layout.shape(*value));
            }
            lines.add(from_ref(kernel));
            lines.add(&kernel.transforms);
            lines.add(from_ref(&*kernel.kernel));
            lines.add_address(kernel.kernel.address());
            lines.add(layout.begins(index));
            for slot in layout.begins(index).iter().map(|slot| &program.transforms[*slot]) {
                lines.add(from_ref(slot));
                lines.add(from_ref(&*slot.transform));
                lines.add_address(slot.transform.address());
            }
        });
    }
    lookups
}

/// Values of a symbol table, by symbol.
pub(crate) fn bindings_of(symbols: &[String], values: &[usize]) -> BTreeMap<String, usize> {
    symbols.iter().cloned().zip(values.iter().copied()).collect()
}

fn shapes(program: &Program, bindings: &[usize]) -> Result<Vec<Vec<usize>>, RunError> {
    let bindings = bindings_of(&program.symbols, bindings);
    let shape = |(index, value): (usize, &ValueSlot)| {
        value.tensor.evaluate(&bindings).map_err(|error| program.error_of(index, error.message()))
    };
    program.values.iter().enumerate().map(shape).collect()
}

/// The bytes of each value.
fn sizes(program: &Program, registry: &Registry, shapes: &[Vec<usize>]) -> Result<Vec<usize>, RunError> {
    let size = |(index, (value, shape)): (usize, (&ValueSlot, &Vec<usize>))| {
        let bytes = match &value.tensor.element {
            Element::Dense(dtype) => dense_bytes(*dtype, shape),
            Element::Encoded(name) => match registry.encoding(name) {
                Some(encoding) => encoded_bytes(encoding.spec(), shape),
                // Loading has found every encoding.
                None => dense_bytes(DType::U8, shape),
            },
        };
        bytes.map_err(|error| program.error_of(index, error))
    };
    program.values.iter().zip(shapes).enumerate().map(size).collect()
}

/// For each value, the first and the last step that its memory is used by.
fn lifetimes(program: &Program) -> (Vec<usize>, Vec<usize>) {
    let mut first = vec![usize::MAX; program.values.len()];
    let mut last = vec![0; program.values.len()];
    let mut touch = |value: usize, step: usize| {
        let root = program.root(value);
        first[root] = first[root].min(step);
        last[root] = last[root].max(step);
    };
    for (index, step) in program.steps.iter().enumerate() {
        step.inputs.iter().for_each(|(value, _)| touch(*value, index));
        step.outputs.iter().for_each(|(value, _)| touch(*value, index));
    }
    for output in &program.outputs {
        touch(output.value, program.steps.len());
    }
    (first, last)
}

/// Which kernels run for some shapes, and what they need to be computed before.
struct Choice {
    /// For each step, which of its kernels.
    kernels: Vec<u32>,
    /// The transforms that are computed, in order.
    order: Vec<usize>,
    /// For each step, where in that order those begin that are computed before it, and how many.
    begins: Vec<(u32, u32)>,
    /// For each transform, the step before which it is computed, and the last that uses it; none if nobody does.
    lifetimes: Vec<Option<(usize, usize)>>,
}

/// Asks the kernels of each step which of them serves these shapes.
fn choose(program: &Program, shapes: &[Vec<usize>], workers: usize) -> Result<Choice, RunError> {
    let mut choice = Choice {
        kernels: Vec::with_capacity(program.steps.len()),
        order: Vec::new(),
        begins: Vec::with_capacity(program.steps.len()),
        lifetimes: vec![None; program.transforms.len()],
    };
    for (index, step) in program.steps.iter().enumerate() {
        let chosen = with_shapes(step, shapes, workers, |shapes| first_serving(step, shapes))?;
        let first = choice.order.len();
        for slot in &step.kernels[chosen].transforms {
            match &mut choice.lifetimes[*slot] {
                Some((_, last)) => *last = index,
                unused => {
                    *unused = Some((index, index));
                    choice.order.push(*slot);
                }
            }
        }
        // A program has fewer transforms, and a step fewer kernels, than a slice of them can have.
        choice.begins.push((first as u32, (choice.order.len() - first) as u32));
        choice.kernels.push(chosen as u32);
    }
    Ok(choice)
}

/// The index of the first kernel that serves these shapes; the last serves all that are left.
fn first_serving(step: &Step, shapes: &Shapes<'_>) -> Result<usize, RunError> {
    let last = step.kernels.len() - 1;
    for (index, kernel) in step.kernels[..last].iter().enumerate() {
        if kernel.kernel.serves(shapes).map_err(|source| step.failed(source))? {
            return Ok(index);
        }
    }
    Ok(last)
}

fn with_shapes<R>(
    step: &Step,
    shapes: &[Vec<usize>],
    workers: usize,
    call: impl FnOnce(&Shapes<'_>) -> R,
) -> R {
    let of =
        |values: &[(usize, bool)]| values.iter().map(|(value, _)| &shapes[*value][..]).collect::<Vec<_>>();
    let (inputs, outputs) = (of(&step.inputs), of(&step.outputs));
    call(&Shapes { inputs: &inputs, outputs: &outputs, workers })
}

/// Asks for the values that are the arena's; none for others.
fn ask_values(program: &Program, bytes: &[usize], asked: &mut Asked) -> Vec<Option<Ticket>> {
    let (first, last) = lifetimes(program);
    let ask = |(index, value): (usize, &ValueSlot)| {
        matches!(value.place, Place::Arena).then(|| asked.add(bytes[index], first[index], last[index]))
    };
    program.values.iter().enumerate().map(ask).collect()
}

/// What a step's kernel asked for.
struct Scratch {
    shared: Ticket,
    workers: Ticket,
    per_worker: usize,
    stride: usize,
}

impl Scratch {
    fn place(self, arena: &Arena) -> StepMemory {
        let Self { shared, workers, per_worker, stride } = self;
        let (shared, workers) = (arena.piece(shared), arena.piece(workers));
        StepMemory { shared, workers, per_worker, stride, ..StepMemory::default() }
    }
}

/// Asks for what each step's kernel wants as scratch memory.
fn ask_scratch(
    program: &Program,
    choice: &Choice,
    shapes: &[Vec<usize>],
    workers: usize,
    asked: &mut Asked,
) -> Result<Vec<Scratch>, RunError> {
    let ask = |(index, step): (usize, &Step)| {
        let kernel = &step.kernels[choice.kernels[index] as usize].kernel;
        let need = with_shapes(step, shapes, workers, |shapes| kernel.scratch(shapes));
        let need = need.map_err(|source| step.failed(source))?;
        let per_worker = need.per_worker;
        let stride = per_worker.checked_next_multiple_of(ALIGNMENT);
        let all_workers = stride.and_then(|stride| stride.checked_mul(workers));
        let (Some(stride), Some(all_workers)) = (stride, all_workers) else {
            return Err(RunError::Scratch { node: step.node.clone(), op: step.op.clone(), per_worker });
        };
        let shared = asked.add(need.shared, index, index);
        let workers = asked.add(all_workers, index, index);
        Ok(Scratch { shared, workers, per_worker, stride })
    };
    program.steps.iter().enumerate().map(ask).collect()
}

/// Asks for what transforms yield; none for those that are not computed.
fn ask_transforms(
    program: &Program,
    choice: &Choice,
    shapes: &[Vec<usize>],
    asked: &mut Asked,
) -> Result<Vec<Option<Ticket>>, RunError> {
    let ask = |(slot, lifetime): (&TransformSlot, &Option<(usize, usize)>)| {
        let Some((begin, end)) = *lifetime else { return Ok(None) };
        let bytes = slot.transform.bytes(&shapes[slot.value]);
        let bytes = bytes.map_err(|source| program.steps[begin].failed(source))?;
        Ok(Some(asked.add(bytes, begin, end)))
    };
    program.transforms.iter().zip(&choice.lifetimes).map(ask).collect()
}

/// Asks for the outputs that are copies: the caller keeps its inputs, so that an output that is one is copied.
fn ask_copies(program: &Program, bytes: &[usize], asked: &mut Asked) -> Vec<Option<Ticket>> {
    let end = program.steps.len();
    let ask = |output: &OutputPort| {
        let copied = matches!(program.values[output.root].place, Place::Input(_));
        copied.then(|| asked.add(bytes[output.value], end, end))
    };
    program.outputs.iter().map(ask).collect()
}

/// All values, and the dimensions of all of them.
struct Placed {
    values: Vec<PlacedValue>,
    dims: Vec<usize>,
}

fn place(
    program: &Program,
    shapes: &[Vec<usize>],
    bytes: &[usize],
    tickets: &[Option<Ticket>],
    arena: &Arena,
) -> Result<Placed, RunError> {
    let mut values = Vec::with_capacity(program.values.len());
    let mut dims = Vec::with_capacity(shapes.iter().map(Vec::len).sum());
    let position = |count: usize| {
        let bytes = count as u128 * size_of::<usize>() as u128;
        u32::try_from(count)
            .map_err(|_| RunError::TooLarge { what: "the shapes of all values".to_owned(), bytes })
    };
    for (value, shape) in shapes.iter().enumerate() {
        let root = program.root(value);
        let location = match &program.values[root].place {
            Place::Input(input) => Location::Input(*input),
            Place::Constant(Some(tensor)) => Location::Constant(NonNull::from(tensor.bytes()).cast()),
            Place::State(state) => Location::State(*state),
            Place::Arena => {
                tickets[root].map_or(Location::Released, |ticket| Location::Arena(arena.piece(ticket).offset))
            }
            Place::Constant(None) | Place::Alias(_) => Location::Released,
        };
        let dtype = program.values[value].tensor.dtype();
        let extent = (position(dims.len())?, position(shape.len())?);
        values.push(PlacedValue { location, bytes: bytes[value], dtype, dims: extent });
        dims.extend_from_slice(shape);
    }
    Ok(Placed { values, dims })
}
