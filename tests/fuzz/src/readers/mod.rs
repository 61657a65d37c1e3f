//! What each reader promises.

mod checkpoint;
mod gguf;
mod graph;
mod library;
mod model;
mod recipe;

use crate::Target;

const MIB: usize = 1 << 20;

/// All readers.
pub const TARGETS: [Target; 13] = [
    Target {
        name: "safetensors",
        corpus: checkpoint::safetensors,
        read: checkpoint::read,
        memory: (16 * MIB, 2000),
    },
    Target { name: "gguf", corpus: gguf::corpus, read: checkpoint::read, memory: (16 * MIB, 2000) },
    Target { name: "npy", corpus: checkpoint::npy, read: checkpoint::read_npy, memory: (16 * MIB, 100) },
    // A byte makes 1032 of it, which are held while they grow, and when they are an array.
    Target { name: "npz", corpus: checkpoint::npz, read: checkpoint::read_npz, memory: (16 * MIB, 5000) },
    // What is folded may take 256 MiB, while it is computed and when it is kept.
    Target { name: "graph", corpus: graph::corpus, read: graph::read, memory: (640 * MIB, 2000) },
    Target {
        name: "importance",
        corpus: checkpoint::importance,
        read: checkpoint::read_importance,
        memory: (16 * MIB, 2000),
    },
    Target { name: "plugin", corpus: library::corpus, read: library::read, memory: (16 * MIB, 200) },
    Target { name: "llama2c", corpus: model::llama2c, read: model::read_llama2c, memory: (64 * MIB, 2000) },
    // The list of what is joined may take 128 MiB, and is kept in two ways at a time.
    Target {
        name: "tokenizer",
        corpus: model::tokenizer,
        read: model::read_tokenizer,
        memory: (640 * MIB, 2000),
    },
    Target { name: "decoder", corpus: model::decoders, read: model::read_decoder, memory: (640 * MIB, 2000) },
    Target { name: "saved", corpus: model::saved, read: model::read_saved, memory: (64 * MIB, 2000) },
    Target { name: "recipe", corpus: recipe::corpus, read: recipe::read, memory: (64 * MIB, 2000) },
    // A template may take 64 MiB.
    Target {
        name: "template",
        corpus: recipe::templates,
        read: recipe::read_template,
        memory: (80 * MIB, 2000),
    },
];
