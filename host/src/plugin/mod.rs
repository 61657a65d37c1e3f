//! Plugins: where they come from, and what they registered.

mod registry;

pub use registry::{
    Origin, PluginInfo, RegisteredEncoding, RegisteredKernel, RegisteredOp, Registry, RegistryError, Staged,
    UnknownEncoding,
};
