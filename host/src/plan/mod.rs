//! What a loaded graph is: a [`Program`] of steps, and for each binding of its symbols a [`Layout`] that says where everything is.

mod arena;
mod effects;
mod error;
mod layout;
mod lookups;
mod note;
mod planner;
mod program;

pub(crate) use effects::Effects;
pub use error::RunError;
pub(crate) use layout::{Layout, Location, PlacedValue, bindings_of};
pub(crate) use note::{KernelNote, NodeNote};
pub(crate) use program::{
    Activation, InputPort, NamedWeight, OutputPort, Place, PortIndex, Program, StateSlot, Step, StepKernel,
    TransformSlot, ValueSlot,
};
