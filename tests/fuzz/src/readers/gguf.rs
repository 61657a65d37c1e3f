//! GGUF files.

use bitquilt_tests::gguf::{GgufFile, GgufTensor, GgufValue};

use crate::Scratch;

/// A file with values of every type, arrays, and tensors of several.
pub(super) fn corpus(_: &Scratch) -> Vec<Vec<u8>> {
    let nested =
        GgufValue::array(9, 1, [&4u32.to_le_bytes()[..], &1u64.to_le_bytes(), &[7, 0, 0, 0]].concat());
    let mut file = GgufFile::default()
        .set("general.architecture", "llama")
        .set("general.alignment", 32u32)
        .set("tokenizer.ggml.tokens", ["<s>", "é", ""])
        .set("tokenizer.ggml.token_type", [1, 2, 3])
        .set("scores", [1.0, f32::NAN])
        .set("nested", nested);
    for (kind, width) in
        [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 1), (10, 8), (11, 8), (12, 8)]
    {
        let value = GgufValue::new(kind, &[1, 0, 0, 0, 0, 0, 0, 0][..width]);
        file = file.set(&format!("value.{kind}"), value);
    }
    let tensors: [(&str, &[u64], u32, usize); 5] = [
        ("norm", &[3], 0, 12),
        ("blk.0.up", &[64, 2], 2, 72),
        ("blk.0.down", &[256], 14, 210),
        ("half", &[2, 1, 2], 30, 8),
        ("none", &[0, 4], 1, 0),
    ];
    for (name, dims, kind, bytes) in tensors {
        file = file.tensor(GgufTensor::new(name, dims, kind, vec![0x3c; bytes]));
    }
    vec![file.bytes()]
}
