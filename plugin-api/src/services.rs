//! What a host does for a node while it is built, loaded and run: plain traits, which author-side contexts call. A host implements them; in
//! a plugin's library, so does what stands for the host there.

use crate::Result;
use crate::attributes::Attributes;
use crate::encoding::Encoding;
use crate::executor::Executor;
use crate::prepared::PreparedMemory;
use crate::tensor::{TensorType, TensorView, TensorViewMut};

/// A node, while it is built or loaded.
pub trait NodeHost {
    /// The op's name.
    fn op(&self) -> &str;
    /// All attributes, defaults included.
    fn attributes(&self) -> &Attributes;
    /// The index among the node's inputs of the first that stands for the input of this name; none if it was left out.
    fn position(&self, input: &str) -> Option<usize>;
    /// The inputs' types.
    fn inputs(&self) -> &[TensorType];
    /// The outputs' types; none while they are inferred.
    fn outputs(&self) -> &[TensorType];
    /// Whether an input is the same for every run.
    fn is_constant(&self, index: usize) -> bool;
    /// A constant input's tensor, while its bytes are there.
    fn constant(&self, index: usize) -> Option<TensorView<'_>>;
    /// A registered encoding.
    fn encoding(&self, name: &str) -> Option<Encoding<'_>>;
    /// A setting of the session.
    fn option(&self, name: &str) -> Option<String>;
    /// The host's threads.
    fn executor(&self) -> Executor<'_>;
    /// The name of the provider whose kernel the one that is prepared displaces; none if there is none, or nothing is prepared.
    fn next(&self) -> Option<String>;
    /// Zeroed memory for what is prepared, which `explain` counts; an error if there is not so much, or if nothing is prepared.
    fn memory(&self, bytes: usize) -> Result<PreparedMemory>;
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
    fn decoder(&self, index: usize) -> Option<Encoding<'_>>;
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
