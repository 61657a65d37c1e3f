//! Checkpoints, NumPy arrays, and vectors of importance.

use std::io::Write;

use bitquilt::checkpoint::{self, Checkpoint, npy, npz};
use bitquilt::quantize::importance::ImportanceMatrix;
use bitquilt::{DType, Element, Tensor, TensorDict};
use flate2::Compression;
use flate2::write::DeflateEncoder;
use rawzip::{CompressionMethod, ZipArchiveWriter};

use crate::{Scratch, session};

fn weight(rows: usize, columns: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * columns).map(|index| (index as f32 * 0.7).sin()).collect();
    Tensor::new([rows, columns], values).expect("as many values as the shape has")
}

fn quantized(encoding: &str, tensor: &Tensor) -> Tensor {
    let encoding = session().registry().require_encoding(encoding).expect("a built-in encoding");
    encoding.quantize(tensor).expect("finite values").tensor
}

/// What `checkpoint::save` writes: dense and encoded tensors, scalars and empty ones, and metadata.
pub(super) fn safetensors(scratch: &Scratch) -> Vec<Vec<u8>> {
    let dicts: [TensorDict; 3] = [
        [
            ("blk.0.up", quantized("q4_0", &weight(2, 64))),
            ("blk.0.down", quantized("q6_k", &weight(1, 256))),
            ("norm", weight(1, 3)),
        ]
        .into_iter()
        .collect(),
        [
            ("bool", Tensor::from_bytes(DType::BOOL, [3], &[0, 1, 1]).expect("booleans")),
            ("i64", Tensor::full([2, 2], -1i64)),
            ("empty", Tensor::full([3, 0], 1f32)),
            ("scalar", Tensor::scalar(1.5f64)),
        ]
        .into_iter()
        .collect(),
        TensorDict::new(),
    ];
    let files = dicts.into_iter().map(|mut dict| {
        dict.metadata_mut().insert("author", "nobody \"\\\u{1f600}");
        let path = scratch.path("corpus.safetensors");
        checkpoint::save(&dict, &path).expect("a small file can be written");
        std::fs::read(&path).expect("it was written")
    });
    files.collect()
}

/// A checkpoint is opened, each tensor read and decoded, and all is saved and read again to the same.
pub(super) fn read(scratch: &Scratch, bytes: &[u8]) {
    let registry = session().registry();
    let path = scratch.file("input.safetensors", bytes);
    let file = match Checkpoint::open(&path) {
        Ok(file) => file,
        Err(error) => return say(&error),
    };
    for (name, stored) in file.tensors() {
        assert!(stored.byte_range().end <= bytes.len(), "`{name}` ends behind the file");
        if let Err(error) = file.as_stored(name) {
            say(&error);
        }
        match file.tensor(name, registry) {
            Ok(tensor) => {
                let sum: u64 = tensor.bytes().iter().map(|byte| u64::from(*byte)).sum();
                std::hint::black_box(sum);
                if let Err(error) = registry.to_f32(&tensor) {
                    say(&error);
                }
            }
            Err(error) => say(&error),
        }
    }
    let dict = match file.load(registry) {
        Ok(dict) => dict,
        Err(error) => return say(&error),
    };
    let copy = scratch.path("copy.safetensors");
    if let Err(error) = checkpoint::save(&dict, &copy) {
        return say(&error);
    }
    let again = checkpoint::load(&copy, registry).expect("what was saved can be read");
    assert!(dict.iter().eq(again.iter()), "what was saved is read as something else");
    // The same in the other format, which may have no place for some of it.
    let copy = scratch.path("copy.gguf");
    if let Err(error) = checkpoint::save(&dict, &copy) {
        return say(&error);
    }
    let again = checkpoint::load(&copy, registry).expect("what was saved can be read");
    // f16 and bf16 are dtypes there, and bytes of a type that is not known reach up to the next tensor.
    let is_same = |((name, tensor), (other, again)): ((&str, &Tensor), (&str, &Tensor))| {
        name == other && tensor.shape() == again.shape() && again.bytes().starts_with(tensor.bytes())
    };
    assert!(
        dict.iter().zip(again.iter()).all(is_same) && dict.len() == again.len(),
        "what was saved is read as something else"
    );
}

/// An error has a sentence that a person can read.
pub(super) fn say(error: &dyn std::error::Error) {
    let sentence = error.to_string();
    assert!(!sentence.is_empty(), "an error without a word");
}

/// Arrays of several dtypes and shapes.
pub(super) fn npy(scratch: &Scratch) -> Vec<Vec<u8>> {
    let tensors =
        [weight(2, 3), Tensor::scalar(1i64), Tensor::full([2, 0, 3], 1u8), Tensor::full([4], 1.5f64)];
    let files = tensors.into_iter().map(|tensor| {
        let path = scratch.path("corpus.npy");
        npy::write(&tensor, &path).expect("a small file can be written");
        std::fs::read(&path).expect("it was written")
    });
    files.collect()
}

/// An array is read, written, and read again to the same.
pub(super) fn read_npy(scratch: &Scratch, bytes: &[u8]) {
    let tensor = match npy::read(scratch.file("input.npy", bytes)) {
        Ok(tensor) => tensor,
        Err(error) => return say(&error),
    };
    let copy = scratch.path("copy.npy");
    npy::write(&tensor, &copy).expect("what was read can be written");
    assert!(npy::read(&copy).expect("what was written can be read") == tensor, "an array changed");
}

/// Archives of such arrays, as numpy writes them: stored, and deflated.
pub(super) fn npz(scratch: &Scratch) -> Vec<Vec<u8>> {
    let arrays = npy(scratch);
    let archive = |method: CompressionMethod| {
        let mut archive = ZipArchiveWriter::new(Vec::new());
        for (index, bytes) in arrays.iter().enumerate() {
            let name = format!("x{index}.npy");
            let file = archive.new_file(name.as_str()).compression_method(method);
            let (mut entry, _) = file.start().expect("there is room for an entry");
            match method {
                CompressionMethod::STORE => entry.write_all(bytes),
                _ => entry.write_all(&deflated(bytes)),
            }
            .expect("memory can be written");
            let descriptor = rawzip::DataDescriptorOutput::new(rawzip::crc32(bytes), bytes.len() as u64);
            entry.finish(descriptor).expect("there is room for an entry");
        }
        archive.finish().expect("there is room for the directory")
    };
    [CompressionMethod::STORE, CompressionMethod::DEFLATE].map(archive).to_vec()
}

fn deflated(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).expect("memory can be written")
}

/// Every array of an archive is read through.
pub(super) fn read_npz(scratch: &Scratch, bytes: &[u8]) {
    read(scratch, bytes);
    let arrays = match npz::read(scratch.file("input.npz", bytes)) {
        Ok(arrays) => arrays,
        Err(error) => return say(&error),
    };
    for (name, tensor) in arrays.iter() {
        let path = scratch.path("copy.npy");
        npy::write(tensor, &path).expect("what was read can be written");
        assert!(npy::read(&path).expect("what was written can be read") == *tensor, "`{name}` changed");
    }
}

/// A vector for each of two weights.
pub(super) fn importance(scratch: &Scratch) -> Vec<Vec<u8>> {
    let vector = |scale: f32| {
        Tensor::new([256], (0..256).map(|index| scale * (1 + index) as f32).collect::<Vec<f32>>())
            .expect("256 values")
    };
    let dict: TensorDict = [("a", vector(1.0)), ("b", vector(1e30))].into_iter().collect();
    let path = scratch.path("corpus.safetensors");
    checkpoint::save(&dict, &path).expect("a small file can be written");
    let vectors = std::fs::read(&path).expect("it was written");
    let matrix = scratch.path("corpus.gguf");
    let importance = ImportanceMatrix::read([&path]).expect("it was written");
    importance.write(&matrix).expect("a small file can be written");
    // The older format: two weights, and a text.
    let text = |text: &str| [&(text.len() as i32).to_le_bytes()[..], text.as_bytes()].concat();
    let numbers =
        |numbers: &[i32]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<u8>>();
    let entry =
        |name: &str| [text(name), numbers(&[3, 4]), [1f32; 4].map(f32::to_le_bytes).concat()].concat();
    let old = [numbers(&[2]), entry("a"), entry("b"), numbers(&[3]), text("text")].concat();
    vec![vectors, std::fs::read(&matrix).expect("it was written"), old]
}

/// Importance is read, and what was is the same when it was written; a weight is encoded with each vector there is: it is refused, or
/// decodes.
pub(super) fn read_importance(scratch: &Scratch, bytes: &[u8]) {
    let registry = session().registry();
    let path = scratch.file("input.safetensors", bytes);
    match ImportanceMatrix::read([&path]) {
        Ok(importance) => {
            let copy = scratch.path("copy.safetensors");
            match importance.write(&copy) {
                Ok(()) => {
                    let read = ImportanceMatrix::read([&copy]).expect("what was written can be read");
                    assert!(read.len() == importance.len(), "weights were lost");
                }
                Err(error) => say(&error),
            }
        }
        Err(error) => say(&error),
    }
    let dict = match checkpoint::load(&path, registry) {
        Ok(dict) => dict,
        Err(error) => return say(&error),
    };
    let weight = weight(1, 256);
    let vectors = dict.iter().filter(|(_, tensor)| tensor.element() == Element::Dense(DType::F32)).take(2);
    for (name, tensor) in vectors {
        let vector = dict.values::<f32>(name).expect("f32 values");
        for encoding in ["q4_k", "iq3_s", "q4_0"] {
            let encoding = registry.require_encoding(encoding).expect("a built-in encoding");
            match encoding.quantize_with_importance(&weight, vector) {
                Ok(encoded) => {
                    drop(encoding.dequantize(&encoded.tensor).expect("what was encoded can be decoded"))
                }
                Err(error) => say(&error),
            }
        }
        std::hint::black_box(tensor);
    }
}
