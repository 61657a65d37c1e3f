//! Examples of bitquilt, one idea each: `cargo run --release --example NAME`.
//!
//! - `quickstart`: the same product in full precision and quantized, side by side.
//! - `checkpoint`: saving and loading tensors, quantized ones included.
//! - `own-encoding`: an encoding and an op inside one's own program.
//! - `custom-encoding` (a crate of its own): the same as a shared library to drop into a directory.
//! - `mixed`: a transformer's feed-forward block with three encodings, one from that library.
