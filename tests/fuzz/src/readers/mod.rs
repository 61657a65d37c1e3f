//! What each reader promises.

mod checkpoint;
mod graph;
mod library;

use crate::Target;

const MIB: usize = 1 << 20;

/// All readers.
pub const TARGETS: [Target; 6] = [
    Target {
        name: "safetensors",
        corpus: checkpoint::safetensors,
        read: checkpoint::read,
        memory: (16 * MIB, 2000),
    },
    Target { name: "gguf", corpus: checkpoint::gguf, read: checkpoint::read, memory: (16 * MIB, 2000) },
    Target { name: "npy", corpus: checkpoint::npy, read: checkpoint::read_npy, memory: (16 * MIB, 100) },
    // What is folded may take 256 MiB, while it is computed and when it is kept.
    Target { name: "graph", corpus: graph::corpus, read: graph::read, memory: (640 * MIB, 2000) },
    Target {
        name: "importance",
        corpus: checkpoint::importance,
        read: checkpoint::read_importance,
        memory: (16 * MIB, 2000),
    },
    Target { name: "plugin", corpus: library::corpus, read: library::read, memory: (16 * MIB, 200) },
];
