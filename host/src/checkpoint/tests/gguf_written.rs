//! GGUF files that are written.

use bitquilt_ggml_blocks::FORMATS as ENCODINGS;
use bitquilt_plugin_api::DType;

use super::gguf_writer::{GgufTensor, GgufWriter};
use super::*;
use crate::checkpoint::metadata::{Array, Value};

/// A place for a GGUF file.
fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("model.gguf");
    (directory, path)
}

/// A value of every type.
fn metadata() -> Metadata {
    let arrays =
        vec![Array::U8(vec![1, 2]), Array::String(vec![]), Array::Array(vec![Array::F64(vec![0.5])])];
    let values = [
        Value::U8(1),
        Value::I8(-2),
        Value::U16(3),
        Value::I16(-4),
        Value::U32(5),
        Value::I32(-6),
        Value::F32(f32::NEG_INFINITY),
        Value::Bool(1),
        Value::Bool(7),
        Value::String("é\n".to_owned()),
        Value::Bytes(vec![0x61, 0xff]),
        Value::U64(u64::MAX),
        Value::I64(i64::MIN),
        Value::F64(-0.0),
        Array::I8(vec![-1]).into(),
        Array::U16(vec![1, 2, 3]).into(),
        Array::I16(vec![]).into(),
        Array::U32(vec![9; 3]).into(),
        Array::I32(vec![-9]).into(),
        Array::F32(vec![0.1, 3e38]).into(),
        Array::Bool(vec![0, 1, 2]).into(),
        Array::String(vec!["<s>".to_owned(), String::new()]).into(),
        Array::Bytes(vec![vec![0xff], b"text".to_vec()]).into(),
        Array::U64(vec![1 << 63]).into(),
        Array::I64(vec![-1]).into(),
        Array::Array(arrays).into(),
    ];
    values.into_iter().enumerate().map(|(index, value)| (format!("key.{index}"), value)).collect()
}

/// Tensors of every dtype and encoding that GGUF has.
fn everything() -> (TensorDict, Registry) {
    let mut tensors = TensorDict::new();
    for dtype in DType::all() {
        if without_number().contains(&dtype) {
            continue;
        }
        let bytes = vec![1; 6 * dtype.size().unwrap()];
        tensors.insert(format!("dense.{dtype}"), Tensor::from_bytes(dtype, [2, 1, 3], &bytes).unwrap());
    }
    let encodings = ENCODINGS.iter().filter(|format| format.block_len > 1);
    let specs: Vec<EncodingSpec> = encodings
        .map(|format| EncodingSpec::new(format.name, format.block_len, format.block_bytes))
        .collect();
    for spec in &specs {
        tensors.insert(format!("encoded.{}", spec.name), encoded(spec, [3, 256]));
    }
    tensors.insert("scalar", Tensor::scalar(7i64));
    tensors.insert("nothing", Tensor::full([3, 0, 2], 1.0f32));
    tensors.insert("an odd name: \"é\"", Tensor::full([5], 1i8));
    *tensors.metadata_mut() = metadata();
    (tensors, registry(specs))
}

/// The dtypes that ggml has not.
fn without_number() -> [DType; 7] {
    [DType::U8, DType::U16, DType::U32, DType::U64, DType::BOOL, DType::F8_E4M3, DType::F8_E5M2]
}

#[test]
fn all_that_gguf_has_comes_back_as_it_was() {
    let (mut tensors, registry) = everything();
    assert!(tensors.len() > 30);
    for alignment in [None, Some(8u32), Some(4096)] {
        if let Some(alignment) = alignment {
            tensors.metadata_mut().insert("general.alignment", Value::U32(alignment));
        }
        let (_directory, path) = place();
        save(&tensors, &path).unwrap();
        let checkpoint = Checkpoint::open(&path).unwrap();
        assert_eq!(checkpoint.format().to_string(), "GGUF version 3");
        for (name, stored) in checkpoint.tensors() {
            let begin = stored.byte_range().start;
            assert!(begin.is_multiple_of(alignment.unwrap_or(32) as usize), "{name} at {begin}");
        }
        let loaded = checkpoint.load(&registry).unwrap();
        assert_eq!(loaded, tensors);
        let first = std::fs::read(&path).unwrap();
        save(&loaded, &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first, "equal contents are equal bytes");

        // By way of the other format nothing is lost, either.
        let other = path.with_extension("safetensors");
        save(&loaded, &other).unwrap();
        save(&load(&other, &registry).unwrap(), &path).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), first);
    }
}

#[test]
fn types_that_are_not_known_are_carried_over() {
    let bytes: Vec<u8> = (0..64).collect();
    let read = GgufWriter::default()
        .tensor(GgufTensor::new("b", [32], 137, &bytes))
        .tensor(GgufTensor::new("a", [8], 0, &[1; 32]))
        .bytes();
    let (_directory, path) = file(&read);
    let checkpoint = Checkpoint::open(&path).unwrap();
    let mut writer = CheckpointWriter::new();
    checkpoint.tensors().for_each(|(name, stored)| writer.stored(name, stored));
    let (_directory, written) = place();
    writer.write(&written, |name| checkpoint.as_stored(name)).unwrap();
    let again = Checkpoint::open(&written).unwrap();
    for (name, stored) in checkpoint.tensors() {
        assert_eq!(again.require(name).unwrap().element(), stored.element());
        assert_eq!(again.as_stored(name).unwrap().bytes(), checkpoint.as_stored(name).unwrap().bytes());
    }
}

#[test]
fn what_gguf_has_no_place_for_is_refused() {
    let own = EncodingSpec::new("my.int4", 32, 18);
    let other_q4_0 = EncodingSpec::new("q4_0", 32, 20);
    let one = |name: &str, tensor: Tensor| -> TensorDict { [(name, tensor)].into_iter().collect() };
    let mut several = TensorDict::new();
    for name in ["a", "b", "c", "d", "e"] {
        several.insert(name, encoded(&own, [1, 32]));
    }
    several.insert("mask", Tensor::full([2], 1u8));
    let mut misaligned = one("w", Tensor::full([2], 1f32));
    misaligned.metadata_mut().insert("general.alignment", "64");
    let long = "n".repeat(64);
    for (tensors, problem) in [
        (
            several,
            "GGUF has no number for the type `my.int4`, which is that of `a`, `b`, `c`, `d`, `e`, nor for `u8`, which is that of \
             `mask`; write a .safetensors file, or give them another type",
        ),
        (
            one("w", encoded(&other_q4_0, [1, 32])),
            "GGUF has no number for the type `q4_0`, which is that of `w`; write a .safetensors file, or give them another type",
        ),
        (
            one("deep", Tensor::full([1, 1, 1, 1, 2], 1f32)),
            "tensor `deep`: it has 5 dimensions, GGUF allows 4; write a .safetensors file",
        ),
        (one(&long, Tensor::full([2], 1f32)), "its name has 64 bytes, GGUF allows 63; rename it"),
        (
            misaligned,
            "`general.alignment` is 64; a power of two as u32 was expected; remove `general.alignment`",
        ),
    ] {
        let (_directory, path) = place();
        let said = sentence(save(&tensors, &path), &path);
        assert!(said.starts_with("FILE was not written: ") && said.contains(problem), "{said}");
        assert!(!path.exists());
    }
}

#[test]
fn a_set_format_goes_before_a_name() {
    let mut writer = CheckpointWriter::new();
    writer.dense("x", DType::F32, [2]);
    let (_directory, path) = file(b"");
    for (extension, format) in [("gguf", "GGUF version 3"), ("safetensors", "safetensors")] {
        std::fs::remove_file(&path).unwrap();
        writer.set_format(Format::of_extension(extension).unwrap());
        writer.write(&path, |_| Ok::<_, CheckpointError>(Tensor::full([2], 1f32))).unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().format().to_string(), format);
    }
    assert_eq!(Format::of_extension("bin"), None);
}

#[test]
fn a_checkpoint_is_split_and_put_together_again() {
    let (tensors, registry) = everything();
    let mut writer = CheckpointWriter::new();
    for (name, tensor) in tensors.iter() {
        match tensor.encoding() {
            Some(spec) => writer.encoded(name, spec, tensor.shape()),
            None => writer.dense(name, tensor.dtype().unwrap(), tensor.shape()),
        }
    }
    writer.metadata_mut().clone_from(tensors.metadata());
    for (name, least) in [("model.gguf", 2), ("model.safetensors", 2), ("other.safetensors", 2), ("model", 2)]
    {
        for bytes in [1, 500, 2000, 1 << 40] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join(name);
            let give = |name: &str| tensors.require(name).cloned();
            writer.write_split(&path, bytes, give, || Ok::<_, CheckpointError>(())).unwrap();
            let paths = writer.split_paths(&path, bytes).unwrap();
            assert!(
                if bytes > 1 << 20 { paths == [path.clone()] } else { paths.len() >= least },
                "{paths:?}"
            );
            for (index, shard) in paths.iter().enumerate() {
                let checkpoint = Checkpoint::open(shard).unwrap();
                assert_eq!(checkpoint.files().len(), paths.len(), "{name} {index}");
                assert_eq!(checkpoint.load(&registry).unwrap(), tensors, "{name} {index}");
            }
            let is_indexed = paths.len() > 1 && !name.ends_with("gguf");
            let index = directory.path().join(format!("{name}.index.json"));
            assert_eq!(index.exists(), is_indexed);
            if is_indexed {
                assert_eq!(load(&index, &registry).unwrap(), tensors);
            }
        }
    }
}
