//! A graph in two parts, so that it can be run from a node on.

use std::collections::{BTreeMap, BTreeSet};

use super::copy::Copy;
use super::{Graph, GraphError, Source};
use crate::error::Error;
use crate::tensor::Tensor;

/// A graph in two parts: run `before`, give its outputs to the inputs of `after` that have their names, and `after` yields what the whole
/// graph does, to the bit.
///
/// Both have those inputs of the whole graph that they need. `after` can be run again and again on what `before` gave once, with other
/// weights for instance. Where the graph has states, both parts are run on the same sequence of inputs, each with a
/// [`State`](crate::State) of its own.
pub struct Cut {
    /// The nodes before the one that was named. Its outputs are the values that a later node or an output of the graph takes.
    pub before: Graph,
    /// The node that was named, and those after it, with the outputs of the graph.
    pub after: Graph,
}

/// What belongs to one of the two parts.
struct Part {
    /// Its nodes.
    nodes: std::ops::Range<usize>,
    /// The values of the graph that it takes, and does not make.
    taken: BTreeSet<usize>,
}

impl Graph {
    /// The names of the nodes, in the order in which they were added, which is one in which they can run.
    pub fn node_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.nodes.iter().map(|node| node.name.as_str())
    }

    /// The names of the inputs, in their order.
    pub fn input_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.inputs.iter().map(|input| input.name.as_str())
    }

    /// The nodes that take a constant with the memory of a tensor, in their order.
    pub fn takers<'a>(&'a self, tensor: &'a Tensor) -> impl Iterator<Item = &'a str> {
        let is_taken = |value: &usize| match &self.values[*value].source {
            Source::Constant(constant) => constant.bytes().as_ptr_range() == tensor.bytes().as_ptr_range(),
            _ => false,
        };
        self.nodes.iter().filter(move |node| node.inputs.iter().any(is_taken)).map(|node| node.name.as_str())
    }

    /// Cuts the graph before a node.
    ///
    /// The values that go from one part to the other have the name of the node that yields them, with `.1` and so on behind it for its
    /// outputs after the first.
    ///
    /// # Errors
    /// If there is no such node, or if a state is used on both sides.
    pub fn cut_before(&self, node: &str) -> Result<Cut, Error> {
        let unknown = || GraphError::NoSuchNode { node: node.to_owned() };
        let at = self.nodes.iter().position(|data| data.name == node).ok_or_else(unknown)?;
        let (before, after) = (self.part(0..at), self.part(at..self.nodes.len()));
        let states = [&before, &after].map(|part| self.states_of(part));
        if let Some(state) = states[0].intersection(&states[1]).next() {
            let state = self.states[*state].name.clone();
            return Err(GraphError::CutState { node: node.to_owned(), state }.into());
        }
        let crossing = self.crossing(&after);
        let outputs: Vec<(String, usize)> =
            crossing.iter().map(|(value, name)| (name.clone(), *value)).collect();
        let mut first = self.copy_part(&before, &BTreeMap::new(), outputs.iter().map(|(_, value)| *value))?;
        for (name, value) in &outputs {
            first.output(name, *value)?;
        }
        let later = self.outputs.iter().map(|output| output.value);
        let second = self.copy_part(&after, &crossing, later)?;
        Ok(Cut { before: first.graph, after: second.outputs()? })
    }

    fn part(&self, nodes: std::ops::Range<usize>) -> Part {
        let is_last = nodes.end == self.nodes.len();
        let outputs = self.outputs.iter().filter(|_| is_last).map(|output| output.value);
        let taken = self.nodes[nodes.clone()].iter().flat_map(|node| &node.inputs).copied().chain(outputs);
        let made = |value: &usize| match self.values[*value].source {
            Source::Node { node, .. } => nodes.contains(&node),
            _ => false,
        };
        let taken = taken.filter(|value| !made(value)).collect();
        Part { nodes, taken }
    }

    /// The states whose memory a part reads or writes.
    fn states_of(&self, part: &Part) -> BTreeSet<usize> {
        let values =
            self.nodes[part.nodes.clone()].iter().flat_map(|node| node.inputs.iter().chain(&node.outputs));
        let values = values.chain(&part.taken);
        values.filter_map(|value| Some(self.values[*value].state?.0)).collect()
    }

    /// The values that nodes before a part yield and the part takes, and the names that they cross with.
    fn crossing(&self, part: &Part) -> BTreeMap<usize, String> {
        let mut names: BTreeSet<String> = self.inputs.iter().map(|input| input.name.clone()).collect();
        let mut crossing = BTreeMap::new();
        for value in &part.taken {
            let Source::Node { node, output, .. } = self.values[*value].source else { continue };
            let node = &self.nodes[node].name;
            let mut name = if output == 0 { node.clone() } else { format!("{node}.{output}") };
            while !names.insert(name.clone()) {
                name.push('\'');
            }
            crossing.insert(*value, name);
        }
        crossing
    }

    /// A copy of a part, in which these values of other nodes are inputs, and whose outputs these values are to be.
    fn copy_part(
        &self,
        part: &Part,
        crossing: &BTreeMap<usize, String>,
        outputs: impl Iterator<Item = usize>,
    ) -> Result<Copy<'_>, Error> {
        let outputs: Vec<usize> = outputs.collect();
        let carriers = self.carriers(part, crossing, &outputs);
        let mut copy = Copy::new(self)?;
        for (index, data) in self.values.iter().enumerate() {
            let is_taken = part.taken.contains(&index) || outputs.contains(&index);
            match &data.source {
                Source::Input(input) if is_taken || carriers.contains(input) => copy.input(index)?,
                Source::State(_) if is_taken => copy.state(index)?,
                Source::Constant(tensor) if is_taken => copy.constant(index, tensor)?,
                Source::Node { node, output: 0, .. } if part.nodes.contains(node) => copy.node(*node)?,
                Source::Node { .. } => {
                    if let Some(name) = crossing.get(&index) {
                        copy.input_as(index, name.clone())?;
                    }
                }
                _ => {}
            }
        }
        Ok(copy)
    }

    /// The inputs that a part has only for the symbols in its types: no input that it takes binds them.
    fn carriers(
        &self,
        part: &Part,
        crossing: &BTreeMap<usize, String>,
        outputs: &[usize],
    ) -> BTreeSet<usize> {
        let made = self.nodes[part.nodes.clone()].iter().flat_map(|node| &node.outputs);
        let wanted = made.chain(&part.taken).chain(outputs);
        let wanted: BTreeSet<&str> = wanted
            .flat_map(|value| &self.values[*value].tensor.shape)
            .flat_map(|dim| dim.symbols())
            .collect();
        let binds = |value: usize| self.values[value].tensor.shape.iter().filter_map(|dim| dim.as_symbol());
        let is_input = |value: &usize| matches!(self.values[*value].source, Source::Input(_));
        let given = part.taken.iter().chain(outputs).filter(|value| is_input(value)).chain(crossing.keys());
        let mut bound: BTreeSet<&str> = given.flat_map(|value| binds(*value)).collect();
        let mut carriers = BTreeSet::new();
        for (input, port) in self.inputs.iter().enumerate() {
            let missing = binds(port.value).any(|symbol| wanted.contains(symbol) && !bound.contains(symbol));
            if missing {
                bound.extend(binds(port.value));
                carriers.insert(input);
            }
        }
        carriers
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bitquilt_plugin_api::{DType, TensorType, dim};

    use super::*;
    use crate::registry::Registry;
    use crate::session::InferenceSession;
    use crate::state::OwnedResults;

    /// A graph with a state, an op of two outputs, an input that is taken late, and an output that is made early.
    fn example(registry: &Arc<Registry>) -> Graph {
        let mut graph = Graph::new(registry, []).unwrap();
        let rows = graph.add_input("rows", TensorType::dense(DType::I32, [dim("n")])).unwrap();
        let bias = graph.add_input("bias", TensorType::f32([dim("n"), dim(32)])).unwrap();
        let past = graph.state("past", TensorType::f32([8, 32])).unwrap();
        let values: Vec<f32> = (0..256).map(|index| (index as f32 * 0.37).sin()).collect();
        let weight = Tensor::new([8, 32], values).unwrap();
        let table = graph.quantize("q8_0", &weight).unwrap();
        let x = graph.node("qgather", [table, rows]).named("look up").value().unwrap();
        let doubled = graph.node("add", [x, x]).named("double").value().unwrap();
        graph.output_named("early", doubled).unwrap();
        let past = graph.node("append", [past, doubled, rows]).named("append").value().unwrap();
        let product = graph.node("qmatmul", [past, table]).named("product").value().unwrap();
        let top = graph.node("top_k", [product]).attribute("k", 2).named("top").values().unwrap();
        let late = graph.node("add", [doubled, bias]).named("late").value().unwrap();
        graph.output_named("values", top[0]).unwrap();
        graph.output_named("indices", top[1]).unwrap();
        graph.output_named("late", late).unwrap();
        graph
    }

    type Arrays = Vec<(String, Tensor)>;

    fn run(session: &InferenceSession, graph: &Graph, runs: &[Arrays]) -> Vec<OwnedResults> {
        let model = session.load(graph).unwrap();
        let mut state = model.new_state().unwrap();
        let wanted: Vec<String> = model.inputs().map(|(name, _)| name.to_owned()).collect();
        let run = |arrays: &Arrays| {
            let given = arrays.iter().filter(|(name, _)| wanted.contains(name));
            state.run(given.map(|(name, tensor)| (name.as_str(), tensor))).unwrap().to_owned().unwrap()
        };
        runs.iter().map(run).collect()
    }

    #[test]
    fn the_parts_yield_what_the_whole_does() {
        let session = InferenceSession::builder().threads(1).build().unwrap();
        let graph = example(session.registry());
        let inputs = |first: i32, count: usize| -> Arrays {
            let rows = Tensor::new([count], (first..).take(count).collect::<Vec<_>>()).unwrap();
            let bias = Tensor::full([count, 32], 0.5f32 + first as f32);
            vec![("rows".to_owned(), rows), ("bias".to_owned(), bias)]
        };
        // The second run sees what the first one left in the state.
        let runs = [inputs(0, 3), inputs(3, 2)];
        let expected = run(&session, &graph, &runs);
        let mut cuts = 0;
        for node in graph.node_names() {
            let Cut { before, after } = match graph.cut_before(node) {
                Ok(cut) => cut,
                Err(error) => {
                    let expected = "the graph cannot be cut before node `product`: the state `past` is used on both sides";
                    assert_eq!((node, &error.to_string()[..]), ("product", expected));
                    continue;
                }
            };
            cuts += 1;
            let given = if before.nodes.is_empty() {
                runs.to_vec()
            } else {
                let crossed = run(&session, &before, &runs);
                let with = |(run, crossed): (&Arrays, &OwnedResults)| {
                    let crossed = crossed.iter().map(|(name, tensor)| (name.to_owned(), tensor.clone()));
                    run.iter().cloned().chain(crossed).collect::<Arrays>()
                };
                runs.iter().zip(&crossed).map(with).collect()
            };
            let found = run(&session, &after, &given);
            for (expected, found) in expected.iter().zip(&found) {
                assert!(expected.iter().eq(found.iter()), "cut before {node}");
            }
        }
        assert_eq!(cuts, 5);
    }

    #[test]
    fn a_part_can_be_cut_again_and_has_the_same_names() {
        let session = InferenceSession::builder().threads(1).build().unwrap();
        let graph = example(session.registry());
        let names = |graph: &Graph| graph.inputs.iter().map(|port| port.name.clone()).collect::<Vec<_>>();
        let at_once = graph.cut_before("late").unwrap();
        let twice = graph.cut_before("double").unwrap().after.cut_before("late").unwrap();
        assert_eq!(names(&at_once.after), ["bias", "double", "top", "top.1"]);
        assert_eq!(names(&twice.after), names(&at_once.after));
        assert_eq!(names(&twice.before), ["rows", "look up"]);
        let taken = graph.weights();
        assert_eq!(graph.takers(taken[0].1).collect::<Vec<_>>(), ["look up", "product"]);
        let error = graph.cut_before("lamp").map(drop).unwrap_err();
        assert_eq!(error.to_string(), "the graph has no node `lamp`");
    }

    #[test]
    fn a_symbol_that_no_value_binds_keeps_its_input() {
        let session = InferenceSession::builder().threads(1).build().unwrap();
        let mut graph = Graph::new(session.registry(), []).unwrap();
        let x = graph.add_input("x", TensorType::f32([dim("n"), dim(4)])).unwrap();
        let rows = dim("n").mul(&dim(4)).unwrap();
        let flat = graph.node("reshape", [x]).attribute("shape", vec![rows]).named("flat").value().unwrap();
        let twice = graph.node("add", [flat, flat]).named("twice").value().unwrap();
        graph.output(twice).unwrap();
        let cut = graph.cut_before("twice").unwrap();
        let x = Tensor::new([3, 4], (0..12).map(|it| it as f32).collect::<Vec<_>>()).unwrap();
        let flat = session.load(&cut.before).unwrap().execute([("x", &x)]).unwrap();
        let model = session.load(&cut.after).unwrap();
        let found = model.execute([("x", &x), ("flat", flat.tensor("flat").unwrap())]).unwrap();
        let expected = session.load(&graph).unwrap().execute([("x", &x)]).unwrap();
        assert_eq!(found.tensor("output0").unwrap(), expected.tensor("output0").unwrap());
    }
}
