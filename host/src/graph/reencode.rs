//! A graph whose weights are others.

use std::collections::{BTreeSet, HashMap};

use bitquilt_plugin_api::Element;

use super::copy::Copy;
use super::file::{GraphRecord, ValueRecord};
use super::{Graph, GraphError, Source};
use crate::checkpoint::{Checkpoint, StoredTensor, TensorDict};
use crate::error::Error;
use crate::tensor::{FLOATS, Tensor};

/// The ops that take a weight in any encoding, and its place among their inputs.
const TAKERS: [(&str, usize); 2] = [("qmatmul", 1), ("qgather", 0)];

/// Of the constants that nodes take, by name, those that only ops of [`TAKERS`] do as weights, and that are no outputs. A node has its op,
/// and the places of the constants that it takes.
fn taken_encoded<'a>(
    nodes: impl Iterator<Item = (&'a str, Vec<(usize, &'a str)>)>,
    outputs: impl Iterator<Item = &'a str>,
) -> BTreeSet<&'a str> {
    let (mut taken, mut elsewhere) = (BTreeSet::new(), BTreeSet::from_iter(outputs));
    for (op, constants) in nodes {
        for (place, name) in constants {
            if TAKERS.contains(&(op, place)) { &mut taken } else { &mut elsewhere }.insert(name);
        }
    }
    &taken - &elsewhere
}

impl GraphRecord {
    /// The names of the constants that may have any encoding, as [`Graph::weights`] has them.
    pub(super) fn weights(&self) -> BTreeSet<&str> {
        let name = |value: &ValueRecord| match value {
            ValueRecord::Constant(index) => self.constants.get(*index).map(String::as_str),
            _ => None,
        };
        let nodes = self.nodes.iter().map(|node| {
            // Those that are given by name are further inputs, none of which is a weight.
            let values = node.inputs.iter().chain(node.named.iter().map(|(_, value)| value));
            let constants = values.enumerate().filter_map(|(place, value)| Some((place, name(value)?)));
            (node.op.as_str(), constants.collect())
        });
        taken_encoded(nodes, self.outputs.iter().filter_map(|output| name(&output.value)))
    }
}

impl Graph {
    /// The weights that may have any encoding: the encoded constants that `qmatmul` and `qgather` take, and nothing else does. The names
    /// are those that [`Self::save`] gives them in a file.
    pub fn weights(&self) -> Vec<(String, &Tensor)> {
        let constants = self.constants();
        let names: HashMap<usize, &str> =
            constants.iter().map(|(value, name, _)| (*value, name.as_str())).collect();
        let name = |value: &usize| names.get(value).copied();
        let nodes = self.nodes.iter().map(|node| {
            let inputs = node.places.iter().zip(&node.inputs);
            let constants = inputs.filter_map(|(place, value)| Some((*place, name(value)?)));
            (node.op.as_str(), constants.collect())
        });
        let mut left = taken_encoded(nodes, self.outputs.iter().filter_map(|output| name(&output.value)));
        // One weight may be several constants.
        constants
            .iter()
            .filter(|(_, name, tensor)| tensor.encoding().is_some() && left.remove(name.as_str()))
            .map(|(_, name, tensor)| (name.clone(), *tensor))
            .collect()
    }

    /// The names of the [weights](Self::weights) of the graph that a file has. A file may have those of f32, f16 and bf16 as dense ones.
    pub(crate) fn weights_in(file: &Checkpoint) -> Result<BTreeSet<String>, GraphError> {
        let record = GraphRecord::of(file)?;
        let may_be_encoded = |name: &&str| {
            let element = file.require(name).map(StoredTensor::element);
            element.is_ok_and(|element| match element {
                Element::Encoded(_) => true,
                Element::Dense(dtype) => FLOATS.contains(&dtype),
            })
        };
        Ok(record.weights().into_iter().filter(may_be_encoded).map(str::to_owned).collect())
    }

    /// The constants, in order: index, name in a file, tensor. The name is the one that a constant was [given](Self::constant_named), but
    /// where another tensor has that. Constants of one name are one tensor.
    pub(super) fn constants(&self) -> Vec<(usize, String, &Tensor)> {
        let constants: Vec<(usize, &Tensor)> = self
            .values
            .iter()
            .enumerate()
            .filter_map(|(index, value)| match &value.source {
                Source::Constant(tensor) => Some((index, tensor)),
                _ => None,
            })
            .collect();
        let mut owners: HashMap<&str, &Tensor> = HashMap::new();
        let given: Vec<Option<&str>> = constants
            .iter()
            .map(|(index, tensor)| {
                let name = self.constant_names.get(index)?.as_str();
                owners.entry(name).or_insert(tensor).is_same(tensor).then_some(name)
            })
            .collect();
        let numbered = |place: usize| {
            let mut names = (0..).map(|more| match more {
                0 => format!("constant.{place}"),
                more => format!("constant.{place}.{more}"),
            });
            names.find(|name| !owners.contains_key(name.as_str())).unwrap_or_default()
        };
        let name =
            |(place, given): (usize, Option<&str>)| given.map_or_else(|| numbered(place), str::to_owned);
        let names = given.into_iter().enumerate().map(name);
        constants.iter().zip(names).map(|((index, tensor), name)| (*index, name, *tensor)).collect()
    }

    /// What constants are called where something is said of them, by value: the name that they were [given](Self::constant_named), or that
    /// [`Self::save`] gives them.
    pub(crate) fn constant_names(&self) -> HashMap<usize, String> {
        let constants = self.constants();
        let memory: HashMap<&str, *const u8> =
            constants.iter().map(|(_, name, tensor)| (name.as_str(), tensor.bytes().as_ptr())).collect();
        // One weight may be dense here and encoded there.
        let given = |value: &usize, tensor: &Tensor| {
            let name = self.constant_names.get(value)?;
            (memory.get(name.as_str()) == Some(&tensor.bytes().as_ptr())).then(|| name.clone())
        };
        let name = |(value, name, tensor): &(usize, String, &Tensor)| {
            (*value, given(value, tensor).unwrap_or_else(|| name.clone()))
        };
        constants.iter().map(name).collect()
    }

    /// The same graph with other tensors in the place of the constants of these [names](Self::weights). Every node is added as if the
    /// program did it, so that types that do not fit are errors that name the node.
    pub fn with_weights(&self, others: &TensorDict) -> Result<Self, Error> {
        let mut constants = self.constants().into_iter();
        let mut copy = Copy::new(self)?;
        for (index, data) in self.values.iter().enumerate() {
            match &data.source {
                Source::Input(_) => copy.input(index)?,
                Source::State(_) => copy.state(index)?,
                Source::Constant(tensor) => {
                    let name = constants.next().map(|(_, name, _)| name).unwrap_or_default();
                    copy.constant(index, others.get(&name).unwrap_or(tensor))?;
                }
                Source::Node { node, output: 0, .. } => copy.node(*node)?,
                // Made with the first output of its node.
                Source::Node { .. } => {}
            }
        }
        copy.outputs()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::InferenceSession;
    use bitquilt_plugin_api::{DType, TensorType, dim};

    #[test]
    fn a_name_is_one_tensor() {
        let session = InferenceSession::builder().threads(1).build().unwrap();
        let tensors: Vec<Tensor> = (0..4).map(|index| Tensor::full([2], index as f32)).collect();
        // Given names and tensors; names in a file.
        type Named<'a> = (Option<&'a str>, usize);
        let table: [(&[Named<'_>], &[&str]); 5] = [
            (&[(None, 0), (Some("a"), 1), (None, 2)], &["constant.0", "a", "constant.2"]),
            (&[(Some("a"), 0), (Some("a"), 0)], &["a", "a"]),
            (&[(Some("a"), 0), (Some("a"), 1), (Some("a"), 0)], &["a", "constant.1", "a"]),
            (&[(None, 0), (Some("constant.0"), 1)], &["constant.0.1", "constant.0"]),
            (&[(Some("constant.1"), 0), (Some("constant.1"), 1)], &["constant.1", "constant.1.1"]),
        ];
        for (given, expected) in table {
            let mut graph = Graph::new(session.registry(), []).unwrap();
            for (name, tensor) in given {
                match name {
                    Some(name) => graph.constant_named(*name, &tensors[*tensor]).unwrap(),
                    None => graph.constant(&tensors[*tensor]).unwrap(),
                };
            }
            let names: Vec<String> = graph.constants().into_iter().map(|(_, name, _)| name).collect();
            assert_eq!(names, expected);
            let mut said: Vec<(usize, String)> = graph.constant_names().into_iter().collect();
            said.sort();
            assert_eq!(said.into_iter().map(|(_, name)| name).collect::<Vec<_>>(), expected);
        }
    }

    #[test]
    fn weights_are_replaced_and_the_rest_stays() {
        let session = InferenceSession::builder().threads(1).build().unwrap();
        let registry = session.registry();
        let mut graph = Graph::new(registry, []).unwrap();
        let rows = graph.add_input("rows", TensorType::dense(DType::I32, [dim("n")])).unwrap();
        let state = graph.state("past", TensorType::f32([4, 32])).unwrap();
        let weight = Tensor::new([3, 32], (0..96).map(|i| i as f32 / 96.0).collect::<Vec<_>>()).unwrap();
        let scale = graph.constant(&Tensor::full([32], 2.0f32)).unwrap();
        let (table, decoded) =
            (graph.quantize("q8_0", &weight).unwrap(), graph.quantize("q8_0", &weight).unwrap());
        let x = graph.qgather(table, rows).unwrap();
        let x = graph.mul(x, scale).unwrap();
        let past = graph.append(state, x, rows).unwrap();
        let product =
            graph.node("qmatmul", [past, table]).named("p").attribute("precision", "exact").value().unwrap();
        let (top, _) = graph.top_k(product, 2).unwrap();
        let whole = graph.dequantize(decoded).unwrap();
        graph.output_named("top", top).unwrap();
        graph.output_named("whole", whole).unwrap();
        let names: Vec<String> = graph.weights().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["constant.1"]);

        let same = graph.with_weights(&TensorDict::new()).unwrap();
        let run = |graph: &Graph| {
            let rows = Tensor::new([2], [0i32, 2]).unwrap();
            session.load(graph).unwrap().execute([("rows", &rows)]).unwrap()
        };
        let (expected, found) = (run(&graph), run(&same));
        assert!(expected.iter().eq(found.iter()));
        let coarse = registry.require_encoding("q4_0").unwrap().quantize(&weight).unwrap().tensor;
        let others = graph.with_weights(&[("constant.1", coarse)].into_iter().collect()).unwrap();
        assert_eq!(others.weights()[0].1.encoding().unwrap().name, "q4_0");
        let found = run(&others);
        assert_ne!(found.tensor("top").unwrap(), expected.tensor("top").unwrap());
        assert_eq!(found.tensor("whole").unwrap(), expected.tensor("whole").unwrap());
        let narrow = Tensor::full([3, 16], 1.0f32);
        assert!(graph.with_weights(&[("constant.1", narrow)].into_iter().collect()).is_err());
    }
}
