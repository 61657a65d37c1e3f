//! Sessions: what is registered, and loading graphs.

use std::path::PathBuf;
use std::sync::Arc;

use bitquilt_declared::{Declaration, DeclarationError};
use bitquilt_plugin_api::{EncodingSpec, Executor, Kernel, KernelProvider, Op, Plugin, QuantizationEncoding};
use bitquilt_simd::{Isa, IsaError};

use crate::checkpoint::Checkpoint;
use crate::compile::{LoadContext, LoadError, PreparedKernels, compile};
use crate::graph::Graph;
use crate::model::{Model, SessionCore};
use crate::plugin::{Loader, PluginProbe, Refusal, SearchPath};
use crate::registry::{Origin, Registry, RegistryError, Staged};
use crate::run::executor::ThreadPool;
use crate::text::Brief;

/// Everything that is registered, and the threads that run models.
pub struct InferenceSession {
    core: Arc<SessionCore>,
    refusals: Vec<Refusal>,
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
    /// A declared encoding was refused.
    #[error("the declared encoding of {origin}: {source}")]
    Declared {
        /// Where its declaration is.
        origin: Origin,
        /// Why.
        source: Box<RegistryError>,
    },
    /// A declaration in a checkpoint cannot be read.
    #[error("the encoding `{}` that {origin} declares: {source}", Brief(.encoding))]
    Declaration {
        /// Where it is.
        origin: Origin,
        /// The encoding.
        encoding: String,
        /// What is wrong with it.
        source: DeclarationError,
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

/// Makes a session.
#[must_use = "a session is made by `build`"]
pub struct SessionBuilder {
    threads: Option<usize>,
    plugins: Vec<Plugin>,
    own: Plugin,
    has_own: bool,
    files: SearchPath,
    checkpoints: Vec<(Origin, Vec<EncodingSpec>)>,
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
            checkpoints: Vec::new(),
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
        self.compile(graph, &mut PreparedKernels::default(), &mut progress)
    }

    /// Loads graphs that have constants in common: see [`GraphLoader`].
    pub fn loader(&self) -> GraphLoader<'_> {
        GraphLoader { session: self, prepared: PreparedKernels::default() }
    }

    fn compile(
        &self,
        graph: &Graph,
        prepared: &mut PreparedKernels,
        progress: &mut dyn FnMut(usize, usize),
    ) -> Result<Model, LoadError> {
        let entered = self.core.pool.enter();
        let executor = Executor::of(&entered);
        let context = LoadContext { registry: &self.core.registry, options: &self.core.options, executor };
        let program = compile(graph, &context, prepared, progress)?;
        Ok(Model { program: Arc::new(program), core: Arc::clone(&self.core) })
    }
}

/// Loads graphs that have nodes in common, such as the [parts](Graph::cut_before) of a graph, or a graph with one weight after another
/// [in another encoding](Graph::with_weights).
///
/// What was prepared for a node, its repacked weights above all, serves every later graph that has a node of the same op, attributes and
/// types over the same tensors in memory. The tensors stay in memory with the loader.
pub struct GraphLoader<'s> {
    session: &'s InferenceSession,
    prepared: PreparedKernels,
}

impl GraphLoader<'_> {
    /// Loads a graph; later ones share what is prepared for it.
    pub fn load(&mut self, graph: &Graph) -> Result<Model, LoadError> {
        self.session.compile(graph, &mut self.prepared, &mut |_, _| {})
    }

    /// Loads a graph with what was prepared before. What it needs besides is dropped with it.
    pub fn load_apart(&self, graph: &Graph) -> Result<Model, LoadError> {
        self.session.compile(graph, &mut self.prepared.branch(), &mut |_, _| {})
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

    /// Registers the encodings that a checkpoint, or a saved graph, carries the declarations of. One that is registered already must be
    /// declared the same.
    pub fn encodings_of(mut self, checkpoint: &Checkpoint) -> Self {
        let origin = Origin::File(checkpoint.path().to_owned());
        self.checkpoints.push((origin, checkpoint.declared_encodings()));
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
    /// `isa`, the name of an [`Isa`], has all that the session computes use the code for that instruction set, the built-in encodings
    /// included. Where an op has none it uses that for the nearest set that it includes, as [`Isa::descend`] lists them. [`Self::build`]
    /// refuses what is no instruction set, or not one of this machine.
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
        let mut loader = Loader::new(&mut registry);
        if let Some(probe) = self.probe {
            loader = loader.probe(probe);
        }
        loader.search(&self.files);
        let refusals = loader.into_refusals();
        for (origin, encodings) in self.checkpoints {
            encodings.iter().try_for_each(|encoding| declare(&mut registry, encoding, &origin))?;
        }
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

/// Registers an encoding of a checkpoint, which has a layout.
fn declare(registry: &mut Registry, encoding: &EncodingSpec, origin: &Origin) -> Result<(), SessionError> {
    let declaration = Declaration::parse(encoding.layout.as_deref().unwrap_or_default());
    let declaration = declaration.map_err(|source| {
        let encoding = encoding.name.clone();
        SessionError::Declaration { origin: origin.clone(), encoding, source }
    })?;
    let declared = registry.declare(declaration, origin.clone());
    declared
        .map(drop)
        .map_err(|source| SessionError::Declared { origin: origin.clone(), source: Box::new(source) })
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

#[cfg(test)]
mod tests {
    use bitquilt_plugin_api::TensorType;

    use super::*;
    use crate::checkpoint::TensorDict;
    use crate::tensor::Tensor;

    #[test]
    fn a_loader_prepares_what_graphs_share_once() {
        let session = InferenceSession::builder().threads(1).build().unwrap();
        let mut graph = Graph::new(session.registry(), [TensorType::f32([3, 64])]).unwrap();
        let weight =
            Tensor::new([64, 64], (0..4096).map(|it| (it as f32).sin()).collect::<Vec<_>>()).unwrap();
        let [first, second] = ["q8_0", "q4_0"].map(|encoding| graph.quantize(encoding, &weight).unwrap());
        let x = graph.qmatmul(graph.input(0), first).unwrap();
        let x = graph.node("qmatmul", [x, second]).named("second").value().unwrap();
        graph.output(x).unwrap();
        let other = session.registry().require_encoding("q5_0").unwrap().quantize(&weight).unwrap().tensor;
        let changed = graph.with_weights(&TensorDict::from_iter([("constant.1", other)])).unwrap();
        let rest = graph.cut_before("second").unwrap().after;

        let mut loader = session.loader();
        let whole = loader.load(&graph).unwrap();
        let kernel = |model: &Model, step: usize| Arc::clone(&model.program.steps[step].kernels[0].kernel);
        let is_shared = |model: &Model, step, of| Arc::ptr_eq(&kernel(model, step), &kernel(&whole, of));
        let apart = loader.load_apart(&changed).unwrap();
        assert_eq!((is_shared(&apart, 0, 0), is_shared(&apart, 1, 1)), (true, false));
        assert!(is_shared(&loader.load_apart(&rest).unwrap(), 0, 1));
        let again = loader.load(&changed).unwrap();
        assert!(!Arc::ptr_eq(&kernel(&again, 1), &kernel(&apart, 1)));
        let x = Tensor::full([3, 64], 0.25f32);
        let run = |model: &Model| model.execute([("input0", &x)]).unwrap().tensor("output0").unwrap().clone();
        let expected = run(&session.load(&changed).unwrap());
        assert_eq!([run(&apart), run(&again)], [expected.clone(), expected.clone()]);
        assert_ne!(run(&whole), expected);
    }

    #[test]
    fn threads_that_no_system_has_are_refused() {
        for found in [MAX_THREADS + 1, usize::MAX] {
            let error = InferenceSession::builder().threads(found).build().map(drop).unwrap_err().to_string();
            assert_eq!(error, format!("{found} threads were asked for; a session has at most 1024"));
        }
    }
}
