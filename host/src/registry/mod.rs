//! The registry: every encoding, op and kernel of a session, and whose it is.

mod commit;
mod declare;
mod error;

use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;
use std::sync::Arc;

use bitquilt_plugin_api::{
    DType, ElementView, EncodingHandle, EncodingSpec, KernelKey, KernelProviderHandle, OpHandle, OpSignature,
    TensorView,
};

use crate::tensor::{Tensor, TensorError};
use crate::text::Passage;

pub use bitquilt_plugin_api::host::Staged;
pub use error::{RegistryError, UnknownEncoding};

/// Every encoding, op and kernel of a session. Immutable once the session is built.
#[derive(Default)]
pub struct Registry {
    plugins: Vec<Arc<PluginInfo>>,
    encodings: BTreeMap<String, RegisteredEncoding>,
    ops: BTreeMap<String, RegisteredOp>,
    /// For each op, best first among equal selectors.
    kernels: BTreeMap<String, Vec<RegisteredKernel>>,
}

/// A plugin that registered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginInfo {
    /// Its name, unique in a session.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Where it came from.
    pub origin: Origin,
}

/// Where a plugin came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is part of bitquilt.
    BuiltIn,
    /// The program registered it.
    Program,
    /// A shared library.
    File(PathBuf),
}

/// An encoding, and whose it is.
pub struct RegisteredEncoding {
    pub(crate) handle: EncodingHandle,
    plugin: Arc<PluginInfo>,
}

/// An op, and whose it is.
pub struct RegisteredOp {
    pub(crate) handle: OpHandle,
    signature: OpSignature,
    plugin: Arc<PluginInfo>,
}

/// A kernel provider, and whose it is.
pub struct RegisteredKernel {
    pub(crate) handle: KernelProviderHandle,
    key: KernelKey,
    plugin: Arc<PluginInfo>,
}

impl Display for PluginInfo {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn => f.write_str("built in"),
            Self::Program => f.write_str("this program"),
            Self::File(path) => Passage(&path.display().to_string()).fmt(f),
        }
    }
}

impl RegisteredEncoding {
    /// What it is.
    pub fn spec(&self) -> &EncodingSpec {
        self.handle.spec()
    }

    /// Whose it is.
    pub fn plugin(&self) -> &Arc<PluginInfo> {
        &self.plugin
    }
}

impl RegisteredOp {
    /// What it takes.
    pub fn signature(&self) -> &OpSignature {
        &self.signature
    }

    /// Whose it is.
    pub fn plugin(&self) -> &Arc<PluginInfo> {
        &self.plugin
    }
}

impl RegisteredKernel {
    /// What it serves.
    pub fn key(&self) -> &KernelKey {
        &self.key
    }

    /// Whose it is.
    pub fn plugin(&self) -> &Arc<PluginInfo> {
        &self.plugin
    }
}

impl Registry {
    /// The encoding of this name.
    pub fn encoding(&self, name: &str) -> Option<&RegisteredEncoding> {
        self.encodings.get(name)
    }

    /// The encoding of this name, or an error that lists those there are.
    pub fn require_encoding(&self, name: &str) -> Result<&RegisteredEncoding, UnknownEncoding> {
        self.encoding(name).ok_or_else(|| UnknownEncoding {
            name: name.to_owned(),
            known: self.encodings.keys().cloned().collect(),
        })
    }

    /// A copy of a view; of one whose encoding is not registered, of its bytes.
    pub(crate) fn tensor(&self, view: &TensorView<'_>) -> Result<Tensor, TensorError> {
        match view.element() {
            ElementView::Dense(dtype) => Tensor::from_bytes(dtype, view.shape(), view.bytes()),
            ElementView::Encoded(name) => match self.encoding(name) {
                Some(encoding) => Tensor::from_encoded(encoding.spec(), view.shape(), view.bytes()),
                None => Tensor::from_bytes(DType::U8, [view.bytes().len()], view.bytes()),
            },
        }
    }

    /// The op of this name.
    pub fn op(&self, name: &str) -> Option<&RegisteredOp> {
        self.ops.get(name)
    }

    /// The kernel providers for an op, and for an encoding if it has an encoded input that selects its kernel: best first, those
    /// for the encoding itself before those for any.
    pub fn kernels<'a>(
        &'a self,
        op: &str,
        encoding: Option<&'a str>,
    ) -> impl Iterator<Item = &'a RegisteredKernel> {
        let all = self.kernels.get(op).into_iter().flatten();
        KernelKey::in_order(all, encoding, |kernel| &kernel.key).into_iter()
    }

    /// All encodings, by name.
    pub fn encodings(&self) -> impl Iterator<Item = &RegisteredEncoding> {
        self.encodings.values()
    }

    /// All ops, by name.
    pub fn ops(&self) -> impl Iterator<Item = &RegisteredOp> {
        self.ops.values()
    }

    /// All kernel providers, by op.
    pub fn all_kernels(&self) -> impl Iterator<Item = &RegisteredKernel> {
        self.kernels.values().flatten()
    }

    /// All plugins, in the order they registered in.
    pub fn plugins(&self) -> impl Iterator<Item = &Arc<PluginInfo>> {
        self.plugins.iter()
    }

    /// The names of the ops that take blocks of an encoding.
    pub fn ops_taking(&self, encoding: &str) -> Vec<&str> {
        let takes = |op: &&RegisteredOp| op.signature.inputs.iter().any(|input| input.takes(encoding));
        self.ops.values().filter(takes).map(|op| op.signature.name.as_str()).collect()
    }
}
