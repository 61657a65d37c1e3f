//! What a host implements, and what it owns of plugins. Authors need nothing of this.

use std::ffi::c_void;
use std::sync::OnceLock;

use abi_stable::library::{AbiHeaderRef, LibHeader};
use abi_stable::sabi_types::VersionNumber;
use abi_stable::std_types::RResult;

use crate::abi::host::RegistrarAdapter;
use crate::abi::layout::{self, Mismatch};
use crate::abi::lent::{AbiExecutor, AbiTask};
use crate::abi::module::PluginModuleRef;
use crate::control::note_control_change;
pub use crate::control::{ControlChange, FloatControl, in_default_control, take_control_change};
pub use crate::handle::{
    EncodingHandle, KernelHandle, KernelProviderHandle, OpHandle, PreparedHandle, TransformHandle,
};
pub use crate::staged::{Registration, Staged};
use crate::{Attributes, Error, Executor, Plugin, Result, TensorType, TensorView, TensorViewMut};

/// A node, while it is built or loaded.
pub trait NodeHost {
    /// The op's name.
    fn op(&self) -> &str;
    /// All attributes, defaults included.
    fn attributes(&self) -> &Attributes;
    /// The inputs' types.
    fn inputs(&self) -> &[TensorType];
    /// The outputs' types; none while they are inferred.
    fn outputs(&self) -> &[TensorType];
    /// Whether an input is the same for every run.
    fn is_constant(&self, index: usize) -> bool;
    /// A constant input's tensor, while its bytes are there.
    fn constant(&self, index: usize) -> Option<TensorView<'_>>;
    /// A registered encoding.
    fn encoding(&self, name: &str) -> Option<&EncodingHandle>;
    /// A setting of the session.
    fn option(&self, name: &str) -> Option<String>;
    /// The host's threads.
    fn executor(&self) -> Executor<'_>;
}

/// One run of a node.
///
/// # Safety
/// All that is answered is alive until the run ends. Inputs and transform results are not written during it. Outputs, states
/// and scratch overlap with nothing else that is answered, and the host hands out each to one run at a time.
pub unsafe trait RunHost {
    /// The number of inputs.
    fn input_count(&self) -> usize;
    /// An input that is no state and was not released.
    fn input(&self, index: usize) -> Option<TensorView<'_>>;
    /// An output with memory of its own. Asked for once.
    fn output(&self, index: usize) -> Option<TensorViewMut<'_>>;
    /// The state that is an input. Asked for once.
    fn state(&self, index: usize) -> Option<TensorViewMut<'_>>;
    /// The result of a transform.
    fn transformed(&self, index: usize) -> Option<&[u8]>;
    /// Memory of the run. Asked for once.
    #[allow(clippy::mut_from_ref)]
    fn shared_scratch(&self) -> &mut [u8];
    /// Memory of the workers. Asked for once.
    fn worker_scratch(&self) -> WorkerMemory<'_>;
    /// The encoding of an input.
    fn decoder(&self, index: usize) -> Option<&EncodingHandle>;
    /// The host's threads.
    fn executor(&self) -> Executor<'_>;
}

/// Scratch memory of all workers: `workers` pieces of `bytes`, `stride` apart.
pub struct WorkerMemory<'a> {
    /// All of it.
    pub memory: &'a mut [u8],
    /// From one worker's to the next.
    pub stride: usize,
    /// Of each.
    pub bytes: usize,
    /// How many.
    pub workers: usize,
}

/// Where a plugin registers what it has. The host stages it, and commits all or nothing.
pub trait RegistrarHost {
    /// The plugin's name and version. Called first.
    fn plugin(&self, name: String, version: String);
    /// An encoding, and whether it may replace one of the same name.
    fn encoding(&self, encoding: EncodingHandle, replaces: bool);
    /// An op, and whether it may replace one of the same name.
    fn op(&self, op: OpHandle, replaces: bool);
    /// A kernel provider, and whether it may replace one of the same key.
    fn kernel(&self, provider: KernelProviderHandle, replaces: bool);
}

/// Threads that can run tasks, to make an [`Executor`] of.
pub trait Threads: Sync {
    /// The number of workers; the caller is one.
    fn workers(&self) -> usize;
    /// Calls `task(index, worker)` for each index in `0..tasks`, and returns when all have returned. `task` does not unwind.
    ///
    /// No two calls for one worker overlap, and worker numbers are below [`Self::workers`]. Answers false, and calls nothing, on a
    /// thread that has no worker number. Does not panic.
    fn par_for(&self, tasks: usize, task: &(dyn Fn(usize, usize) + Sync)) -> bool;
}

impl<'a> Executor<'a> {
    /// An executor of these threads.
    pub fn of<T: Threads>(threads: &'a T) -> Self {
        unsafe extern "C" fn par_for<T: Threads>(host: *const (), tasks: usize, task: AbiTask) -> bool {
            // SAFETY: `host` is the `&'a T` below, and executors do not outlive `'a`.
            let threads = unsafe { &*host.cast::<T>() };
            let region = Region { task, change: OnceLock::new() };
            let ran = threads.par_for(tasks, &|index, worker| region.run(index, worker));
            if let Some(change) = region.change.into_inner() {
                note_control_change(change);
            }
            ran
        }
        let host = std::ptr::from_ref(threads).cast();
        // SAFETY: `T: Sync` makes it usable from any thread; `'a` keeps it alive.
        unsafe { Executor::from_raw(AbiExecutor::new(host, threads.workers(), par_for::<T>)) }
    }
}

/// A parallel region of a kernel. Each task, on whichever thread, runs in the default floating-point control.
struct Region {
    task: AbiTask,
    /// What a task left changed.
    change: OnceLock<ControlChange>,
}

// SAFETY: a task's data is the author's region, whose body is `Sync`.
unsafe impl Sync for Region {}

impl Region {
    fn run(&self, index: usize, worker: usize) {
        // SAFETY: the author's region is alive until `par_for` returns.
        in_default_control("a parallel task", || unsafe { self.task.call(index, worker) });
        if let Some(change) = take_control_change() {
            let _ = self.change.set(change);
        }
    }
}

/// Registers a plugin of the program's own, through the same vtables as a library's.
pub fn register(plugin: Plugin, registrar: &dyn RegistrarHost) -> Result<()> {
    in_default_control("registering", || plugin.register(RegistrarAdapter(registrar).lend()))
}

/// The symbol a plugin's library exports.
pub const ENTRY_SYMBOL: &str = abi_stable::library::ROOT_MODULE_LOADER_NAME;

/// Bytes of what stands there.
pub const ENTRY_SYMBOL_LEN: usize = size_of::<LibHeader>();

/// The symbol of the version that a library was built with: text of at most 32 bytes, ended by a zero.
pub const API_VERSION_SYMBOL: &str = "bitquilt_plugin_api_version";

/// The version of the plugin interface.
pub const API_VERSION: &str = env!("CARGO_PKG_VERSION");

/// Why a library is no plugin for this host.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LibraryError {
    /// What stands at the entry symbol is no plugin's header.
    #[error(
        "the symbol `{ENTRY_SYMBOL}` is no plugin header: {reason}; build the library with `export_plugin!`"
    )]
    Header {
        /// What is wrong with it.
        reason: String,
    },
    /// The library was built with another major version of the interface.
    #[error("it was built with plugin-api {found}, this host takes {expected}; rebuild it with plugin-api {}.x", major(.expected))]
    Version {
        /// The host's.
        expected: String,
        /// The plugin's.
        found: String,
    },
    /// A type of the interface is laid out differently.
    #[error(
        "its interface is laid out differently from this host's ({summary}); rebuild it with plugin-api {API_VERSION}"
    )]
    Layout {
        /// Where, in a line.
        summary: String,
        /// All that abi_stable says, in both directions.
        report: String,
    },
    /// The library was built with `panic = "abort"`.
    #[error(
        "it was built with `panic = \"abort\"`, so a panic in it would end the program; rebuild it with `panic = \"unwind\"`"
    )]
    PanicAborts,
    /// The library's own constructor failed.
    #[error("its root module could not be made: {reason}")]
    Constructor {
        /// What it said.
        reason: String,
    },
}

fn major(version: &str) -> &str {
    version.split('.').next().unwrap_or(version)
}

/// A library that passed every check, and has not registered yet.
pub struct PluginLibrary {
    module: PluginModuleRef,
    api_version: String,
}

impl PluginLibrary {
    /// Checks what stands at a library's [`ENTRY_SYMBOL`]: magic, abi_stable's version, the interface's version, its layout in
    /// both directions, and whether its panics can be caught. Runs none of the plugin's own code but the root module's constructor.
    ///
    /// # Safety
    /// `symbol` must be the address of that symbol in a library that stays loaded until the process ends.
    pub unsafe fn from_symbol(symbol: *const c_void) -> Result<Self, LibraryError> {
        // SAFETY: as the caller promises.
        in_default_control("the root module's constructor", || unsafe { Self::read(symbol) })
    }

    /// # Safety
    /// As for [`Self::from_symbol`].
    unsafe fn read(symbol: *const c_void) -> Result<Self, LibraryError> {
        let header =
            |error: &dyn std::fmt::Display| LibraryError::Header { reason: first_line(&error.to_string()) };
        if symbol.is_null() || !symbol.cast::<LibHeader>().is_aligned() {
            return Err(header(&"its address is null or misaligned"));
        }
        // SAFETY: the symbol is readable; `AbiHeaderRef` is a pointer to the part that every version of abi_stable starts with.
        let abi: AbiHeaderRef = unsafe { std::mem::transmute(symbol) };
        if !abi.is_valid() {
            return Err(header(&"it lacks abi_stable's magic, or is of another abi_stable"));
        }
        let library: &'static LibHeader = abi.upgrade().map_err(|error| header(&error))?;
        let version = |strings: abi_stable::sabi_types::VersionStrings| {
            VersionNumber::new(strings).map_err(|error| header(&error))
        };
        let found = version(library.version_strings())?;
        let expected = version(<PluginModuleRef as abi_stable::library::RootModule>::VERSION_STRINGS)?;
        if found.major != expected.major {
            return Err(LibraryError::Version { expected: expected.to_string(), found: found.to_string() });
        }
        let Some(layout) = library.layout() else {
            let summary = "it does not say how".to_owned();
            return Err(LibraryError::Layout { summary, report: String::new() });
        };
        layout::check(layout)
            .map_err(|Mismatch { summary, report }| LibraryError::Layout { summary, report })?;
        // SAFETY: the layout was checked, in either direction: what one side lacks are methods at the end of a vtable or fields
        // at the end of the root module, which have defaults.
        let module = unsafe { library.unchecked_layout::<PluginModuleRef>() }
            .map_err(|error| LibraryError::Constructor { reason: first_line(&error.to_string()) })?;
        if !module.panic_unwinds() {
            return Err(LibraryError::PanicAborts);
        }
        Ok(Self { module, api_version: found.to_string() })
    }

    /// The version of plugin-api it was built with.
    pub fn api_version(&self) -> &str {
        &self.api_version
    }

    /// Runs the plugin's constructor and registers all that it has.
    pub fn register(&self, registrar: &dyn RegistrarHost) -> Result<()> {
        let register = self.module.register();
        match in_default_control("registering", || register(RegistrarAdapter(registrar).lend())) {
            RResult::ROk(()) => Ok(()),
            RResult::RErr(error) => Err(Error::from(error)),
        }
    }
}

fn first_line(text: &str) -> String {
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or("no reason given");
    line.chars().take(200).collect()
}
