//! Kernels for nodes, and what they prepare.

use std::cmp::Reverse;
use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use bitquilt_plugin_api::Support;
use bitquilt_plugin_api::host::{KernelHandle, TransformHandle};

use super::context::{LoadContext, Part, effect, state_inputs};
use super::error::LoadError;
use super::weights::Weights;
use crate::graph::{Graph, NodeContext, NodeData, Preparing, Source};
use crate::interrupt::Interrupt;
use crate::plan::{
    Effects, InputPort, KernelNote, NodeNote, OutputPort, Place, PortIndex, Program, StateSlot, Step,
    StepKernel, TransformSlot, ValueSlot,
};
use crate::registry::RegisteredKernel;
use crate::tensor::{Tensor, dense_bytes};

/// The kernels of nodes of loaded graphs, by all that providers were shown of the nodes.
#[derive(Default)]
pub(crate) struct PreparedKernels {
    kernels: HashMap<String, Arc<Kept>>,
}

/// Kernels, and what keeps the constants that they were prepared of where they are: an address is a part of what providers are shown.
struct Kept {
    chosen: Chosen,
    _constants: Vec<Tensor>,
}

impl PreparedKernels {
    /// The same kernels; what is added to one is not in the other.
    pub(crate) fn branch(&self) -> Self {
        Self { kernels: self.kernels.clone() }
    }
}

/// The kernels that were prepared, for every node that agrees in all that they were shown.
struct Chosen {
    /// The best, and those that it leaves shapes to.
    kernels: Vec<Made>,
    /// The constant inputs that none of them reads.
    released: HashSet<usize>,
    note: NodeNote,
}

/// The providers of a node's op.
#[derive(Default)]
struct Ranked<'a> {
    /// Those that support the node, the best first.
    serving: Vec<&'a RegisteredKernel>,
    /// The others, and why they do not.
    others: Vec<(String, String)>,
}

/// A kernel that was prepared.
struct Made {
    kernel: Arc<KernelHandle>,
    released: HashSet<usize>,
    /// Input, key, and transform of each that the kernel asked for.
    transforms: Vec<(usize, String, Arc<TransformHandle>)>,
    or_next: bool,
    note: KernelNote,
}

/// Makes a program of a part of a graph. `prepared` and `progress` are as for [`compile`](super::compile).
pub(super) fn program(
    graph: &Graph,
    part: Part,
    cx: &LoadContext<'_>,
    prepared: &mut PreparedKernels,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Program, LoadError> {
    let mut build = Build {
        graph,
        part: &part,
        cx,
        index: HashMap::new(),
        program: empty(graph)?,
        readers: Vec::new(),
        weights: Weights::of(graph),
    };
    let kernels = &mut prepared.kernels;
    let mut used: HashSet<String> = HashSet::new();
    let mut slots: HashMap<(usize, String), usize> = HashMap::new();
    // A weight is there twice while it is prepared: the largest come first, when little else is there.
    let nodes = part.nodes.iter().map(|node| &graph.nodes[*node]);
    let mut order: Vec<(usize, &NodeData)> = nodes.map(|node| (build.constant_bytes(node), node)).collect();
    order.sort_by_key(|(bytes, _)| Reverse(*bytes));
    let all = order.iter().map(|(bytes, _)| bytes).sum();
    let mut done = 0;
    for (bytes, node) in order {
        if Interrupt::is_current_requested() {
            return Err(LoadError::Interrupted);
        }
        build.prepare(node, kernels, &mut used)?;
        done += bytes;
        progress(done, all);
    }
    for node in &part.nodes {
        build.node(&graph.nodes[*node], kernels, &mut slots)?;
    }
    for (name, value) in &part.outputs {
        let value = build.value(*value);
        let root = build.program.root(value);
        build.readers[root] += 1;
        build.program.outputs.push(OutputPort { name: name.clone(), value, root });
    }
    let Build { mut program, readers, .. } = build;
    let groups = part.nodes.iter().filter_map(|node| effect(&graph.nodes[*node], cx.registry));
    program.effects = Effects::of(groups);
    program.index = PortIndex::of(&program);
    for (slot, readers) in program.values.iter_mut().zip(readers) {
        match (&mut slot.place, readers) {
            (Place::Constant(tensor), 0) => *tensor = None,
            (Place::Constant(Some(tensor)), _) => tensor.detach_small(),
            _ => {}
        }
    }
    Ok(program)
}

fn empty(graph: &Graph) -> Result<Program, LoadError> {
    let inputs = graph.inputs.iter().map(|port| InputPort {
        name: port.name.clone(),
        tensor: graph.values[port.value].tensor.clone(),
        value: None,
    });
    let states = graph.states.iter().map(|state| {
        let tensor = graph.values[state.value].tensor.clone();
        let shape = tensor.fixed_shape().unwrap_or_default();
        // The graph has taken the state because it has a size.
        let size = tensor.dtype().and_then(|dtype| dense_bytes(dtype, &shape).ok());
        StateSlot { name: state.name.clone(), tensor, shape, bytes: size.unwrap_or_default() }
    });
    let states: Vec<StateSlot> = states.collect();
    let bytes: u128 = states.iter().map(|state| state.bytes as u128).sum();
    if isize::try_from(bytes).is_err() {
        return Err(LoadError::States { bytes });
    }
    Ok(Program {
        symbols: symbols(graph),
        inputs: inputs.collect(),
        outputs: Vec::new(),
        states,
        index: PortIndex::default(),
        values: Vec::new(),
        steps: Vec::new(),
        transforms: Vec::new(),
        held_bytes: 0,
        activations: Vec::new(),
        weights: Vec::new(),
        effects: Effects::default(),
        notes: Vec::new(),
    })
}

/// The symbols of a graph's inputs, sorted.
fn symbols(graph: &Graph) -> Vec<String> {
    let dims = graph.inputs.iter().flat_map(|port| &graph.values[port.value].tensor.shape);
    let symbols: BTreeSet<String> = dims.flat_map(|dim| dim.symbols()).map(str::to_owned).collect();
    symbols.into_iter().collect()
}

/// A note with what the node is.
fn named(note: NodeNote, node: &NodeData, inputs: &[usize], outputs: &[(usize, bool)]) -> NodeNote {
    NodeNote {
        node: node.name.clone(),
        op: node.op.clone(),
        inputs: inputs.to_vec(),
        outputs: outputs.iter().map(|(value, _)| *value).collect(),
        ..note
    }
}

struct Build<'a> {
    graph: &'a Graph,
    part: &'a Part,
    cx: &'a LoadContext<'a>,
    /// The program's index of each of the graph's values.
    index: HashMap<usize, usize>,
    program: Program,
    /// For each value, how many steps and outputs read its bytes in a run.
    readers: Vec<usize>,
    weights: Weights,
}

impl Build<'_> {
    /// The program's index of a value, which has a place already or is an input, constant or state.
    fn value(&mut self, value: usize) -> usize {
        if let Some(index) = self.index.get(&value) {
            return *index;
        }
        let place = match (self.part.constant(self.graph, value), &self.graph.values[value].source) {
            (Some(tensor), _) => Place::Constant(Some(tensor.clone())),
            (None, Source::Input(input)) => Place::Input(*input),
            (None, Source::State(state)) => Place::State(*state),
            // Nodes come in order, so that only a node's own outputs are new.
            (None, Source::Node { .. } | Source::Constant(_)) => Place::Arena,
        };
        self.push(value, place)
    }

    fn push(&mut self, value: usize, place: Place) -> usize {
        let index = self.program.values.len();
        self.program.values.push(ValueSlot { tensor: self.graph.values[value].tensor.clone(), place });
        if let Place::Input(input) = self.program.values[index].place {
            self.program.inputs[input].value = Some(index);
        }
        self.readers.push(0);
        self.index.insert(value, index);
        index
    }

    fn node(
        &mut self,
        node: &NodeData,
        kernels: &HashMap<String, Arc<Kept>>,
        slots: &mut HashMap<(usize, String), usize>,
    ) -> Result<(), LoadError> {
        let writes = state_inputs(node, self.cx.registry);
        let inputs: Vec<usize> = node.inputs.iter().map(|value| self.value(*value)).collect();
        let mut outputs = Vec::with_capacity(node.outputs.len());
        for value in &node.outputs {
            let alias = match self.graph.values[*value].source {
                Source::Node { alias, .. } => alias,
                _ => None,
            };
            let place = alias.map_or(Place::Arena, |input| Place::Alias(self.program.root(inputs[input])));
            outputs.push((self.push(*value, place), alias.is_some()));
        }
        if self.is_view(node) {
            let note = named(NodeNote::default(), node, &inputs, &outputs);
            self.program.notes.push(note);
            return Ok(());
        }
        let chosen = &kernels[&self.cache_key(node)].chosen;
        let step_index = self.program.steps.len();
        let step_kernels: Vec<StepKernel> =
            chosen.kernels.iter().map(|made| self.step_kernel(made, &inputs, slots)).collect();
        let step = Step {
            node: node.name.clone(),
            op: node.op.clone(),
            kernels: step_kernels,
            inputs: inputs.iter().copied().zip(writes).collect(),
            outputs,
            records: self.weights.add(self.graph, self.cx.registry, node, &inputs, &mut self.program),
        };
        for (index, input) in inputs.iter().enumerate() {
            if !chosen.released.contains(&index) {
                let root = self.program.root(*input);
                self.readers[root] += 1;
            }
        }
        let note = named(chosen.note.clone(), node, &inputs, &step.outputs);
        self.program.notes.push(NodeNote { step: Some(step_index), ..note });
        self.program.steps.push(step);
        Ok(())
    }

    /// A kernel of a step with the program's slots of its transforms.
    fn step_kernel(
        &mut self,
        made: &Made,
        inputs: &[usize],
        slots: &mut HashMap<(usize, String), usize>,
    ) -> StepKernel {
        let slot = |(input, key, transform): &(usize, String, Arc<TransformHandle>)| {
            let value = inputs[*input];
            let root = self.program.root(value);
            self.readers[root] += 1;
            *slots.entry((value, key.clone())).or_insert_with(|| {
                let slot = TransformSlot { value, transform: Arc::clone(transform) };
                self.program.transforms.push(slot);
                self.program.transforms.len() - 1
            })
        };
        let transforms = made.transforms.iter().map(slot).collect();
        StepKernel { kernel: Arc::clone(&made.kernel), transforms }
    }

    /// Chooses and prepares a node's kernels, unless an equal node has them already. `used` has the nodes of this program.
    fn prepare(
        &mut self,
        node: &NodeData,
        kernels: &mut HashMap<String, Arc<Kept>>,
        used: &mut HashSet<String>,
    ) -> Result<(), LoadError> {
        let key = self.cache_key(node);
        if self.is_view(node) || used.contains(&key) {
            return Ok(());
        }
        let kept = match kernels.entry(key.clone()) {
            Entry::Occupied(kept) => Arc::clone(kept.get()),
            Entry::Vacant(place) => {
                let constants = node.inputs.iter().filter_map(|value| self.part.constant(self.graph, *value));
                let kept = Kept { chosen: self.choose(node)?, _constants: constants.cloned().collect() };
                Arc::clone(place.insert(Arc::new(kept)))
            }
        };
        let held = kept.chosen.kernels.iter().map(|made| made.note.held_bytes);
        self.program.held_bytes = held.fold(self.program.held_bytes, usize::saturating_add);
        used.insert(key);
        Ok(())
    }

    /// Whether all that a node yields is its inputs' memory, as it is: it has no kernel.
    fn is_view(&self, node: &NodeData) -> bool {
        let aliases = node.outputs.iter().map(|value| match self.graph.values[*value].source {
            Source::Node { alias, .. } => alias,
            _ => None,
        });
        let op = self.cx.registry.op(&node.op);
        op.is_some_and(|op| op.signature().is_view(&node.places, aliases))
    }

    /// The bytes of the largest constant that a node takes.
    fn constant_bytes(&self, node: &NodeData) -> usize {
        let constants = node.inputs.iter().filter_map(|value| self.part.constant(self.graph, *value));
        constants.map(|tensor| tensor.bytes().len()).max().unwrap_or_default()
    }

    /// All that a provider is shown of a node.
    fn cache_key(&self, node: &NodeData) -> String {
        let mut key = format!("{}({})", node.op, node.attributes);
        for (place, value) in node.places.iter().zip(&node.inputs) {
            let _ = write!(key, ",{place}:{}", self.graph.values[*value].tensor);
            if let Some(tensor) = self.part.constant(self.graph, *value) {
                let _ = write!(key, "@{:p}", tensor.bytes());
            }
        }
        for value in &node.outputs {
            let _ = write!(key, ">{}", self.graph.values[*value].tensor);
        }
        key
    }

    fn with_context<R>(
        &self,
        node: &NodeData,
        preparing: Option<&Preparing>,
        call: impl FnOnce(&NodeContext<'_>) -> R,
    ) -> Result<R, LoadError> {
        let types = |values: &[usize]| {
            values.iter().map(|value| self.graph.values[*value].tensor.clone()).collect::<Vec<_>>()
        };
        let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
        let op = self.cx.registry.op(&node.op);
        let unknown = || LoadError::UnknownOp { node: node.name.clone(), op: node.op.clone() };
        Ok(call(&NodeContext {
            signature: op.ok_or_else(unknown)?.signature(),
            places: &node.places,
            attributes: &node.attributes,
            inputs: &inputs,
            outputs: &outputs,
            constants: node.inputs.iter().map(|value| self.part.constant(self.graph, *value)).collect(),
            registry: self.cx.registry,
            options: self.cx.options,
            executor: self.cx.executor,
            preparing,
        }))
    }

    fn candidates(&self, node: &NodeData) -> Vec<&RegisteredKernel> {
        let registry = self.cx.registry;
        let kernel_input = registry.op(&node.op).and_then(|op| op.signature().kernel_input);
        let encoding = kernel_input.and_then(|input| self.graph.values[node.inputs[input]].tensor.encoding());
        registry.kernels(&node.op, encoding).collect()
    }

    /// The best kernel that can run a node, prepared, and those that it leaves shapes to.
    fn choose(&self, node: &NodeData) -> Result<Chosen, LoadError> {
        let Ranked { serving, mut others } = self.ranked(node)?;
        let mut kernels: Vec<Made> = Vec::new();
        for (at, provider) in serving.iter().enumerate() {
            let next = serving.get(at + 1).map(|next| next.key().name.clone());
            let made = self.make(node, provider, next)?;
            let or_next = made.or_next;
            kernels.push(made);
            if !or_next {
                break;
            }
        }
        for provider in &serving[kernels.len()..] {
            let last = kernels.last().map_or("", |made| made.note.name.as_str());
            others.push((described(provider), format!("goes after `{last}`")));
        }
        let mut released = kernels[0].released.clone();
        released.retain(|input| kernels.iter().all(|made| made.released.contains(input)));
        // The kernels have copies of their own: a file's pages need not stay beside them.
        let constants =
            released.iter().filter_map(|input| self.part.constant(self.graph, node.inputs[*input]));
        constants.for_each(Tensor::forget_pages);
        let notes = kernels.iter().map(|made| made.note.clone()).collect();
        let effect = effect(node, self.cx.registry).map(str::to_owned);
        let note = NodeNote { kernels: notes, others, effect, ..NodeNote::default() };
        Ok(Chosen { kernels, released, note })
    }

    /// The providers that support a node, the best first and one at least, and why the others do not.
    fn ranked(&self, node: &NodeData) -> Result<Ranked<'_>, LoadError> {
        let Ranked { mut serving, mut others } = Ranked::default();
        self.with_context(node, None, |context| {
            for candidate in self.candidates(node) {
                match candidate.handle.supports(context) {
                    Support::Yes => serving.push(candidate),
                    Support::No(reason) => others.push((described(candidate), reason)),
                }
            }
        })?;
        if serving.is_empty() {
            let mut reasons: Vec<String> =
                others.into_iter().map(|(who, why)| format!("{who}: {why}")).collect();
            if reasons.is_empty() {
                reasons.push("none is registered".to_owned());
            }
            return Err(LoadError::NoKernel { node: node.name.clone(), op: node.op.clone(), reasons });
        }
        Ok(Ranked { serving, others })
    }

    /// A provider's kernel for a node, prepared; `next` is the provider that it displaces.
    fn make(
        &self,
        node: &NodeData,
        provider: &RegisteredKernel,
        next: Option<String>,
    ) -> Result<Made, LoadError> {
        let kernel = || provider.key().name.clone();
        let preparing = Preparing { next, ..Preparing::default() };
        let prepared =
            self.with_context(node, Some(&preparing), |context| provider.handle.prepare(context))?;
        let prepared = prepared.map_err(|source| LoadError::Prepare {
            node: node.name.clone(),
            op: node.op.clone(),
            kernel: kernel(),
            source,
        })?;
        let is_constant = |input: &usize| {
            let value = node.inputs.get(*input);
            value.is_some_and(|value| self.part.constant(self.graph, *value).is_some())
        };
        let asks = || prepared.transforms.iter().map(|(input, ..)| *input);
        let bad = prepared.released.iter().find(|input| !is_constant(input));
        let problem = match (bad, asks().find(|input| *input >= node.inputs.len())) {
            (Some(input), _) => Some(format!("releases input {input}, which is no constant")),
            (_, Some(input)) => Some(format!("transforms input {input}, which there is not")),
            _ if prepared.or_next && preparing.next.is_none() => {
                Some("leaves shapes to the kernel that it displaces, and there is none".to_owned())
            }
            _ => None,
        };
        if let Some(problem) = problem {
            let (node, op) = (node.name.clone(), node.op.clone());
            return Err(LoadError::BadKernel { node, op, kernel: kernel(), problem });
        }
        let note = KernelNote {
            name: kernel(),
            plugin: provider.plugin().name.clone(),
            held_bytes: preparing.lent.into_inner(),
            note: prepared.note,
        };
        let transforms = prepared.transforms.into_iter();
        Ok(Made {
            kernel: Arc::new(prepared.kernel),
            released: prepared.released.into_iter().collect(),
            transforms: transforms.map(|(input, key, handle)| (input, key, Arc::new(handle))).collect(),
            or_next: prepared.or_next,
            note,
        })
    }
}

/// A kernel and its plugin, in words.
fn described(kernel: &RegisteredKernel) -> String {
    format!("{} ({})", kernel.key().name, kernel.plugin().name)
}
