//! Kernels: ways to run an op.

use crate::context::{NodeView, PrepareContext, RunContext};
use crate::executor::Executor;
use crate::prepared::Next;
use crate::tensor::TensorView;
use crate::{Error, Result};

/// One way to run an op, for dense inputs, one encoding, or every encoding.
///
/// Of the providers of an op that support a node, the one for the node's own encoding goes before the one for any
/// encoding, and then the higher priority goes first.
pub trait KernelProvider: Send + Sync + 'static {
    /// What it serves. Read once, when the provider is registered. `[load-thread]`
    fn key(&self) -> KernelKey;

    /// Whether it can run this node on this machine, or why not; `explain` shows the reason. `[load-thread]`
    fn supports(&self, node: &NodeView<'_>) -> Support {
        let _ = node;
        Support::Yes
    }

    /// Makes a kernel for a node. Called when a graph is loaded, once for nodes that agree in everything it is shown. `[load-thread]`
    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared>;
}

/// Runs one node. Holds what was prepared for it, repacked weights for instance.
pub trait Kernel: Send + Sync + 'static {
    /// The memory a run needs besides its outputs, for these shapes. `[any-thread]`
    fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
        let _ = shapes;
        Scratch::default()
    }

    /// Computes the outputs, each wholly written. Called from several threads at once, for different runs. `[any-thread]`
    ///
    /// A kernel takes its memory from the context and allocates none, so that steady state has no allocation.
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()>;

    /// Whether it runs the node for these shapes; where it does not, the one that it displaces does. `[any-thread]`
    ///
    /// Asked when the memory for these shapes is laid out, not at each run, and only if `prepare` named the next
    /// ([`Prepared::or_next`]). The same shapes give the same answer each time.
    fn serves(&self, shapes: &Shapes<'_>) -> bool {
        let _ = shapes;
        true
    }
}

/// Something computed from a run-time input before the kernels that ask for it, once for all that name the same key: the
/// quantized form of an activation that several weights multiply, say.
pub trait InputTransform: Send + Sync + 'static {
    /// Bytes of the result for an input of this shape. `[any-thread]`
    fn bytes(&self, shape: &[usize]) -> usize;

    /// Computes the result; `dst` is aligned to 64 and is wholly written. `[any-thread]`
    fn run(&self, input: TensorView<'_>, dst: &mut [u8], executor: Executor<'_>) -> Result<()>;

    /// The values of a unit along a row of the input; none if a row must be transformed as a whole. `[any-thread]`
    ///
    /// Rows may be cut between units, so that each part is transformed by itself, in another node or on another rank; [`Self::join`]
    /// makes the whole of the parts, to the bit.
    fn unit(&self) -> Option<usize> {
        None
    }

    /// Joins the results for parts of the rows of an input of this shape, in their order, into the result for whole rows; `dst` has
    /// [`Self::bytes`] of the shape, is aligned to 64, and is wholly written. Called only if there is a [`Self::unit`]. `[any-thread]`
    fn join(&self, shape: &[usize], parts: &[RowPart<'_>], dst: &mut [u8]) -> Result<()> {
        let _ = (shape, parts, dst);
        Err(Error::unsupported("the transform says a unit, and does not join parts of rows"))
    }
}

/// What a transform gave for a part of each row.
#[derive(Clone, Copy, Debug)]
pub struct RowPart<'a> {
    /// The values of a row in this part, a whole number of units.
    pub values: usize,
    /// The result.
    pub bytes: &'a [u8],
}

/// What a provider serves.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct KernelKey {
    /// The op's name. The op may be another plugin's.
    pub op: String,
    /// Which inputs it is for.
    pub selector: Selector,
    /// Among providers of one op and selector, the highest that supports a node serves it; 0 is the plain one.
    pub priority: i32,
    /// The provider's name in `explain`: `avx512-vnni`, `generic`.
    pub name: String,
    /// The memory that its kernels read and write: 0 is the host's own. A host refuses a provider for memory that it does not have.
    pub space: u32,
}

/// Which inputs a provider is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Selector {
    /// Ops without a kernel input.
    Dense,
    /// The kernel input has this encoding, which may be another plugin's.
    Encoding(String),
    /// The kernel input has any encoding.
    AnyEncoding,
}

impl KernelKey {
    /// A key of priority 0.
    pub fn new(op: impl Into<String>, selector: Selector, name: impl Into<String>) -> Self {
        Self { op: op.into(), selector, priority: 0, name: name.into(), space: 0 }
    }

    /// Sets the memory that kernels read and write.
    #[must_use]
    pub fn space(mut self, space: u32) -> Self {
        self.space = space;
        self
    }

    /// Sets the priority.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> Self {
        self.priority = priority;
        self
    }
}

/// Whether a provider can run a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Support {
    /// It can.
    Yes,
    /// It cannot, for this reason.
    No(String),
}

impl Support {
    /// It cannot, for this reason.
    pub fn no(reason: impl Into<String>) -> Self {
        Self::No(reason.into())
    }
}

/// A kernel for a node, and what comes with it.
#[non_exhaustive]
pub struct Prepared {
    /// The kernel.
    pub kernel: Box<dyn Kernel>,
    /// Constant inputs whose bytes the kernel does not read when it runs; once no node reads a constant's, they are dropped.
    pub released: Vec<usize>,
    /// What is to be computed from inputs before the kernel runs.
    pub transforms: Vec<PreparedTransform>,
    /// Whether the kernel that this one displaces is prepared, too, for the shapes that this one does not serve.
    pub or_next: bool,
    /// What was chosen and why, for `explain`.
    pub note: String,
}

/// A transform that a kernel asks for.
#[non_exhaustive]
pub struct PreparedTransform {
    /// The input it is computed from.
    pub input: usize,
    /// Says what is computed: equal keys over one input of one run are computed once, by either's transform.
    pub key: String,
    /// Computes it.
    pub transform: Box<dyn InputTransform>,
}

impl Prepared {
    /// A kernel that reads all its inputs when it runs.
    pub fn new(kernel: impl Kernel) -> Self {
        let (released, transforms, note) = (Vec::new(), Vec::new(), String::new());
        Self { kernel: Box::new(kernel), released, transforms, or_next: false, note }
    }

    /// Says that the kernel does not read the bytes of constant input `input` any more.
    #[must_use]
    pub fn releases(mut self, input: usize) -> Self {
        self.released.push(input);
        self
    }

    /// Asks for a transform of `input`; [`RunContext::transformed`] gives the results in the order they were asked for.
    #[must_use]
    pub fn transform(mut self, input: usize, key: impl Into<String>, transform: impl InputTransform) -> Self {
        self.transforms.push(PreparedTransform { input, key: key.into(), transform: Box::new(transform) });
        self
    }

    /// Asks for the kernel that this one displaces: it runs the node for the shapes that this one does not
    /// [serve](Kernel::serves). A constant's bytes are dropped only if both release it, and each has its own transforms.
    #[must_use]
    pub fn or_next(mut self, _: Next) -> Self {
        self.or_next = true;
        self
    }

    /// Sets the line for `explain`.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// The shapes of a node in numbers, for one binding of the symbols.
pub struct Shapes<'a> {
    /// The inputs' shapes.
    pub inputs: &'a [&'a [usize]],
    /// The outputs' shapes.
    pub outputs: &'a [&'a [usize]],
    /// The number of workers that may run tasks.
    pub workers: usize,
}

/// Bytes of memory that a run needs besides its outputs. What it holds at the start of a run is unspecified.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scratch {
    /// Bytes for the run.
    pub shared: usize,
    /// Bytes for each worker.
    pub per_worker: usize,
}
