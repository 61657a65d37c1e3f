//! GGUF files.

use crate::Scratch;

/// A text with its length before it.
pub(super) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat()
}

/// An entry of the metadata: `kind` is GGUF's number of the value's type.
pub(super) fn entry(key: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [text(key), kind.to_le_bytes().to_vec(), value.to_vec()].concat()
}

/// An entry that is an array of `count` values of the type `kind`.
pub(super) fn array(key: &str, kind: u32, count: usize, values: &[u8]) -> Vec<u8> {
    entry(key, 9, &[&kind.to_le_bytes()[..], &(count as u64).to_le_bytes(), values].concat())
}

/// A tensor of a file: its name, its dimensions with the innermost first, ggml's number of its type, and its bytes.
pub(super) type Stored<'a> = (&'a str, &'a [u64], u32, usize);

/// A file of these entries and tensors; the tensors' bytes are all the same.
pub(super) fn file(entries: &[Vec<u8>], tensors: &[Stored]) -> Vec<u8> {
    let mut file = [&b"GGUF"[..], &3u32.to_le_bytes(), &(tensors.len() as u64).to_le_bytes()].concat();
    file.extend((entries.len() as u64).to_le_bytes());
    file.extend(entries.concat());
    let mut offset = 0u64;
    for (name, dims, kind, bytes) in tensors {
        file.extend(text(name));
        file.extend((dims.len() as u32).to_le_bytes());
        file.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
        file.extend(kind.to_le_bytes());
        file.extend(offset.to_le_bytes());
        offset = (offset + *bytes as u64).next_multiple_of(32);
    }
    let data = file.len().next_multiple_of(32) + offset as usize;
    file.resize(data, 0x3c);
    file
}

/// A file with values of every type, arrays, and tensors of several.
pub(super) fn corpus(_: &Scratch) -> Vec<Vec<u8>> {
    let mut entries = vec![
        entry("general.architecture", 8, &text("llama")),
        entry("general.alignment", 4, &32u32.to_le_bytes()),
        array("tokenizer.ggml.tokens", 8, 3, &[text("<s>"), text("é"), text("")].concat()),
        array("tokenizer.ggml.token_type", 5, 3, &[1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0]),
        array("scores", 6, 2, &[0, 0, 128, 63, 0, 0, 192, 127]),
        array("nested", 9, 1, &[&4u32.to_le_bytes()[..], &1u64.to_le_bytes(), &[7, 0, 0, 0]].concat()),
    ];
    for (kind, width) in
        [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (6, 4), (7, 1), (10, 8), (11, 8), (12, 8)]
    {
        entries.push(entry(&format!("value.{kind}"), kind, &[1, 0, 0, 0, 0, 0, 0, 0][..width]));
    }
    let tensors: [Stored; 5] = [
        ("norm", &[3], 0, 12),
        ("blk.0.up", &[64, 2], 2, 72),
        ("blk.0.down", &[256], 14, 210),
        ("half", &[2, 1, 2], 30, 8),
        ("none", &[0, 4], 1, 0),
    ];
    vec![file(&entries, &tensors)]
}
