//! A sentence encoder in full precision and quantized: the modules of the example `minilm`.

pub mod encoder;
pub mod graph;
pub mod tokens;
