//! Kernels for nodes, and what they prepare.

use std::cmp::Reverse;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::fmt::Write as _;
use std::sync::Arc;

use bitquilt_plugin_api::Support;
use bitquilt_plugin_api::host::{KernelHandle, TransformHandle};

use super::context::{LoadContext, Part, state_inputs};
use super::error::LoadError;
use crate::graph::{Graph, NodeContext, NodeData, Source};
use crate::plan::{
    InputPort, NodeNote, OutputPort, Place, PortIndex, Program, StateSlot, Step, TransformSlot, ValueSlot,
};
use crate::registry::RegisteredKernel;
use crate::tensor::{Tensor, dense_bytes};

/// A kernel that was prepared, for every node that agrees in all that it was shown.
struct Chosen {
    kernel: Arc<KernelHandle>,
    released: HashSet<usize>,
    /// Input, key, and transform of each that the kernel asked for.
    transforms: Vec<(usize, String, Arc<TransformHandle>)>,
    held_bytes: usize,
    note: NodeNote,
}

/// Makes a program of a part of a graph. `progress` is told as [`compile`](super::compile)'s is.
pub(super) fn program(
    graph: &Graph,
    part: Part,
    cx: &LoadContext<'_>,
    progress: &mut dyn FnMut(usize, usize),
) -> Result<Program, LoadError> {
    let mut build =
        Build { graph, part: &part, cx, index: HashMap::new(), program: empty(graph)?, readers: Vec::new() };
    let mut kernels: HashMap<String, Chosen> = HashMap::new();
    let mut slots: HashMap<(usize, String), usize> = HashMap::new();
    // A weight is there twice while it is prepared: the largest come first, when little else is there.
    let nodes = part.nodes.iter().map(|node| &graph.nodes[*node]);
    let mut order: Vec<(usize, &NodeData)> = nodes.map(|node| (build.constant_bytes(node), node)).collect();
    order.sort_by_key(|(bytes, _)| Reverse(*bytes));
    let all = order.iter().map(|(bytes, _)| bytes).sum();
    let mut done = 0;
    for (bytes, node) in order {
        build.prepare(node, &mut kernels)?;
        done += bytes;
        progress(done, all);
    }
    for node in &part.nodes {
        build.node(&graph.nodes[*node], &kernels, &mut slots)?;
    }
    for (name, value) in &part.outputs {
        let value = build.value(*value);
        let root = build.program.root(value);
        build.readers[root] += 1;
        build.program.outputs.push(OutputPort { name: name.clone(), value, root });
    }
    let Build { mut program, readers, .. } = build;
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
        kernels: &HashMap<String, Chosen>,
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
        let chosen = &kernels[&self.cache_key(node)];
        let step_index = self.program.steps.len();
        let mut step = Step {
            node: node.name.clone(),
            op: node.op.clone(),
            kernel: Arc::clone(&chosen.kernel),
            inputs: inputs.iter().copied().zip(writes).collect(),
            outputs,
            transforms: Vec::with_capacity(chosen.transforms.len()),
            begins: Vec::new(),
        };
        for (input, transform_key, transform) in &chosen.transforms {
            let value = inputs[*input];
            let root = self.program.root(value);
            self.readers[root] += 1;
            let slot = *slots.entry((value, transform_key.clone())).or_insert_with(|| {
                let slot = TransformSlot { value, transform: Arc::clone(transform) };
                self.program.transforms.push(slot);
                step.begins.push(self.program.transforms.len() - 1);
                self.program.transforms.len() - 1
            });
            step.transforms.push(slot);
        }
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

    /// Chooses and prepares a node's kernel, unless an equal node has it already.
    fn prepare(&mut self, node: &NodeData, kernels: &mut HashMap<String, Chosen>) -> Result<(), LoadError> {
        let key = self.cache_key(node);
        if !self.is_view(node) && !kernels.contains_key(&key) {
            let chosen = self.choose(node)?;
            self.program.held_bytes = self.program.held_bytes.saturating_add(chosen.held_bytes);
            kernels.insert(key, chosen);
        }
        Ok(())
    }

    /// Whether all that a node yields is its inputs' memory, as it is: it has no kernel.
    fn is_view(&self, node: &NodeData) -> bool {
        let is_alias =
            |value: &usize| matches!(self.graph.values[*value].source, Source::Node { alias: Some(_), .. });
        node.outputs.iter().all(is_alias) && !state_inputs(node, self.cx.registry).contains(&true)
    }

    /// The bytes of the largest constant that a node takes.
    fn constant_bytes(&self, node: &NodeData) -> usize {
        let constants = node.inputs.iter().filter_map(|value| self.part.constant(self.graph, *value));
        constants.map(|tensor| tensor.bytes().len()).max().unwrap_or_default()
    }

    /// All that a provider is shown of a node.
    fn cache_key(&self, node: &NodeData) -> String {
        let mut key = format!("{}({})", node.op, node.attributes);
        for value in &node.inputs {
            let _ = write!(key, ",{}", self.graph.values[*value].tensor);
            if let Some(tensor) = self.part.constant(self.graph, *value) {
                let _ = write!(key, "@{:p}", tensor.bytes());
            }
        }
        for value in &node.outputs {
            let _ = write!(key, ">{}", self.graph.values[*value].tensor);
        }
        key
    }

    fn with_context<R>(&self, node: &NodeData, call: impl FnOnce(&NodeContext<'_>) -> R) -> R {
        let types = |values: &[usize]| {
            values.iter().map(|value| self.graph.values[*value].tensor.clone()).collect::<Vec<_>>()
        };
        let (inputs, outputs) = (types(&node.inputs), types(&node.outputs));
        call(&NodeContext {
            op: &node.op,
            attributes: &node.attributes,
            inputs: &inputs,
            outputs: &outputs,
            constants: node.inputs.iter().map(|value| self.part.constant(self.graph, *value)).collect(),
            registry: self.cx.registry,
            options: self.cx.options,
            executor: self.cx.executor,
        })
    }

    fn candidates(&self, node: &NodeData) -> Vec<&RegisteredKernel> {
        let registry = self.cx.registry;
        let kernel_input = registry.op(&node.op).and_then(|op| op.signature().kernel_input);
        let encoding = kernel_input.and_then(|input| self.graph.values[node.inputs[input]].tensor.encoding());
        registry.kernels(&node.op, encoding).collect()
    }

    /// The best kernel that can run a node, prepared.
    fn choose(&self, node: &NodeData) -> Result<Chosen, LoadError> {
        let (name, op) = (node.name.clone(), node.op.clone());
        self.with_context(node, |context| {
            let mut others = Vec::new();
            let mut best: Option<&RegisteredKernel> = None;
            for candidate in self.candidates(node) {
                let who = format!("{} ({})", candidate.key().name, candidate.plugin().name);
                match (candidate.handle.supports(context), best) {
                    (Support::Yes, None) => best = Some(candidate),
                    (Support::Yes, Some(best)) => {
                        others.push((who, format!("goes after `{}`", best.key().name)));
                    }
                    (Support::No(reason), _) => others.push((who, reason)),
                }
            }
            let Some(best) = best else {
                let mut reasons: Vec<String> =
                    others.into_iter().map(|(who, why)| format!("{who}: {why}")).collect();
                if reasons.is_empty() {
                    reasons.push("none is registered".to_owned());
                }
                return Err(LoadError::NoKernel { node: name, op, reasons });
            };
            let kernel = best.key().name.clone();
            let prepared = best.handle.prepare(context).map_err(|source| LoadError::Prepare {
                node: name.clone(),
                op: op.clone(),
                kernel: kernel.clone(),
                source,
            })?;
            let asks = prepared.transforms.iter().map(|(input, ..)| *input);
            let bad = prepared
                .released
                .iter()
                .find(|input| !bitquilt_plugin_api::host::NodeHost::is_constant(context, **input));
            let problem = match (bad, asks.into_iter().find(|input| *input >= node.inputs.len())) {
                (Some(input), _) => Some(format!("releases input {input}, which is no constant")),
                (_, Some(input)) => Some(format!("transforms input {input}, which there is not")),
                _ => None,
            };
            if let Some(problem) = problem {
                return Err(LoadError::BadKernel { node: name, op, kernel, problem });
            }
            // The kernel has a copy of its own: a file's pages need not stay beside it.
            let constants = prepared.released.iter().filter_map(|input| context.constants[*input]);
            constants.for_each(Tensor::forget_pages);
            let held_bytes = prepared.held_bytes;
            let kernel = Some((kernel, best.plugin().name.clone()));
            let note = NodeNote { kernel, others, held_bytes, note: prepared.note, ..NodeNote::default() };
            let transforms =
                prepared.transforms.into_iter().map(|(input, key, handle)| (input, key, Arc::new(handle)));
            let transforms = transforms.collect();
            Ok(Chosen {
                kernel: Arc::new(prepared.kernel),
                released: prepared.released.into_iter().collect(),
                transforms,
                held_bytes,
                note,
            })
        })
    }
}
