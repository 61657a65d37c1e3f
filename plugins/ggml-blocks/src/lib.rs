//! The block formats of GGML: layouts, quantization and decoding, identical to ggml's to the byte.
//!
//! A plain library: it knows nothing of graphs or plugins. A format is a type that implements [`BlockFormat`];
//! there is one file a format, which pictures its bits. [`FORMATS`] lists them all behind one plain type.
//!
//! | folder | what |
//! |---|---|
//! | `formats/` | the formats: their blocks, how levels become bytes and values |
//! | `search/` | the searches for scales and levels, which formats of a kind share |
//! | `lanes/` | several blocks or candidates at a time, on each instruction set |
//!
//! What decides a byte follows ggml 0.25 operation by operation: f32 arithmetic in its order, without fused
//! multiply-adds, and x86's result where a conversion overflows. So the bytes are the same on every machine.
//!
//! The golden files in `testdata` hold that in the tests, `tests/peers/quantize.sh` against ggml's own library, which it also
//! times; `cargo bench -p bitquilt-ggml-blocks` measures every format, and `tests/fuzz/libfuzzer/run.sh` looks for bytes that decode
//! differently, or that make anything read or write outside its buffer.

mod e2m1;
mod float;
mod format;
mod formats;
mod lanes;
mod packing;
mod search;

pub use bitquilt_simd::Isa;
pub use float::Half;
pub use format::{BlockFormat, Format, Importance, ProvenError};
pub use formats::*;
pub use lanes::Lanes;
pub use lanes::codes::{CodeLanes, Entries};
