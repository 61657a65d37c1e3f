//! What nobody here can read is listed and carried over, and refused where its values are asked for.

use std::sync::Arc;

use super::gguf_writer::{GgufTensor, GgufWriter, text};
use super::*;
use crate::checkpoint::metadata::{Array, Value};
use crate::graph::Graph;

/// A safetensors file of tensors, each with its dtype, shape and bytes.
fn safetensors_file(tensors: &[(&str, &str, &[usize], &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut header = serde_json::Map::new();
    for (name, dtype, shape, bytes) in tensors {
        let offsets = [data.len(), data.len() + bytes.len()];
        header.insert(
            (*name).to_owned(),
            serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": offsets}),
        );
        data.extend_from_slice(bytes);
    }
    let header = serde_json::to_vec(&header).unwrap();
    [&(header.len() as u64).to_le_bytes()[..], &header, &data].concat()
}

/// Copies all tensors as they are stored, and the metadata.
fn carry_over(from: &Path, to: &Path) {
    let checkpoint = Checkpoint::open(from).unwrap();
    let mut writer = CheckpointWriter::new();
    writer.metadata_mut().clone_from(checkpoint.metadata());
    checkpoint.tensors().for_each(|(name, stored)| writer.stored(name, stored));
    writer.write(to, |name| checkpoint.as_stored(name)).unwrap();
}

#[test]
fn types_of_safetensors_that_nobody_reads_are_carried_over() {
    let bytes: Vec<u8> = (0..48).collect();
    let tensors: [(&str, &str, &[usize], &[u8]); 9] = [
        ("c64", "C64", &[2, 1], &bytes[..16]),
        ("e8m0", "F8_E8M0", &[3], &bytes[..3]),
        ("f4", "F4", &[2, 4], &bytes[..4]),
        ("f6", "F6_E2M3", &[8], &bytes[..6]),
        ("fnuz", "F8_E4M3FNUZ", &[2], &bytes[..2]),
        ("future", "F2_NEW", &[5, 5], &bytes[..7]),
        ("bool", "BOOL", &[3], &[0, 1, 2]),
        ("e4m3", "F8_E4M3", &[2], &[0x38, 0x7f]),
        ("plain", "F32", &[1], &[0, 0, 0x80, 0x3f]),
    ];
    let (directory, path) = file(&safetensors_file(&tensors));
    let copy = directory.path().join("copy");
    carry_over(&path, &copy);
    // A dictionary has them, too.
    let through = directory.path().join("through");
    save(&load(&path, &Registry::default()).unwrap(), &through).unwrap();
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&through).unwrap());

    let registry = Arc::new(Registry::default());
    for path in [&path, &copy] {
        let bytes = std::fs::read(path).unwrap();
        let read = ::safetensors::SafeTensors::deserialize(&bytes);
        // The crate knows all dtypes but the one that was made up.
        assert!(read.is_err_and(|error| error.to_string().contains("F2_NEW")));
        let checkpoint = Checkpoint::open(path).unwrap();
        assert_eq!(checkpoint.tensors().len(), tensors.len());
        for (name, dtype, shape, bytes) in tensors {
            let stored = checkpoint.tensors().find(|(known, _)| *known == name).unwrap().1;
            assert_eq!(stored.shape(), shape, "{name}");
            let tensor = checkpoint.as_stored(name).unwrap();
            assert_eq!((tensor.bytes(), tensor.shape()), (bytes, shape), "{name}");
            let usable = ["e4m3", "plain"].contains(&name);
            assert_eq!(stored.is_opaque(), !usable && name != "bool", "{name}");
            let said = sentence(checkpoint.tensor(name, &registry), path);
            let mut graph = Graph::new(&registry, []).unwrap();
            let constant = graph.constant(&tensor).map(drop).map_err(|error| error.to_string());
            if usable {
                assert_eq!((said.as_str(), constant), ("no error", Ok(())));
                continue;
            }
            assert_eq!(tensor.element().to_string(), dtype, "{name}");
            let expected = match name {
                "bool" => {
                    "FILE, tensor `bool`: byte 2 of a bool tensor is 2; only 0 and 1 are booleans".to_owned()
                }
                _ => format!(
                    "FILE, tensor `{name}`: its type is {dtype}, whose values this version does not read: it can be listed and \
                     carried over to another file, and is of no other use"
                ),
            };
            assert_eq!(said, expected);
            assert_eq!(
                constant.unwrap_err(),
                format!(
                    "the tensor is of the type {dtype}, whose values this version does not read; it can be saved again, and is of \
                     no other use"
                )
            );
            let sentence = format!("the tensor holds {dtype} values, f32 were asked for");
            assert_eq!(tensor.values::<f32>().unwrap_err().to_string(), sentence);
            assert!(registry.to_f32(&tensor).is_err(), "{name}");
        }
    }
}

#[test]
fn floats_of_8_bits_are_values() {
    use bitquilt_plugin_api::{F8E4M3, F8E5M2};
    let (_directory, path) = file(&safetensors_file(&[
        ("a", "F8_E4M3", &[3], &[0x38, 0xb8, 0x7e]),
        ("b", "F8_E5M2", &[2], &[0x3c, 0x7b]),
    ]));
    let loaded = load(&path, &Registry::default()).unwrap();
    let a: Vec<f32> = loaded.values::<F8E4M3>("a").unwrap().iter().map(|value| value.to_f32()).collect();
    let b: Vec<f32> = loaded.values::<F8E5M2>("b").unwrap().iter().map(|value| value.to_f32()).collect();
    assert_eq!((a, b), (vec![1.0, -1.0, 448.0], vec![1.0, 57344.0]));
}

#[test]
fn types_of_ggml_that_nobody_knows_are_carried_over() {
    // 40 bytes of a type that is not known, one that was removed, one at the end: each with the padding that follows.
    let new: Vec<u8> = (1..=40).collect();
    let writer = GgufWriter::default()
        .entry("general.architecture", 8, text("llama"))
        .tensor(GgufTensor::new("new", [32], 137, &new))
        .tensor(GgufTensor::new("w", [4], 0, bytemuck::cast_slice(&[1f32, 2.0, 3.0, 4.0])))
        .tensor(GgufTensor::new("old", [32, 2], 31, &[7; 36]))
        .tensor(GgufTensor::new("empty", [0], 36, &[]))
        .tensor(GgufTensor::new("last", [5], 4_000_000_000, &[9; 5]));
    let (directory, path) = file(&writer.bytes());
    let copy = directory.path().join("copy");
    let again = directory.path().join("again");
    carry_over(&path, &copy);
    carry_over(&copy, &again);
    assert_eq!(std::fs::read(&copy).unwrap(), std::fs::read(&again).unwrap());
    for path in [&path, &copy, &again] {
        let checkpoint = Checkpoint::open(path).unwrap();
        let listed: Vec<(String, String, Vec<usize>, usize)> = checkpoint
            .tensors()
            .map(|(name, stored)| {
                (
                    name.to_owned(),
                    stored.element().to_string(),
                    stored.shape().to_vec(),
                    stored.byte_range().len(),
                )
            })
            .collect();
        let expected = [
            ("empty", "ggml.36", vec![0], 0),
            ("last", "ggml.4000000000", vec![5], 5),
            ("new", "ggml.137", vec![32], 64),
            ("old", "ggml.31", vec![2, 32], 64),
            ("w", "f32", vec![4], 16),
        ]
        .map(|(name, element, shape, bytes)| (name.to_owned(), element.to_owned(), shape, bytes));
        assert_eq!(listed, expected);
        let bytes = [&new[..], &[0; 24]].concat();
        assert_eq!(checkpoint.as_stored("new").unwrap().bytes(), bytes);
        let said = sentence(checkpoint.tensor("new", &Registry::default()), path);
        assert!(said.starts_with("FILE, tensor `new`: its type is ggml.137, whose values"), "{said}");
        assert!(checkpoint.tensor("w", &Registry::default()).is_ok());
    }
}

#[test]
fn a_graph_takes_an_opaque_tensor_nowhere() {
    let (_directory, path) = file(&safetensors_file(&[("q4_0", "q4_0", &[32], &[0; 18])]));
    // The name of its type is an encoding's, and yet it is not encoded.
    let registry = registry([q4_0()]);
    let tensor = load(&path, &registry).unwrap().remove("q4_0").unwrap();
    assert_eq!(tensor.element().to_string(), "q4_0");
    assert!(tensor.encoding().is_none());
    assert!(Graph::new(&Arc::new(registry), []).unwrap().constant(&tensor).is_err());
}

#[test]
fn texts_and_booleans_that_are_none_are_carried_over() {
    let bytes = |bytes: &[u8]| [&(bytes.len() as u64).to_le_bytes()[..], bytes].concat();
    let nested = [4u32.to_le_bytes().to_vec(), 2u64.to_le_bytes().to_vec(), vec![1, 0, 0, 0, 2, 0, 0, 0]];
    let mut writer = GgufWriter::default()
        .entry("name", 8, bytes(b"a\xff"))
        .array("tokens", 8, 2, &[bytes(b"\x80"), bytes(b"a")].concat())
        .entry("flag", 7, [2])
        .array("flags", 7, 3, &[0, 1, 255])
        .array("nested", 9, 1, &nested.concat())
        .tensor(GgufTensor::new("w", [1], 0, &[0; 4]));
    // A key, too, and a name.
    writer.entries.push([bytes(b"k\x80"), 0u32.to_le_bytes().to_vec(), vec![1]].concat());
    let file_bytes = writer.bytes();
    let at = file_bytes.windows(9).position(|window| window == b"\x01\0\0\0\0\0\0\0w").unwrap() + 8;
    let file_bytes = [&file_bytes[..at], &[0xfe], &file_bytes[at + 1..]].concat();
    let (directory, path) = file(&file_bytes);
    let copy = directory.path().join("copy");
    carry_over(&path, &copy);
    for path in [&path, &copy] {
        let checkpoint = Checkpoint::open(path).unwrap();
        let metadata = checkpoint.metadata();
        for (key, value, shown) in [
            ("name", Value::Bytes(b"a\xff".to_vec()), "a\\xff"),
            ("tokens", Array::Bytes(vec![vec![0x80], b"a".to_vec()]).into(), "string[2] [\"\\x80\", \"a\"]"),
            ("flag", Value::Bool(2), "2 (no boolean)"),
            ("flags", Array::Bool(vec![0, 1, 255]).into(), "bool[3] [false, true, 255 (no boolean)]"),
            ("nested", Array::Array(vec![Array::U32(vec![1, 2])]).into(), "array[1] [u32[2]]"),
            ("k\\x80", Value::U8(1), "1"),
        ] {
            assert_eq!(metadata.get(key), Some(&value), "{key}");
            assert_eq!(metadata.get(key).unwrap().to_string(), shown, "{key}");
        }
        assert!(metadata.find::<bool>("flag").is_err());
        assert!(metadata.find::<&str>("name").is_err());
        assert!(metadata.find::<&[String]>("tokens").is_err());
        assert_eq!(checkpoint.tensors().next().unwrap().0, "\\xfe");
    }
}

#[test]
fn all_of_a_gguf_files_metadata_is_carried_over() {
    let (directory, path) = file(&gguf_files::small().bytes());
    let copy = directory.path().join("copy");
    carry_over(&path, &copy);
    let (original, copied) = (Checkpoint::open(&path).unwrap(), Checkpoint::open(&copy).unwrap());
    assert_eq!(copied.metadata(), original.metadata());
    assert_eq!(copied.metadata().len(), 16);
}

#[test]
fn a_file_that_was_cut_meanwhile_is_an_error() {
    let (_directory, path) = file(&safetensors_file(&[("a", "U8", &[9000], &[1; 9000])]));
    let checkpoint = Checkpoint::open(&path).unwrap();
    let expected = std::fs::metadata(&path).unwrap().len();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(100).unwrap();
    let sentence = sentence(checkpoint.as_stored("a"), &path);
    let said = format!(
        "FILE had {expected} bytes when it was opened and has 100 now; it must not be changed while it is read"
    );
    assert_eq!(sentence, said);
}
