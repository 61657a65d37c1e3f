//! Nothing outside a buffer is read or written: every buffer here ends, or begins, at a page that may not be touched.

#![cfg(unix)]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod guarded;

use bitquilt_ggml_blocks::{FORMATS, Format, Importance, Isa};
use guarded::{Guarded, Side};

/// xorshift64*.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn value(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Numbers of blocks: registers filled, partly filled, and with a rest.
const BLOCKS: [usize; 8] = [1, 2, 3, 4, 5, 9, 16, 17];

fn cases() -> impl Iterator<Item = (Isa, &'static Format, usize, Side)> {
    let isas = Isa::available();
    let formats = isas.flat_map(|isa| FORMATS.iter().map(move |format| (isa, format)));
    let blocks = formats.flat_map(|(isa, format)| BLOCKS.map(|blocks| (isa, format, blocks)));
    blocks.flat_map(|(isa, format, blocks)| [Side::Front, Side::Back].map(|side| (isa, format, blocks, side)))
}

#[test]
fn decoding_stays_inside() {
    let (mut bytes, mut values) = (Guarded::new(1 << 16), Guarded::new(1 << 16));
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for (isa, format, blocks, side) in cases() {
        let bytes = bytes.slice::<u8>(side, blocks * format.block_bytes);
        for byte in bytes.iter_mut() {
            *byte = random.bits() as u8;
        }
        format.dequantize_with(isa, bytes, values.slice(side, blocks * format.block_len));
    }
}

#[test]
fn quantizing_stays_inside() {
    let (mut row, mut weights) = (Guarded::new(1 << 16), Guarded::new(1 << 16));
    let mut bytes = Guarded::new(1 << 16);
    let mut random = Random(0x1234_5678_9abc_def1);
    for (isa, format, blocks, side) in cases() {
        let len = blocks * format.block_len;
        let row = row.slice::<f32>(side, len);
        let weights = weights.slice::<f32>(side, len);
        for (x, weight) in row.iter_mut().zip(weights.iter_mut()) {
            *x = random.value();
            *weight = random.value().abs();
        }
        let bytes = bytes.slice::<u8>(side, blocks * format.block_bytes);
        if format.importance != Importance::Required {
            format.quantize_with(isa, row, len, None, bytes);
        }
        format.quantize_with(isa, row, len, Some(weights), bytes);
    }
}

/// What the fuzzer (`tests/fuzz/libfuzzer`) has found to be different, replayed.
fn replay(target: &str, check: fn(&[u8])) {
    let directory =
        concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/fuzz/libfuzzer/corpus/").to_owned() + target;
    let files: Vec<_> = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path()).collect();
    assert!(files.len() >= FORMATS.len(), "{target}");
    for file in files {
        check(&std::fs::read(file).unwrap());
    }
}

#[test]
fn decoding_the_corpus_stays_inside() {
    replay("decode", guarded::decode);
}

#[test]
fn quantizing_the_corpus_stays_inside() {
    replay("quantize", guarded::quantize);
}
