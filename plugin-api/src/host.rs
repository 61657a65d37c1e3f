//! What a host implements, and what it owns of plugins. Authors need nothing of this.

pub use crate::abi::handle::{
    EncodingHandle, KernelHandle, KernelProviderHandle, OpHandle, PreparedHandle, TransformHandle,
};
pub use crate::abi::library::{
    API_VERSION, API_VERSION_SYMBOL, ENTRY_SYMBOL, ENTRY_SYMBOL_LEN, LibraryError, PluginLibrary, register,
};
pub use crate::control::{ControlChange, FloatControl, in_default_control, take_control_change};
pub use crate::executor::{Task, Threads};
pub use crate::services::{NodeHost, RunHost, WorkerMemory};
pub use crate::staged::{RegistrarHost, Registration, Staged};
