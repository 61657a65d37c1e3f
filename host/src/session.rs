//! Sessions: what is registered, and loading graphs.

use std::path::PathBuf;
use std::sync::Arc;

use bitquilt_plugin_api::{
    Bindings, Executor, Kernel, KernelProvider, Op, Plugin, QuantizationEncoding, ShapeDisplay, TensorType,
    TensorView,
};
use bitquilt_simd::{Isa, IsaError};

use crate::compile::{Explanation, Layout, LoadError, Loader, Program, Step, compile, explain};
use crate::executor::ThreadPool;
use crate::graph::Graph;
use crate::plugin::{self, Origin, PluginProbe, Refusal, Registry, RegistryError, SearchPath, Staged};
use crate::run::Run;
use crate::state::{OwnedResults, State};
use crate::tensor::{Tensor, TensorError};
use crate::text::{Brief, List, Passage, Quoted};

/// Everything that is registered, and the threads that run models.
pub struct InferenceSession {
    core: Arc<SessionCore>,
    refusals: Vec<Refusal>,
}

pub(crate) struct SessionCore {
    pub(crate) registry: Arc<Registry>,
    pub(crate) pool: ThreadPool,
    isa: Isa,
    options: Vec<(String, String)>,
}

/// The most threads of a session: a system that is asked for far more ends the process.
const MAX_THREADS: usize = 1024;

/// Why a session could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SessionError {
    /// A plugin of the program's own, or a built-in one, was refused.
    #[error("the plugin `{}`: {source}", Brief(.plugin))]
    Plugin {
        /// Its name.
        plugin: String,
        /// Why.
        source: Box<RegistryError>,
    },
    /// More threads than a session may have.
    #[error("{found} threads were asked for; a session has at most {MAX_THREADS}")]
    TooManyThreads {
        /// How many were asked for.
        found: usize,
    },
    /// The option `isa` is no instruction set of this machine.
    #[error("the option `isa`: {0}")]
    Isa(#[from] IsaError),
    /// The threads could not be started.
    #[error("the worker threads could not be started: {0}")]
    Threads(std::io::Error),
}

/// Why a run failed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum RunError {
    /// An input that the graph does not have.
    #[error("the graph has no input `{}`; it has {}", Brief(.input), Quoted(.known))]
    UnknownInput {
        /// The input.
        input: String,
        /// Those it has.
        known: Vec<String>,
    },
    /// A value for a symbol that the graph does not have.
    #[error("the graph has no symbol `{}`; it has {}", Brief(.symbol), if .known.is_empty() { "none".to_owned() } else { List(.known).to_string() })]
    UnknownSymbol {
        /// The symbol.
        symbol: String,
        /// Those it has.
        known: Vec<String>,
    },
    /// An input was not given, or twice.
    #[error("the input `{}` was given {times} times; give each input once", Brief(.input))]
    InputTimes {
        /// The input.
        input: String,
        /// How often it was given.
        times: usize,
    },
    /// An input is not of its type.
    #[error("the input `{}` is {}, {} was given", Brief(.input), Brief(&.expected.to_string()), Brief(.found))]
    InputType {
        /// The input.
        input: String,
        /// Its type.
        expected: TensorType,
        /// What was given.
        found: String,
    },
    /// A view's bytes are not those of its shape.
    #[error("the input `{}` has {found} bytes, its shape needs {expected}", Brief(.input))]
    InputBytes {
        /// The input.
        input: String,
        /// Bytes its shape needs.
        expected: usize,
        /// Bytes there were.
        found: usize,
    },
    /// Two inputs bind a symbol to different numbers.
    #[error("the input `{}` makes `{symbol}` {found}, another dimension has made it {bound}", Brief(.input))]
    SymbolConflict {
        /// The input.
        input: String,
        /// The symbol.
        symbol: String,
        /// What it was bound to before.
        bound: usize,
        /// What this input says.
        found: usize,
    },
    /// A shape makes no sense for these inputs.
    #[error("{}", Passage(.0.message()))]
    Shape(bitquilt_plugin_api::Error),
    /// A tensor is too large.
    #[error(transparent)]
    Tensor(TensorError),
    /// There is not so much memory.
    #[error("{what} needs {bytes} bytes of memory, which this machine does not have")]
    TooLarge {
        /// What needs it.
        what: String,
        /// The bytes; where they are more than can be addressed, without the sharing of memory.
        bytes: u128,
    },
    /// A kernel asks for more memory than there can be.
    #[error("node `{}` ({op}): its kernel asks for {per_worker} bytes of scratch memory for each worker", Brief(.node))]
    Scratch {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
        /// The bytes.
        per_worker: usize,
    },
    /// A kernel failed.
    #[error("node `{}` ({op}): {}", Brief(.node), Passage(.source.message()))]
    Node {
        /// The node's name.
        node: String,
        /// Its op.
        op: String,
        /// What it said.
        source: bitquilt_plugin_api::Error,
    },
    /// No such output.
    #[error("the graph has no output `{}`; it has {}", Brief(.output), Quoted(.known))]
    UnknownOutput {
        /// The output.
        output: String,
        /// Those it has.
        known: Vec<String>,
    },
}

impl RunError {
    pub(crate) fn node(step: &Step, source: bitquilt_plugin_api::Error) -> Self {
        Self::Node { node: step.node.clone(), op: step.op.clone(), source }
    }

    /// The arena cannot be had, whose largest piece has these bytes and is needed from this step on.
    pub(crate) fn arena(program: &Program, largest: Option<(usize, usize)>, bytes: u128) -> Self {
        let step = largest.and_then(|(bytes, step)| Some((bytes, program.steps.get(step)?)));
        let what = match step {
            Some((bytes, step)) => {
                format!("the run, in which node `{}` ({}) takes {bytes} bytes,", Brief(&step.node), step.op)
            }
            None => "the run".to_owned(),
        };
        Self::TooLarge { what, bytes }
    }
}

/// Makes a session.
#[must_use = "a session is made by `build`"]
pub struct SessionBuilder {
    threads: Option<usize>,
    plugins: Vec<Plugin>,
    own: Plugin,
    has_own: bool,
    files: SearchPath,
    probe: Option<PluginProbe>,
    options: Vec<(String, String)>,
}

impl InferenceSession {
    /// A session with the built-in encodings and ops, and what the builder adds.
    pub fn builder() -> SessionBuilder {
        SessionBuilder {
            threads: None,
            plugins: Vec::new(),
            own: Plugin::new("program", env!("CARGO_PKG_VERSION")),
            has_own: false,
            files: SearchPath::default(),
            probe: None,
            options: Vec::new(),
        }
    }

    /// The encodings and ops that are registered.
    pub fn registry(&self) -> &Arc<Registry> {
        &self.core.registry
    }

    /// The files in the plugin directories that were refused, and why.
    pub fn refusals(&self) -> &[Refusal] {
        &self.refusals
    }

    /// The number of threads that a run has, its caller included.
    pub fn threads(&self) -> usize {
        self.core.pool.workers()
    }

    /// The instruction set that nodes compute with: that of the option `isa`, or else the fastest of this machine.
    pub fn isa(&self) -> Isa {
        self.core.isa
    }

    /// Loads a graph: validates it, computes what is constant, drops what no output needs, and prepares kernels.
    ///
    /// Kernels that repack a weight let go of the original; its memory is free once the graph and the caller's tensors are dropped.
    pub fn load(&self, graph: &Graph) -> Result<Model, LoadError> {
        self.load_with_progress(graph, |_, _| {})
    }

    /// As [`load`](Self::load), and tells `progress`, again and again, how many bytes of constants are prepared, and of how many.
    pub fn load_with_progress(
        &self,
        graph: &Graph,
        mut progress: impl FnMut(usize, usize),
    ) -> Result<Model, LoadError> {
        let entered = self.core.pool.enter();
        let executor = Executor::of(&entered);
        let loader = Loader { registry: &self.core.registry, options: &self.core.options, executor };
        let program = compile(graph, &loader, &mut progress)?;
        Ok(Model { program: Arc::new(program), core: Arc::clone(&self.core) })
    }
}

impl SessionBuilder {
    /// Sets the number of threads of a run, its caller included, from 1 to 1024. All of the machine's, if this is not called.
    pub fn threads(mut self, threads: usize) -> Self {
        self.threads = Some(threads);
        self
    }

    /// Loads the plugins of a directory. Files that are refused are listed by [`InferenceSession::refusals`].
    pub fn plugin_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.files.directories.extend(SearchPath::program([directory]).directories);
        self
    }

    /// Loads the plugins of a search path's directories, after those named before.
    pub fn search_path(mut self, path: SearchPath) -> Self {
        self.files.directories.extend(path.directories);
        self.files.notes.extend(path.notes);
        self
    }

    /// Loads each file in a child process first, so that one that crashes or hangs as it is loaded ends that child alone.
    pub fn probe(mut self, probe: PluginProbe) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Registers a plugin of the program's own, without a shared library.
    pub fn plugin(mut self, plugin: Plugin) -> Self {
        self.plugins.push(plugin);
        self
    }

    /// Registers an encoding of the program's own.
    pub fn encoding(self, encoding: impl QuantizationEncoding) -> Self {
        self.with_own(|own| own.encoding(encoding))
    }

    /// Registers an op of the program's own; its kernels are added with [`Self::kernel`].
    pub fn op(self, op: impl Op) -> Self {
        self.with_own(|own| own.op(op))
    }

    /// Registers an op of the program's own that is its own kernel.
    pub fn simple_op(self, op: impl Op + Kernel) -> Self {
        self.with_own(|own| own.simple_op(op))
    }

    /// Registers a way to run an op.
    pub fn kernel(self, provider: impl KernelProvider) -> Self {
        self.with_own(|own| own.kernel(provider))
    }

    /// Sets an option that kernels may ask for, in the place of what it was set to before.
    ///
    /// `isa`, an [`Isa`]'s name (`scalar`, `avx2`, `avxvnni`, `avx512`, `avx512vnni`, `avx512bf16`, `neon`, `neondotprod`), has all that
    /// the session computes use the code for that instruction set, the built-in encodings included. Where an op has none it uses that
    /// for the nearest set that it includes: `avx512bf16` includes `avx512vnni`, that `avx512`, that, as `avxvnni`, `avx2`; `neondotprod`
    /// includes `neon`; all include `scalar`. [`Self::build`] refuses what is no instruction set, or not one of this machine.
    pub fn option(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let name = name.into();
        self.options.retain(|(known, _)| *known != name);
        self.options.push((name, value.into()));
        self
    }

    fn with_own(mut self, add: impl FnOnce(Plugin) -> Plugin) -> Self {
        self.own = add(self.own);
        self.has_own = true;
        self
    }

    /// Makes the session. An error names the program's plugin that was refused; files that are refused are only listed.
    pub fn build(self) -> Result<InferenceSession, SessionError> {
        let option = self.options.iter().find(|(name, _)| name == "isa");
        let isa = Isa::of_option(option.map(|(_, value)| value.as_str()))?;
        let mut registry = Registry::default();
        for plugin in crate::builtin_plugins(isa) {
            register(&mut registry, plugin, Origin::BuiltIn)?;
        }
        let own = self.has_own.then_some(self.own);
        for plugin in self.plugins.into_iter().chain(own) {
            register(&mut registry, plugin, Origin::Program)?;
        }
        let mut loader = plugin::Loader::new(&mut registry);
        if let Some(probe) = self.probe {
            loader = loader.probe(probe);
        }
        loader.search(&self.files);
        let refusals = loader.into_refusals();
        let threads = self.threads.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(1, |count| MAX_THREADS.min(count.into()))
        });
        if threads > MAX_THREADS {
            return Err(SessionError::TooManyThreads { found: threads });
        }
        let pool = ThreadPool::new(threads).map_err(SessionError::Threads)?;
        Ok(InferenceSession {
            core: Arc::new(SessionCore { registry: Arc::new(registry), pool, isa, options: self.options }),
            refusals,
        })
    }
}

fn register(registry: &mut Registry, plugin: Plugin, origin: Origin) -> Result<(), SessionError> {
    let name = plugin.name().to_owned();
    let staged = Staged::default();
    bitquilt_plugin_api::host::register(plugin, &staged)
        .map_err(RegistryError::Failed)
        .and_then(|()| registry.commit(staged, origin))
        .map(drop)
        .map_err(|source| SessionError::Plugin { plugin: name, source: Box::new(source) })
}

/// A loaded graph. Immutable: threads share it, each with a [`State`] of its own.
#[derive(Clone)]
pub struct Model {
    pub(crate) program: Arc<Program>,
    pub(crate) core: Arc<SessionCore>,
}

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

    /// Name and type of each input.
    pub fn inputs(&self) -> impl Iterator<Item = (&str, &TensorType)> {
        self.program.inputs.iter().map(|port| (port.name.as_str(), &port.tensor))
    }

    /// Name and type of each output.
    pub fn outputs(&self) -> impl Iterator<Item = (&str, &TensorType)> {
        self.program.outputs.iter().map(|port| (port.name.as_str(), &self.program.values[port.value].tensor))
    }

    /// The plan. With symbols that are not bound it has no sizes and offsets; see [`Self::explain_for`].
    pub fn explain(&self) -> Result<Explanation, RunError> {
        match self.program.symbols[..] {
            [] => self.explain_for(&Bindings::new()),
            _ => Ok(explain(&self.program, self.core.isa, None)),
        }
    }

    /// The plan for these values of the symbols: of all that the graph has, and of no others.
    pub fn explain_for(&self, bindings: &Bindings) -> Result<Explanation, RunError> {
        if let Some(symbol) = bindings.keys().find(|symbol| !self.program.symbols.contains(symbol)) {
            let known = self.program.symbols.clone();
            return Err(RunError::UnknownSymbol { symbol: symbol.clone(), known });
        }
        let value = |symbol: &String| {
            bindings.get(symbol).copied().ok_or_else(|| {
                RunError::Shape(bitquilt_plugin_api::Error::invalid(format_args!(
                    "the symbol `{symbol}` has no value"
                )))
            })
        };
        let values = self.program.symbols.iter().map(value).collect::<Result<Vec<usize>, _>>()?;
        let layout = Layout::new(&self.program, &self.core.registry, &values, self.core.pool.workers())?;
        Ok(explain(&self.program, self.core.isa, Some(&layout)))
    }
}

/// Runs a program that has no inputs, symbols or states; its outputs.
pub(crate) fn run_once(program: &Program, loader: &Loader<'_>) -> Result<Vec<Tensor>, RunError> {
    let layout = Layout::new(program, loader.registry, &[], loader.executor.workers())?;
    let mut arena = layout.arena(program)?;
    // SAFETY: there are no inputs and states.
    let run = unsafe { Run::new(program, &layout, loader.registry, &mut arena, &[], &[], loader.executor) };
    run.steps(&mut ())?;
    let output = |value: usize| {
        let view = run.view(value).ok_or_else(|| released(program, value))?;
        tensor_of(&view, loader.registry)
    };
    program.outputs.iter().map(|port| output(port.value)).collect()
}

fn released(program: &Program, value: usize) -> RunError {
    RunError::Shape(bitquilt_plugin_api::Error::failed(format_args!(
        "the output {} was released; that is a fault of a kernel",
        program.values[value].tensor
    )))
}

/// A copy of a view.
pub(crate) fn tensor_of(view: &TensorView<'_>, registry: &Registry) -> Result<Tensor, RunError> {
    use bitquilt_plugin_api::ElementView;
    let tensor = match view.element() {
        ElementView::Dense(dtype) => Tensor::from_bytes(dtype, view.shape(), view.bytes()),
        ElementView::Encoded(name) => match registry.encoding(name) {
            Some(encoding) => Tensor::from_encoded(encoding.spec(), view.shape(), view.bytes()),
            None => Tensor::from_bytes(bitquilt_plugin_api::DType::U8, [view.bytes().len()], view.bytes()),
        },
    };
    tensor.map_err(RunError::Tensor)
}

/// A view's type, for messages.
pub(crate) fn describe(view: &TensorView<'_>) -> String {
    use bitquilt_plugin_api::ElementView;
    match view.element() {
        ElementView::Dense(dtype) => format!("{dtype} {}", ShapeDisplay(view.shape())),
        ElementView::Encoded(name) => format!("{name} {}", ShapeDisplay(view.shape())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_that_no_system_has_are_refused() {
        for found in [MAX_THREADS + 1, usize::MAX] {
            let error = InferenceSession::builder().threads(found).build().map(drop).unwrap_err().to_string();
            assert_eq!(error, format!("{found} threads were asked for; a session has at most 1024"));
        }
    }
}
