//! Any finite row is quantized, by every instruction set alike.

#![no_main]

#[path = "../../../../plugins/ggml-blocks/tests/guarded/mod.rs"]
#[allow(dead_code)]
mod guarded;

libfuzzer_sys::fuzz_target!(|data: &[u8]| guarded::quantize(data));
