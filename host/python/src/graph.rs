//! Graphs that are being built.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, TryLockError};

use bitquilt::registry::Registry;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use crate::attributes::attribute_of;
use crate::error::{OrRaise, exception};
use crate::model::Model;
use crate::session::Session;
use crate::tensor::{self, Tensor};
use crate::{types, work};

/// A graph.
#[pyclass(frozen, module = "bitquilt._native")]
pub struct Graph {
    graph: Mutex<bitquilt::Graph>,
    registry: Arc<Registry>,
}

/// A value of a graph.
#[pyclass(frozen, eq, hash, module = "bitquilt._native")]
#[derive(PartialEq, Eq, Hash)]
pub struct Value {
    value: bitquilt::Value,
}

impl Graph {
    /// The graph, if nobody else uses it: to wait for somebody with the interpreter's lock held could last for ever.
    pub fn lock(&self) -> PyResult<MutexGuard<'_, bitquilt::Graph>> {
        match self.graph.try_lock() {
            Ok(graph) => Ok(graph),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(exception(
                "GraphError",
                "the graph is in use by another thread, or by an op's `infer`; build and load a graph in one thread",
            )),
        }
    }

    fn new(graph: bitquilt::Graph) -> Self {
        let registry = Arc::clone(graph.registry());
        Self { graph: Mutex::new(graph), registry }
    }
}

#[pymethods]
impl Graph {
    #[new]
    fn py_new(session: &Bound<'_, Session>) -> PyResult<Self> {
        Ok(Self::new(bitquilt::Graph::new(session.get().registry(), []).or_raise()?))
    }

    /// A graph that was saved.
    #[staticmethod]
    fn load(py: Python<'_>, path: PathBuf, session: &Bound<'_, Session>) -> PyResult<Self> {
        let registry = session.get().registry();
        Ok(Self::new(work::run(py, || bitquilt::Graph::load(path, registry))?.or_raise()?))
    }

    /// Writes the graph with its constants into a file.
    fn save(&self, py: Python<'_>, path: PathBuf) -> PyResult<()> {
        let graph = self.lock()?;
        let graph: &bitquilt::Graph = &graph;
        work::run(py, || graph.save(path))?.or_raise()
    }

    /// Loads the graph into a session.
    fn loaded(&self, py: Python<'_>, session: &Bound<'_, Session>) -> PyResult<Model> {
        let (graph, session) = (self.lock()?, session.get());
        let built: &bitquilt::Graph = &graph;
        let model = work::run(py, || session.session.load(built))?.or_raise()?;
        Ok(Model::new(model, Arc::clone(session.registry())))
    }

    /// Adds an input; without a name it is called by its number.
    #[pyo3(signature = (name, r#type))]
    fn input(&self, name: Option<String>, r#type: &Bound<'_, PyAny>) -> PyResult<Value> {
        let tensor = types::type_of(r#type)?;
        let mut graph = self.lock()?;
        let name = name.unwrap_or_else(|| format!("input{}", graph.inputs().len()));
        graph.add_input(name, tensor).map(|value| Value { value }).or_raise()
    }

    /// The inputs, in order: name and value.
    fn inputs(&self) -> PyResult<Vec<(String, Value)>> {
        let graph = self.lock()?;
        Ok(graph.inputs().map(|(name, value)| (name.to_owned(), Value { value })).collect())
    }

    /// The names of the outputs, in order.
    fn outputs(&self) -> PyResult<Vec<String>> {
        Ok(self.lock()?.outputs().map(|(name, _)| name.to_owned()).collect())
    }

    /// Adds a state.
    fn state(&self, name: String, r#type: &Bound<'_, PyAny>) -> PyResult<Value> {
        let tensor = types::type_of(r#type)?;
        self.lock()?.state(name, tensor).map(|value| Value { value }).or_raise()
    }

    /// Adds a constant, with the name that a weight has elsewhere.
    #[pyo3(signature = (tensor, name=None))]
    fn constant(&self, tensor: &Bound<'_, PyAny>, name: Option<String>) -> PyResult<Value> {
        let tensor = tensor::of_any("the constant", tensor, false)?;
        let mut graph = self.lock()?;
        match name {
            Some(name) => graph.constant_named(name, &tensor),
            None => graph.constant(&tensor),
        }
        .map(|value| Value { value })
        .or_raise()
    }

    /// Makes a value an output; without a name it is called by its number.
    #[pyo3(signature = (value, name=None))]
    fn output(&self, value: &Bound<'_, Value>, name: Option<String>) -> PyResult<()> {
        let mut graph = self.lock()?;
        match name {
            Some(name) => graph.output_named(name, value.get().value),
            None => graph.output(value.get().value),
        }
        .or_raise()
    }

    /// Applies an op: inputs by place, optional ones by name, attributes.
    #[pyo3(signature = (op, inputs, named, attributes, name=None))]
    fn node(
        &self,
        op: &str,
        inputs: Vec<Bound<'_, Value>>,
        named: &Bound<'_, PyDict>,
        attributes: &Bound<'_, PyDict>,
        name: Option<String>,
    ) -> PyResult<Vec<Value>> {
        let signature = self.registry.op(op).map(|op| op.signature());
        let mut graph = self.lock()?;
        let mut node = graph.node(op, inputs.iter().map(|input| input.get().value));
        if let Some(name) = name {
            node = node.named(name);
        }
        for (key, value) in named.iter() {
            node = node.input(&key.extract::<String>()?, value.cast::<Value>()?.get().value);
        }
        for (key, value) in attributes.iter() {
            let key = key.extract::<String>()?;
            let specs = signature.into_iter().flat_map(|signature| &signature.attributes);
            let kind = specs.into_iter().find(|spec| spec.name == key).map(|spec| spec.kind);
            node = node.attribute(&key, attribute_of(&key, &value, kind)?);
        }
        node.values().map(|values| values.into_iter().map(|value| Value { value }).collect()).or_raise()
    }

    /// The type of a value.
    fn r#type<'py>(&self, py: Python<'py>, value: &Bound<'py, Value>) -> PyResult<Bound<'py, PyAny>> {
        let graph = self.lock()?;
        match graph.type_of(value.get().value) {
            Some(tensor) => types::to_python(py, tensor),
            None => Err(exception("GraphError", "the value is of another graph")),
        }
    }

    /// The tensor of a constant; None for other values.
    fn constant_tensor(&self, value: &Bound<'_, Value>) -> PyResult<Option<Tensor>> {
        let graph = self.lock()?;
        Ok(graph.constant_tensor(value.get().value).map(|tensor| Tensor::of(tensor.clone(), &self.registry)))
    }

    /// Whether an op takes an attribute of this name.
    fn takes(&self, op: &str, attribute: &str) -> bool {
        self.registry
            .op(op)
            .is_some_and(|op| op.signature().attributes.iter().any(|spec| spec.name == attribute))
    }
}
