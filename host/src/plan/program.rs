//! A loaded graph: kernels in order, and where each value lives.

use std::collections::HashMap;
use std::fmt::Display;
use std::ops::Range;
use std::sync::Arc;

use bitquilt_plugin_api::TensorType;
use bitquilt_plugin_api::host::{KernelHandle, TransformHandle};

use super::effects::Effects;
use super::error::RunError;
use super::note::NodeNote;
use crate::tensor::Tensor;
use crate::text::Brief;

/// What a model runs. Immutable, and shared between its states.
pub(crate) struct Program {
    /// The symbols that a run binds, sorted.
    pub(crate) symbols: Vec<String>,
    pub(crate) inputs: Vec<InputPort>,
    pub(crate) outputs: Vec<OutputPort>,
    pub(crate) states: Vec<StateSlot>,
    pub(crate) index: PortIndex,
    pub(crate) values: Vec<ValueSlot>,
    pub(crate) steps: Vec<Step>,
    pub(crate) transforms: Vec<TransformSlot>,
    /// Bytes that kernels hold, shared ones once.
    pub(crate) held_bytes: usize,
    /// The activations that weights are multiplied with, in the order of the first step that takes them.
    pub(crate) activations: Vec<Activation>,
    /// The weights that are multiplied with them.
    pub(crate) weights: Vec<NamedWeight>,
    /// The groups of its nodes' effects.
    pub(crate) effects: Effects,
    /// What `explain` says of each node, steps or not.
    pub(crate) notes: Vec<NodeNote>,
}

/// A value that is multiplied with the columns of weights.
pub(crate) struct Activation {
    pub(crate) value: usize,
    /// Its last dimension.
    pub(crate) columns: usize,
}

/// A constant whose rows are multiplied with activations.
pub(crate) struct NamedWeight {
    /// Its name in the graph, or in a file of the graph.
    pub(crate) name: String,
    /// Those activations: one for each node that takes the weight.
    pub(crate) activations: Vec<usize>,
}

/// The position of each input, output and state by its name.
#[derive(Default)]
pub(crate) struct PortIndex {
    pub(crate) inputs: HashMap<String, usize>,
    pub(crate) outputs: HashMap<String, usize>,
    pub(crate) states: HashMap<String, usize>,
}

impl PortIndex {
    pub(crate) fn of(program: &Program) -> Self {
        Self {
            inputs: positions(program.inputs.iter().map(|port| &port.name)),
            outputs: positions(program.outputs.iter().map(|port| &port.name)),
            states: positions(program.states.iter().map(|state| &state.name)),
        }
    }
}

fn positions<'a>(names: impl Iterator<Item = &'a String>) -> HashMap<String, usize> {
    names.enumerate().map(|(position, name)| (name.clone(), position)).collect()
}

pub(crate) struct InputPort {
    pub(crate) name: String,
    pub(crate) tensor: TensorType,
    /// Index of the value; none for an input that nothing takes.
    pub(crate) value: Option<usize>,
}

pub(crate) struct OutputPort {
    pub(crate) name: String,
    /// Index of the value, and of the one whose memory it is.
    pub(crate) value: usize,
    pub(crate) root: usize,
}

pub(crate) struct StateSlot {
    pub(crate) name: String,
    pub(crate) tensor: TensorType,
    pub(crate) shape: Vec<usize>,
    pub(crate) bytes: usize,
}

pub(crate) struct ValueSlot {
    pub(crate) tensor: TensorType,
    pub(crate) place: Place,
}

/// Where a value lives.
pub(crate) enum Place {
    /// The caller's memory.
    Input(usize),
    /// The model's; none once every kernel released it.
    Constant(Option<Tensor>),
    /// A state's.
    State(usize),
    /// The arena.
    Arena,
    /// That of another value, which is none of these.
    Alias(usize),
}

/// A node that runs a kernel.
pub(crate) struct Step {
    pub(crate) node: String,
    pub(crate) op: String,
    /// The kernel that was chosen, and those that it leaves shapes to.
    pub(crate) kernels: Vec<StepKernel>,
    /// The value of each input, and whether the step writes it.
    pub(crate) inputs: Vec<(usize, bool)>,
    /// The value of each output, and whether it is another's memory.
    pub(crate) outputs: Vec<(usize, bool)>,
    /// Those of the program's activations that no step before takes.
    pub(crate) records: Range<usize>,
}

/// A kernel that may run a step.
pub(crate) struct StepKernel {
    pub(crate) kernel: Arc<KernelHandle>,
    /// The transforms that it asked for, in its order.
    pub(crate) transforms: Vec<usize>,
}

/// A transform of a value, computed once a run.
pub(crate) struct TransformSlot {
    pub(crate) value: usize,
    pub(crate) transform: Arc<TransformHandle>,
}

impl Step {
    /// The step failed.
    pub(crate) fn failed(&self, source: bitquilt_plugin_api::Error) -> RunError {
        RunError::Node { node: self.node.clone(), op: self.op.clone(), source }
    }
}

impl Program {
    /// The name of each step's kernel.
    pub(crate) fn step_kernels(&self) -> Vec<String> {
        let mut kernels = vec![String::new(); self.steps.len()];
        for (step, kernel) in self.notes.iter().filter_map(NodeNote::step_kernel) {
            kernels[step] = kernel;
        }
        kernels
    }

    /// An error about a value, with the node that yields it.
    pub(super) fn error_of(&self, value: usize, source: impl Display) -> RunError {
        let source = bitquilt_plugin_api::Error::invalid(format_args!("{source}"));
        match self.notes.iter().find_map(|note| note.yields(value)) {
            Some((node, op)) => RunError::Node { node: node.to_owned(), op: op.to_owned(), source },
            None => RunError::Shape(source),
        }
    }

    /// An arena of these bytes cannot be had; its largest piece has so many, and is needed from this step on.
    pub(super) fn arena_refused(&self, largest: Option<(usize, usize)>, bytes: u128) -> RunError {
        let step = largest.and_then(|(bytes, step)| Some((bytes, self.steps.get(step)?)));
        let what = match step {
            Some((bytes, step)) => {
                format!("the run, in which node `{}` ({}) takes {bytes} bytes,", Brief(&step.node), step.op)
            }
            None => "the run".to_owned(),
        };
        RunError::TooLarge { what, bytes }
    }

    /// The value whose memory a value is.
    pub(crate) fn root(&self, value: usize) -> usize {
        match self.values[value].place {
            Place::Alias(root) => root,
            _ => value,
        }
    }
}
