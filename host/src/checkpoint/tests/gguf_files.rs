//! GGUF files.

use bitquilt_plugin_api::DType;

use super::gguf_writer::{GgufTensor, GgufWriter, text};
use super::*;
use crate::checkpoint::metadata::{Array, Value};

/// The padding of a file may go on.
pub(in crate::checkpoint) fn sample() -> Sample {
    Sample { bytes: small().bytes(), may_go_on: true }
}

/// A file with a value of every type and tensors of three.
pub(super) fn small() -> GgufWriter {
    let blocks: Vec<u8> = (0..2 * 2 * 20).collect();
    GgufWriter::default()
        .entry("u8", 0, [200])
        .entry("i8", 1, [0xff])
        .entry("u16", 2, 40000u16.to_le_bytes())
        .entry("i16", 3, (-2i16).to_le_bytes())
        .entry("u32", 4, 3_000_000_000u32.to_le_bytes())
        .entry("i32", 5, (-3i32).to_le_bytes())
        .entry("f32", 6, 1.5f32.to_le_bytes())
        .entry("bool", 7, [1])
        .entry("general.architecture", 8, text("llama"))
        .entry("u64", 10, u64::MAX.to_le_bytes())
        .entry("i64", 11, i64::MIN.to_le_bytes())
        .entry("f64", 12, 0.1f64.to_le_bytes())
        .array("tokens", 8, 2, &[text("<s>"), text("é")].concat())
        .array("types", 5, 2, &[1, 0, 0, 0, 0xff, 0xff, 0xff, 0xff])
        .array("flags", 7, 3, &[1, 0, 1])
        .array("none", 6, 0, &[])
        .tensor(GgufTensor::new("norm", [3], 0, bytemuck::cast_slice(&[1.0f32, 2.0, 3.0])))
        .tensor(GgufTensor::new("w", [64, 2], 3, &blocks))
        .tensor(GgufTensor::new("half", [2, 1, 2], 30, &[0x80, 0x3f, 0, 0x40, 0x40, 0x40, 0x80, 0x40]))
}

fn q4_1() -> EncodingSpec {
    EncodingSpec::new("q4_1", 32, 20)
}

#[test]
fn metadata_and_tensors_are_read() {
    let (_directory, path) = file(&small().bytes());
    let checkpoint = Checkpoint::open(&path).unwrap();
    let header = checkpoint.metadata();
    assert_eq!((checkpoint.format(), header.len()), (Format::new("GGUF", Some(3)), 16));
    for (key, value) in [
        ("u8", Value::U8(200)),
        ("i8", Value::I8(-1)),
        ("u16", Value::U16(40000)),
        ("i16", Value::I16(-2)),
        ("u32", Value::U32(3_000_000_000)),
        ("i32", Value::I32(-3)),
        ("f32", Value::F32(1.5)),
        ("bool", Value::from(true)),
        ("general.architecture", Value::String("llama".to_owned())),
        ("u64", Value::U64(u64::MAX)),
        ("i64", Value::I64(i64::MIN)),
        ("f64", Value::F64(0.1)),
        ("tokens", Value::Array(Array::String(vec!["<s>".to_owned(), "é".to_owned()]))),
        ("types", Value::Array(Array::I32(vec![1, -1]))),
        ("flags", Value::Array(Array::Bool(vec![1, 0, 1]))),
        ("none", Value::Array(Array::F32(Vec::new()))),
    ] {
        assert_eq!(header.get(key), Some(&value), "{key}");
    }

    let tensors = load(&path, &registry([q4_1()])).unwrap();
    assert_eq!(tensors.values::<f32>("norm").unwrap(), [1.0, 2.0, 3.0]);
    let w = tensors.get("w").unwrap();
    assert_eq!((w.tensor_type().to_string(), w.byte_shape()), ("q4_1 [2, 64]".to_owned(), vec![2, 40]));
    assert_eq!(w.bytes(), (0..80).collect::<Vec<u8>>());
    let half = tensors.get("half").unwrap();
    assert_eq!((half.dtype(), half.shape()), (Some(DType::BF16), &[2, 1, 2][..]));
    let half = tensors.values::<bitquilt_plugin_api::half::bf16>("half").unwrap();
    assert_eq!(half.iter().map(|value| value.to_f32()).collect::<Vec<_>>(), [1.0, 2.0, 3.0, 4.0]);
    assert_eq!(tensors.metadata(), header);
}

#[test]
fn a_gguf_file_is_saved_as_a_checkpoint() {
    let (directory, path) = file(&small().bytes());
    let registry = registry([q4_1()]);
    let tensors = load(&path, &registry).unwrap();
    let saved = directory.path().join("saved");
    save(&tensors, &saved).unwrap();
    assert_eq!(load(&saved, &registry).unwrap(), tensors);
}

#[test]
fn version_2_and_another_alignment_are_read() {
    let mut writer = small().entry("general.alignment", 4, 128u32.to_le_bytes());
    (writer.version, writer.alignment) = (2, 128);
    let (_directory, path) = file(&writer.bytes());
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.format(), Format::new("GGUF", Some(2)));
    assert_eq!(checkpoint.metadata().require("general.alignment"), Ok(128u32));
    assert_eq!(load(&path, &registry([q4_1()])).unwrap().get("w").unwrap().bytes()[79], 79);
}

#[test]
fn empty_tensors_may_lie_behind_the_end() {
    let writer = GgufWriter::default()
        .entry("general.alignment", 4, (1u32 << 31).to_le_bytes())
        .tensor(GgufTensor::new("empty", [0, 4], 0, &[]));
    let (_directory, path) = file(&writer.bytes());
    let tensors = load(&path, &Registry::default()).unwrap();
    assert_eq!(tensors.values::<f32>("empty").unwrap(), [0.0f32; 0]);
}

#[test]
fn malformed_files_are_refused_with_a_sentence() {
    let f32s = |dims: &[u64], bytes: usize| GgufTensor::new("a", dims, 0, &vec![0; bytes]);
    let at = |offset, tensor: GgufTensor| GgufTensor { offset: Some(offset), ..tensor };
    let one = |tensor| GgufWriter::default().tensor(tensor);
    let entry = |type_id, value: &[u8]| GgufWriter::default().entry("k", type_id, value);
    let cut = "; it was cut, or is damaged";
    let damaged = "; the file was cut, or is damaged";
    let max = u64::MAX;
    for (writer, expected) in [
        (
            GgufWriter { version: 3u32.swap_bytes(), ..small() },
            "FILE: the file is big-endian; only little-endian GGUF files are read, convert it".to_owned(),
        ),
        (
            GgufWriter { version: 1, ..small() },
            "FILE: the file is GGUF version 1, versions 2 to 3 are read; convert it".to_owned(),
        ),
        (
            GgufWriter { entry_count: Some(max), ..GgufWriter::default() },
            format!("FILE: the key of metadata entry 0 of {max} at byte 24 takes 8 bytes, of which the file has 0{cut}"),
        ),
        (
            GgufWriter { tensor_count: Some(max), ..GgufWriter::default() },
            format!("FILE: the name of tensor 0 of {max} at byte 24 takes 8 bytes, of which the file has 0{cut}"),
        ),
        (
            entry(8, &max.to_le_bytes()),
            format!("FILE: the value of `k` at byte 45 takes {max} bytes, of which the file has 0{cut}"),
        ),
        (entry(13, &[]), "FILE: the value of `k` has type 13, types 0 to 12 are known".to_owned()),
        (
            GgufWriter::default().array("k", 6, max, &[]),
            format!("FILE: the value of `k` at byte 49 takes {max} bytes, of which the file has 0{cut}"),
        ),
        (
            GgufWriter::default().array("k", 8, 1 << 60, &[0; 8]),
            format!(
                "FILE: text 1 of {} in the value of `k` at byte 57 takes 8 bytes, of which the file has 0{cut}",
                1u64 << 60
            ),
        ),
        (
            GgufWriter::default().array("k", 9, 1, &[9u32.to_le_bytes().to_vec(), 1u64.to_le_bytes().to_vec()].concat().repeat(9)),
            "FILE: the value of `k` has more than 8 arrays in each other".to_owned(),
        ),
        (
            GgufWriter::default().array("k", 13, 1, &[0; 8]),
            "FILE: the value of `k` is an array of type 13, types 0 to 12 are known".to_owned(),
        ),
        (entry(0, &[1]).entry("k", 0, [2]), "FILE: the metadata has the key `k` twice".to_owned()),
        (
            GgufWriter::default().entry("general.alignment", 4, 24u32.to_le_bytes()),
            "FILE: `general.alignment` is 24; a power of two as u32 was expected".to_owned(),
        ),
        (
            GgufWriter::default().entry("general.alignment", 10, 32u64.to_le_bytes()),
            "FILE: `general.alignment` is 32; a power of two as u32 was expected".to_owned(),
        ),
        (
            one(f32s(&[1; 5], 4)),
            "FILE, tensor `a`: it has 5 dimensions, at most 4 are allowed".to_owned(),
        ),
        (
            one(GgufTensor::new("a", [32], 137, &[0; 40])).tensor(at(32, GgufTensor::new("b", [8], 0, &[0; 32]))).tensor(at(64, f32s(&[1], 4))),
            "FILE: there are two tensors `a`".to_owned(),
        ),
        (
            one(GgufTensor::new("a", [32], 137, &[0; 40])).tensor(at(40, GgufTensor::new("b", [8], 0, &[0; 32]))),
            "FILE, tensor `b`: it begins at byte 40 of the data, 64 was expected: tensors follow each other".to_owned(),
        ),
        (
            one(at(max, GgufTensor::new("a", [32], 137, &[]))),
            format!("FILE, tensor `a`: it begins at byte {max} of the data, 0 was expected: tensors follow each other"),
        ),
        (
            one(GgufTensor::new("a", [max, max], 137, &[0; 40])),
            format!("FILE, tensor `a`: a tensor of shape [{max}, {max}] has more bytes than this machine can address"),
        ),
        (
            one(GgufTensor::new("a", [33, 2], 2, &[0; 36])),
            "FILE, tensor `a`: the rows of [2, 33] are 33 values long, no multiple of the 32 values in a block of `q4_0`"
                .to_owned(),
        ),
        (
            one(f32s(&[max, max], 4)),
            format!("FILE, tensor `a`: a tensor of shape [{max}, {max}] has more bytes than this machine can address"),
        ),
        (
            one(f32s(&[4], 12)),
            format!("FILE, tensor `a`: it ends at byte 16 of the data, of which the file has 12{damaged}"),
        ),
        (
            one(f32s(&[1], 4)).tensor(f32s(&[1], 4)),
            "FILE: there are two tensors `a`".to_owned(),
        ),
        (
            one(f32s(&[8], 32)).tensor(at(0, GgufTensor::new("b", [8], 0, &[0; 32]))),
            "FILE, tensor `b`: it begins at byte 0 of the data, 32 was expected: tensors follow each other".to_owned(),
        ),
        (
            one(at(max, f32s(&[1], 4))),
            format!("FILE, tensor `a`: it begins at byte {max} of the data, 0 was expected: tensors follow each other"),
        ),
    ] {
        let (_directory, path) = file(&writer.bytes());
        assert_eq!(sentence(Checkpoint::open(&path), &path), expected);
    }
}

#[test]
fn blocks_of_another_layout_are_refused() {
    let (_directory, path) = file(&small().bytes());
    let other = registry([q4_1().version(2)]);
    let expected = "FILE, tensor `w`: its blocks are of `q4_1`, version 1 with 32 values in 20 bytes; registered is version 2 with \
                    32 values in 20 bytes: use the plugin it was saved with, or quantize the weight anew";
    assert_eq!(sentence(load(&path, &other), &path), expected);
}
