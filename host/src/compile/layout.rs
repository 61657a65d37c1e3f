//! Where everything is, for one binding of the symbols.

use std::ptr::NonNull;

use bitquilt_plugin_api::{DType, Element, Shapes};

use super::bindings_of;
use super::planner::{Buffer, plan};
use super::program::{Place, Program};
use crate::memory::{ALIGNMENT, AlignedBytes};
use crate::plugin::Registry;
use crate::session::RunError;
use crate::tensor::{dense_bytes, encoded_bytes};

/// Shapes in numbers, the arena, and where each value is.
///
/// What a run looks up of a value is in one place, and values lie in the order in which steps come to them: a large model's weights
/// drive all else from the caches between two runs of a step.
pub(crate) struct Layout {
    /// The value of each symbol.
    bindings: Vec<usize>,
    values: Vec<PlacedValue>,
    /// The dimensions of all values.
    dims: Vec<usize>,
    steps: Vec<StepMemory>,
    transforms: Vec<Piece>,
    /// Of each output that is copied.
    copies: Vec<Option<Piece>>,
    arena_bytes: usize,
    /// The largest piece of the arena, and the step that needs it first; none in an empty one.
    largest: Option<(usize, usize)>,
}

/// A value in memory.
#[derive(Clone, Copy)]
pub(crate) struct PlacedValue {
    pub(crate) origin: Origin,
    pub(crate) bytes: usize,
    /// None if it is encoded.
    pub(crate) dtype: Option<DType>,
    /// Where its dimensions begin, and how many there are.
    dims: (u32, u32),
}

/// Where a value's bytes are.
#[derive(Clone, Copy)]
pub(crate) enum Origin {
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
unsafe impl Send for Origin {}
// SAFETY: as above.
unsafe impl Sync for Origin {}

/// A piece of the arena.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Piece {
    pub(crate) offset: usize,
    pub(crate) bytes: usize,
}

/// Scratch memory of a step.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct StepMemory {
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
        let mut buffers = Vec::new();
        let mut add = |bytes, first, last| {
            buffers.push(Buffer { bytes, first, last });
            buffers.len() - 1
        };
        let (first_use, last_use) = lifetimes(program);
        let end = program.steps.len();
        let values: Vec<Option<usize>> = (0..program.values.len())
            .map(|value| {
                let arena = matches!(program.values[value].place, Place::Arena);
                arena.then(|| add(bytes[value], first_use[value], last_use[value]))
            })
            .collect();
        let mut steps = Vec::with_capacity(end);
        for (index, step) in program.steps.iter().enumerate() {
            let inputs: Vec<&[usize]> = step.inputs.iter().map(|(value, _)| &shapes[*value][..]).collect();
            let outputs: Vec<&[usize]> = step.outputs.iter().map(|(value, _)| &shapes[*value][..]).collect();
            let need = step
                .kernel
                .scratch(&Shapes { inputs: &inputs, outputs: &outputs, workers })
                .map_err(|source| RunError::node(step, source))?;
            let stride = need.per_worker.checked_next_multiple_of(ALIGNMENT);
            let all_workers = stride.and_then(|stride| stride.checked_mul(workers));
            let (Some(stride), Some(all_workers)) = (stride, all_workers) else {
                return Err(RunError::Scratch {
                    node: step.node.clone(),
                    op: step.op.clone(),
                    per_worker: need.per_worker,
                });
            };
            let shared = add(need.shared, index, index);
            let workers = add(all_workers, index, index);
            steps.push((need, stride, all_workers, shared, workers));
        }
        let mut transforms = Vec::with_capacity(program.transforms.len());
        let (begins, ends) = transform_lifetimes(program);
        for (slot, transform) in program.transforms.iter().enumerate() {
            let step = &program.steps[begins[slot]];
            let need = transform
                .transform
                .bytes(&shapes[transform.value])
                .map_err(|source| RunError::node(step, source))?;
            transforms.push((need, add(need, begins[slot], ends[slot])));
        }
        let copies: Vec<Option<(usize, usize)>> = program
            .outputs
            .iter()
            .map(|output| {
                // The caller keeps its inputs: an output that is one is a copy.
                let copied = matches!(program.values[output.root].place, Place::Input(_));
                copied.then(|| (bytes[output.value], add(bytes[output.value], end, end)))
            })
            .collect();
        let largest = buffers.iter().map(|buffer| (buffer.bytes, buffer.first)).max();
        let total = buffers.iter().map(|buffer| buffer.bytes as u128).sum();
        let (offsets, arena_bytes) =
            plan(&buffers).ok_or_else(|| RunError::arena(program, largest, total))?;
        let piece = |bytes: usize, buffer: usize| Piece { offset: offsets[buffer], bytes };
        let mut placed = Vec::with_capacity(program.values.len());
        let mut dims = Vec::with_capacity(shapes.iter().map(Vec::len).sum());
        for (value, shape) in shapes.iter().enumerate() {
            let root = program.root(value);
            let origin = match &program.values[root].place {
                Place::Input(input) => Origin::Input(*input),
                Place::Constant(Some(tensor)) => Origin::Constant(NonNull::from(tensor.bytes()).cast()),
                Place::State(state) => Origin::State(*state),
                Place::Arena => {
                    values[root].map_or(Origin::Released, |buffer| Origin::Arena(offsets[buffer]))
                }
                Place::Constant(None) | Place::Alias(_) => Origin::Released,
            };
            let dtype = program.values[value].tensor.dtype();
            let place = |count: usize| {
                let bytes = count as u128 * size_of::<usize>() as u128;
                let what = "the shapes of all values".to_owned();
                u32::try_from(count).map_err(|_| RunError::TooLarge { what, bytes })
            };
            placed.push(PlacedValue {
                origin,
                bytes: bytes[value],
                dtype,
                dims: (place(dims.len())?, place(shape.len())?),
            });
            dims.extend_from_slice(shape);
        }
        Ok(Self {
            bindings: bindings.to_vec(),
            values: placed,
            dims,
            steps: steps
                .into_iter()
                .map(|(need, stride, all_workers, shared, workers)| StepMemory {
                    shared: piece(need.shared, shared),
                    workers: piece(all_workers, workers),
                    per_worker: need.per_worker,
                    stride,
                })
                .collect(),
            transforms: transforms.into_iter().map(|(bytes, buffer)| piece(bytes, buffer)).collect(),
            copies: copies.into_iter().map(|copy| copy.map(|(bytes, buffer)| piece(bytes, buffer))).collect(),
            arena_bytes,
            largest,
        })
    }

    /// Memory for the arena.
    pub(crate) fn arena(&self, program: &Program) -> Result<AlignedBytes, RunError> {
        AlignedBytes::zeroed(self.arena_bytes)
            .ok_or_else(|| RunError::arena(program, self.largest, self.arena_bytes as u128))
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

    pub(crate) fn transform(&self, slot: usize) -> Piece {
        self.transforms[slot]
    }

    /// Where an output is copied to, if it is.
    pub(crate) fn copy(&self, output: usize) -> Option<Piece> {
        self.copies[output]
    }

    pub(crate) fn arena_bytes(&self) -> usize {
        self.arena_bytes
    }

    pub(crate) fn scratch_bytes(&self, step: usize) -> usize {
        self.steps[step].shared.bytes + self.steps[step].workers.bytes
    }
}

fn shapes(program: &Program, bindings: &[usize]) -> Result<Vec<Vec<usize>>, RunError> {
    let bindings = bindings_of(&program.symbols, bindings);
    let shape = |(index, value): (usize, &super::program::ValueSlot)| {
        value.tensor.evaluate(&bindings).map_err(|error| program.error_of(index, error.message()))
    };
    program.values.iter().enumerate().map(shape).collect()
}

/// The bytes of each value.
fn sizes(program: &Program, registry: &Registry, shapes: &[Vec<usize>]) -> Result<Vec<usize>, RunError> {
    let size = |(index, (value, shape)): (usize, (&super::program::ValueSlot, &Vec<usize>))| {
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

/// For each transform, the step before which it is computed, and the last that uses it.
fn transform_lifetimes(program: &Program) -> (Vec<usize>, Vec<usize>) {
    let mut begins = vec![0; program.transforms.len()];
    let mut ends = vec![0; program.transforms.len()];
    for (index, step) in program.steps.iter().enumerate() {
        step.begins.iter().for_each(|slot| begins[*slot] = index);
        step.transforms.iter().for_each(|slot| ends[*slot] = index);
    }
    (begins, ends)
}
