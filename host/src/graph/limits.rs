//! What a graph has at most.

/// The most dimensions of a value.
pub(super) const MAX_RANK: usize = 32;

/// The most bytes of the types of a node's inputs when they are written out, as plugins are told them.
pub(super) const MAX_TYPES_TEXT: usize = 16 << 20;
