//! What a plugin registers at most.

/// The longest name of a plugin, encoding, op, input, attribute or kernel.
pub(super) const MAX_NAME: usize = 64;

/// The longest block, in values and in bytes.
pub(super) const MAX_BLOCK: usize = 1 << 20;
