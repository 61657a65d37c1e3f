//! A plugin: what an author registers.

use std::sync::Arc;

use crate::Result;
use crate::context::{InferContext, PrepareContext, RunContext};
use crate::encoding::QuantizationEncoding;
use crate::guard::Guarded;
use crate::kernel::{Kernel, KernelKey, KernelProvider, Prepared, Scratch, Shapes};
use crate::op::{Op, OpSignature, OutputType};

/// A named collection of encodings, ops and kernels.
///
/// A shared library makes one for [`export_plugin!`](crate::export_plugin); a program may hand one to the host itself.
/// A name that is taken is refused, and with it the whole plugin, unless it is registered with a `replacing_` method.
pub struct Plugin {
    pub(crate) name: String,
    pub(crate) version: String,
    pub(crate) encodings: Items<dyn QuantizationEncoding>,
    pub(crate) ops: Items<dyn Op>,
    pub(crate) kernels: Items<dyn KernelProvider>,
}

/// What a plugin has, and whether each may replace what is registered already.
pub(crate) type Items<T> = Vec<(Guarded<Box<T>>, bool)>;

impl Plugin {
    /// A plugin that has nothing yet. The name is unique among the plugins of a session.
    pub fn new(name: impl Into<String>, version: impl Into<String>) -> Self {
        let (encodings, ops, kernels) = (Vec::new(), Vec::new(), Vec::new());
        Self { name: name.into(), version: version.into(), encodings, ops, kernels }
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Adds an encoding.
    #[must_use]
    pub fn encoding(mut self, encoding: impl QuantizationEncoding) -> Self {
        self.encodings.push((Guarded::new(Box::new(encoding)), false));
        self
    }

    /// Adds an encoding that takes the place of a registered one of its name.
    #[must_use]
    pub fn replacing_encoding(mut self, encoding: impl QuantizationEncoding) -> Self {
        self.encodings.push((Guarded::new(Box::new(encoding)), true));
        self
    }

    /// Adds an op. Its kernels are registered with [`Self::kernel`].
    #[must_use]
    pub fn op(mut self, op: impl Op) -> Self {
        self.ops.push((Guarded::new(Box::new(op)), false));
        self
    }

    /// Adds an op that is its own kernel: nothing is prepared for a node, and every input is read when it runs.
    #[must_use]
    pub fn simple_op(mut self, op: impl Op + Kernel) -> Self {
        let op = SimpleOp(Arc::new(op));
        self.ops.push((Guarded::new(Box::new(op.clone())), false));
        self.kernel(op)
    }

    /// Adds a way to run an op, this plugin's or another's.
    #[must_use]
    pub fn kernel(mut self, provider: impl KernelProvider) -> Self {
        self.kernels.push((Guarded::new(Box::new(provider)), false));
        self
    }

    /// Adds ways to run an op, this plugin's or another's.
    #[must_use]
    pub fn kernels(self, providers: impl IntoIterator<Item = impl KernelProvider>) -> Self {
        providers.into_iter().fold(self, Self::kernel)
    }

    /// Adds a way to run an op that takes the place of a registered one with the same op, selector and priority.
    #[must_use]
    pub fn replacing_kernel(mut self, provider: impl KernelProvider) -> Self {
        self.kernels.push((Guarded::new(Box::new(provider)), true));
        self
    }
}

/// What an exported function may answer: a plugin, or why there is none.
pub trait IntoPlugin {
    /// The plugin.
    fn into_plugin(self) -> Result<Plugin>;
}

impl IntoPlugin for Plugin {
    fn into_plugin(self) -> Result<Plugin> {
        Ok(self)
    }
}

impl IntoPlugin for Result<Plugin> {
    fn into_plugin(self) -> Result<Plugin> {
        self
    }
}

/// An op that is its own kernel and that kernel's provider.
struct SimpleOp<T>(Arc<T>);

impl<T> Clone for SimpleOp<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T: Op> Op for SimpleOp<T> {
    fn signature(&self) -> OpSignature {
        self.0.signature()
    }
    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        self.0.infer(cx)
    }
}

impl<T: Op + Kernel> KernelProvider for SimpleOp<T> {
    fn key(&self) -> KernelKey {
        KernelKey::for_every(&self.0.signature(), "plain")
    }
    fn prepare(&self, _: &PrepareContext<'_>) -> Result<Prepared> {
        Ok(Prepared::new(self.clone()))
    }
}

impl<T: Kernel> Kernel for SimpleOp<T> {
    fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
        self.0.scratch(shapes)
    }
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        self.0.run(cx)
    }
}
