//! A plugin, among what it is checked beside.

use super::node::Node;
use crate::TestHost;

/// A host with a plugin and those beside it, and what is known of their ops.
pub(super) struct Setup {
    pub(super) host: TestHost,
    /// The first so many of the host's encodings, ops and kernels are the plugin's.
    pub(super) own: Own,
    /// Ops' names, and inputs that they take.
    pub(super) examples: Vec<(String, Node)>,
}

#[derive(Clone, Copy)]
pub(super) struct Own {
    pub(super) encodings: usize,
    pub(super) ops: usize,
    pub(super) kernels: usize,
}

impl Setup {
    /// All that the host has by now is the plugin's.
    pub(super) fn of(host: TestHost) -> Self {
        let (encodings, ops, kernels) = (host.encodings.len(), host.ops.len(), host.kernels.len());
        Self { host, own: Own { encodings, ops, kernels }, examples: Vec::new() }
    }

    /// The names of the plugin's own encodings.
    pub(super) fn own_encodings(&self) -> impl Iterator<Item = &str> {
        self.host.encodings[..self.own.encodings].iter().map(|encoding| encoding.spec().name.as_str())
    }
}
