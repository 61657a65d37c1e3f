//! Loaded graphs, and the memory that they run in.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};

use bitquilt::plugin_api::ElementView;
use bitquilt::registry::Registry;
use bitquilt::text::Quoted;
use bitquilt::{Bindings, TensorView};
use pyo3::prelude::*;
use pyo3::types::{PyDict, PyList, PyString, PyTuple};

use crate::array::Array;
use crate::error::{OrRaise, exception};
use crate::tensor::Tensor;
use crate::{numpy, types};

/// A loaded graph, which threads share.
#[pyclass(frozen, module = "bitquilt._native")]
pub struct Model {
    model: bitquilt::Model,
    registry: Arc<Registry>,
    /// Memory of calls that are over, for the next; none is kept of a model with states.
    idle: Option<Mutex<Vec<bitquilt::State>>>,
}

/// Memory that is kept at most.
const IDLE: usize = 16;

/// A caller's memory: what a model has kept from run to run.
#[pyclass(frozen, module = "bitquilt._native")]
pub struct State {
    state: Mutex<bitquilt::State>,
    registry: Arc<Registry>,
}

/// An input as it is given.
enum Given {
    Array(Array),
    Tensor(bitquilt::Tensor),
}

impl Given {
    /// Floats are read where they lie. Integers and booleans are copied: what they index is checked before it is read.
    fn of(name: &str, object: &Bound<'_, PyAny>) -> PyResult<Self> {
        if let Ok(tensor) = object.cast::<Tensor>() {
            return Ok(Self::Tensor(tensor.get().tensor.clone()));
        }
        let what = || format!("the input `{}`", bitquilt::text::Brief(name));
        let array = Array::of("the array", object).map_err(|error| renamed(object.py(), error, what))?;
        if array.is_aligned() && !array.is_index() {
            return Ok(Self::Array(array));
        }
        bitquilt::Tensor::from_bytes(array.dtype(), array.shape(), array.as_ref())
            .map(Self::Tensor)
            .or_raise()
    }

    fn view(&self) -> TensorView<'_> {
        match self {
            Self::Array(array) => {
                TensorView::from_parts(ElementView::Dense(array.dtype()), array.shape(), array.as_ref())
            }
            Self::Tensor(tensor) => tensor.view(),
        }
    }
}

/// The same error, of what has a name.
fn renamed(py: Python<'_>, error: PyErr, what: impl FnOnce() -> String) -> PyErr {
    let sentence = error.value(py).to_string();
    match sentence.strip_prefix("the array") {
        Some(rest) => PyErr::from_type(error.get_type(py), format!("{}{rest}", what())),
        None => error,
    }
}

/// The inputs of a call: by place, in the order of the graph's, and by name.
fn inputs_of(
    model: &bitquilt::Model,
    places: &Bound<'_, PyTuple>,
    named: Option<&Bound<'_, PyDict>>,
) -> PyResult<Vec<(String, Given)>> {
    let mut inputs = Vec::with_capacity(places.len());
    let mut names = model.inputs().map(|(name, _)| name);
    for place in places.iter() {
        let Some(name) = names.next() else {
            let known: Vec<String> = model.inputs().map(|(name, _)| name.to_owned()).collect();
            let sentence = format!(
                "{} inputs were given by place; the graph has {}: {}",
                places.len(),
                known.len(),
                Quoted(&known)
            );
            return Err(exception("RunError", sentence));
        };
        inputs.push((name.to_owned(), Given::of(name, &place)?));
    }
    for (name, array) in named.into_iter().flatten() {
        let name = name.cast::<PyString>()?.to_string();
        let given = Given::of(&name, &array)?;
        inputs.push((name, given));
    }
    Ok(inputs)
}

/// Runs, and gives the outputs by name: arrays, and tensors where they are encoded.
fn run<'py>(
    py: Python<'py>,
    state: &mut bitquilt::State,
    inputs: &[(String, Given)],
    registry: &Arc<Registry>,
) -> PyResult<Bound<'py, PyDict>> {
    let views = inputs.iter().map(|(name, given)| (name.as_str(), given.view()));
    let results = py.detach(|| state.run(views.collect::<Vec<_>>())).or_raise()?;
    let outputs = PyDict::new(py);
    for output in results.iter() {
        let (name, view) = output.or_raise()?;
        match numpy::of_view(py, &view)? {
            Some(array) => outputs.set_item(name, array)?,
            None => outputs.set_item(name, Tensor::of(results.tensor(name).or_raise()?, registry))?,
        }
    }
    Ok(outputs)
}

impl Model {
    pub fn new(model: bitquilt::Model, registry: Arc<Registry>) -> Self {
        let has_states = model.explain().is_ok_and(|plan| plan.state_bytes > 0);
        Self { model, registry, idle: (!has_states).then(Mutex::default) }
    }

    fn take_idle(&self) -> Option<bitquilt::State> {
        self.idle.as_ref()?.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    fn keep(&self, state: bitquilt::State) {
        let Some(idle) = &self.idle else { return };
        let mut idle = idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE {
            idle.push(state);
        }
    }
}

/// Name and type of each port.
fn ports<'py, 'a>(
    py: Python<'py>,
    ports: impl Iterator<Item = (&'a str, &'a bitquilt::TensorType)>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (name, tensor) in ports {
        dict.set_item(name, types::to_python(py, tensor)?)?;
    }
    Ok(dict)
}

#[pymethods]
impl Model {
    /// Runs once: inputs by place or by name, outputs by name.
    #[pyo3(signature = (*inputs, **named))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let inputs = inputs_of(&self.model, inputs, named)?;
        let mut state = match self.take_idle() {
            Some(state) => state,
            None => self.model.new_state().or_raise()?,
        };
        let outputs = run(py, &mut state, &inputs, &self.registry)?;
        self.keep(state);
        Ok(outputs)
    }

    /// Memory for runs, with all states zero.
    fn new_state(&self) -> PyResult<State> {
        Ok(State {
            state: Mutex::new(self.model.new_state().or_raise()?),
            registry: Arc::clone(&self.registry),
        })
    }

    /// The types of the inputs, by name.
    #[getter]
    fn inputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        ports(py, self.model.inputs())
    }

    /// The types of the outputs, by name.
    #[getter]
    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        ports(py, self.model.outputs())
    }

    /// The plan, for these values of the symbols: its text, and what it says of each node and of memory.
    fn explain_parts<'py>(
        &self,
        py: Python<'py>,
        symbols: Bindings,
    ) -> PyResult<(String, Bound<'py, PyList>, Bound<'py, PyDict>)> {
        let plan = if symbols.is_empty() { self.model.explain() } else { self.model.explain_for(&symbols) }
            .or_raise()?;
        let nodes = plan.nodes.iter().map(|node| {
            let outputs =
                node.outputs.iter().map(|output| (output.tensor.clone(), output.bytes, output.offset));
            (
                node.node.clone(),
                node.op.clone(),
                node.kernel.clone(),
                node.inputs.clone(),
                outputs.collect::<Vec<_>>(),
                node.others.clone(),
                node.scratch_bytes,
                node.held_bytes,
                node.note.clone(),
            )
        });
        let memory = PyDict::new(py);
        memory.set_item("isa", plan.isa.name())?;
        memory.set_item("arena_bytes", plan.arena_bytes)?;
        memory.set_item("constant_bytes", plan.constant_bytes)?;
        memory.set_item("held_bytes", plan.held_bytes)?;
        memory.set_item("state_bytes", plan.state_bytes)?;
        Ok((plan.to_string(), PyList::new(py, nodes.collect::<Vec<_>>())?, memory))
    }
}

/// Of a profile: its text, the runs, the seconds of them all, and the nodes.
type Noted<'py> = (String, u64, f64, Bound<'py, PyList>);

impl State {
    /// The state, if no other thread runs it.
    fn lock(&self) -> PyResult<MutexGuard<'_, bitquilt::State>> {
        match self.state.try_lock() {
            Ok(state) => Ok(state),
            Err(TryLockError::Poisoned(poisoned)) => Ok(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => Err(exception(
                "RunError",
                "the state is in use by another thread; each caller has a state of its own: `model.new_state()`",
            )),
        }
    }
}

#[pymethods]
impl State {
    /// Runs: inputs by place or by name, outputs by name. States keep what is written.
    #[pyo3(signature = (*inputs, **named))]
    fn __call__<'py>(
        &self,
        py: Python<'py>,
        inputs: &Bound<'py, PyTuple>,
        named: Option<&Bound<'py, PyDict>>,
    ) -> PyResult<Bound<'py, PyDict>> {
        let mut state = self.lock()?;
        let inputs = inputs_of(state.model(), inputs, named)?;
        run(py, &mut state, &inputs, &self.registry)
    }

    /// Sets every state to zero.
    fn reset(&self) -> PyResult<()> {
        self.lock()?.reset();
        Ok(())
    }

    /// A copy of what a state holds.
    fn state<'py>(&self, py: Python<'py>, name: &str) -> PyResult<Bound<'py, PyAny>> {
        let state = self.lock()?;
        let array = state.state(name).map(|view| numpy::of_view(py, &view)).transpose()?.flatten();
        array.ok_or_else(|| {
            exception("RunError", format!("the graph has no state `{}`", bitquilt::text::Brief(name)))
        })
    }

    /// Begins to note how long each node takes, or stops and forgets.
    #[pyo3(signature = (on=true))]
    fn set_profile(&self, on: bool) -> PyResult<()> {
        self.lock()?.set_profile(on);
        Ok(())
    }

    /// What was noted: its text, the runs, the seconds of them all, and of each node what it is and its calls, seconds, median and bytes.
    fn profile_parts<'py>(&self, py: Python<'py>) -> PyResult<Option<Noted<'py>>> {
        let Some(profile) = self.lock()?.profile() else { return Ok(None) };
        let nodes = profile.nodes.iter().map(|node| {
            let (total, median) = (node.total.as_secs_f64(), node.median.as_secs_f64());
            (node.node.clone(), node.op.clone(), node.kernel.clone(), node.calls, total, median, node.bytes)
        });
        let nodes = PyList::new(py, nodes.collect::<Vec<_>>())?;
        Ok(Some((profile.to_string(), profile.runs, profile.total.as_secs_f64(), nodes)))
    }

    /// Writes what was noted as a trace that Chrome shows.
    fn write_trace(&self, path: std::path::PathBuf) -> PyResult<()> {
        match self.lock()?.profile() {
            Some(profile) => profile.write_trace(path).or_raise(),
            None => Err(exception("RunError", "nothing was noted: call `set_profile()` before the runs")),
        }
    }
}
