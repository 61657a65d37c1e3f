//! Examples of bitquilt, one idea each: `cargo run --release --example NAME`.
//!
//! - `quickstart`: the same product in full precision and quantized, side by side.
//! - `checkpoint`: saving and loading tensors, quantized ones included.
//! - `own-encoding`: an encoding and an op inside one's own program.
//! - `custom-encoding` (a crate of its own): the same as a shared library to drop into a directory.
//! - `mixed`: a transformer's feed-forward block with three encodings, one from that library.
//! - `tinystories`: a Llama model from a GGUF file or a llama2.c checkpoint, its weights quantized one by one, tells a story.
//! - `minilm`: a sentence encoder in full precision and quantized by a recipe, compared.
//!
//! This library has the parts of the last two.

pub mod minilm;
pub mod recipe;
pub mod tinystories;
