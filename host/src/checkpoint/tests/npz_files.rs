//! Archives of NumPy's arrays.

use bitquilt_plugin_api::DType;

use super::*;

fn place() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("arrays.npz");
    (directory, path)
}

pub(in crate::checkpoint) fn sample() -> Sample {
    let mut tensors = TensorDict::new();
    tensors.insert("w", Tensor::full([2, 3], 0.5f32));
    tensors.insert("x", Tensor::new([1, 2, 2], [1i32, 2, 3, 4]).unwrap());
    let (_directory, path) = place();
    save(&tensors, &path).unwrap();
    Sample { bytes: std::fs::read(&path).unwrap(), may_go_on: true }
}

#[test]
fn arrays_come_back_as_they_were() {
    let mut tensors = TensorDict::new();
    let without = [DType::BF16, DType::F8_E4M3, DType::F8_E5M2];
    for dtype in DType::all().filter(|dtype| !without.contains(dtype)) {
        let bytes = vec![1; 6 * dtype.size().unwrap()];
        tensors.insert(format!("a/{dtype}"), Tensor::from_bytes(dtype, [2, 1, 3], &bytes).unwrap());
    }
    tensors.insert("scalar", Tensor::scalar(7i64));
    tensors.insert("nothing", Tensor::full([3, 0, 2], 1.0f32));
    tensors.insert("\"é\".npy", Tensor::scalar(1u8));
    let (_directory, path) = place();
    save(&tensors, &path).unwrap();
    let loaded = load(&path, &Registry::default()).unwrap();
    assert_eq!(loaded, tensors);
    assert_eq!(Checkpoint::open(&path).unwrap().format().to_string(), "npz");
    let first = std::fs::read(&path).unwrap();
    save(&loaded, &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first, "equal contents are equal bytes");
}

#[test]
fn what_an_archive_has_no_place_for_is_refused() {
    let one = |tensor: Tensor| -> TensorDict { [("w", tensor)].into_iter().collect() };
    let mut described = one(Tensor::scalar(1f32));
    described.metadata_mut().insert("author", "nobody");
    for (tensors, problem) in [
        (one(encoded(&q4_0(), [1, 32])), "tensor `w`: NumPy has no dtype for q4_0; dequantize it to f32"),
        (
            one(Tensor::from_bytes(DType::BF16, [1], &[0, 0]).unwrap()),
            "tensor `w`: NumPy has no dtype for bf16; cast it to f32",
        ),
        (
            described,
            "an .npz file has no place for metadata, of which there are 1 entries, such as `author`; write a \
             .safetensors file, or leave it out (`bitquilt convert --without-metadata`)",
        ),
    ] {
        let (_directory, path) = place();
        assert_eq!(sentence(save(&tensors, &path), &path), format!("FILE was not written: {problem}"));
    }
}

#[test]
fn other_archives_are_refused() {
    // `numpy.savez_compressed`, and an archive of a text, by Python's zipfile.
    let member = |name: &str, method: u16, data: &[u8]| {
        let mut file = Vec::new();
        let crc = rawzip::crc32(data);
        let fields = |file: &mut Vec<u8>| {
            file.extend([20, 0, 0, 0]);
            file.extend(method.to_le_bytes());
            file.extend([0; 4]);
            file.extend(crc.to_le_bytes());
            file.extend([(data.len() as u32).to_le_bytes(); 2].concat());
            file.extend((name.len() as u16).to_le_bytes());
        };
        file.extend(b"PK\x03\x04");
        fields(&mut file);
        file.extend([0; 2]);
        file.extend(name.as_bytes());
        file.extend(data);
        let directory = file.len() as u32;
        file.extend(b"PK\x01\x02\x14\0");
        fields(&mut file);
        file.extend([0; 12]);
        file.extend(0u32.to_le_bytes());
        file.extend(name.as_bytes());
        let size = file.len() as u32 - directory;
        file.extend(b"PK\x05\x06");
        file.extend([0, 0, 0, 0, 1, 0, 1, 0]);
        file.extend(size.to_le_bytes());
        file.extend(directory.to_le_bytes());
        file.extend([0, 0]);
        file
    };
    for (bytes, problem) in [
        (
            member("w.npy", 8, b"x"),
            "the array `w`: it is compressed, and cannot be used where it lies; save it by numpy.savez",
        ),
        (
            member("a/data.pkl", 0, b"x"),
            "`a/data.pkl` in it is no .npy file; of PyTorch's files save the tensors as safetensors",
        ),
        (
            member("w.npy", 0, b"x"),
            "the array `w`: this is no .npy file: it does not begin with \"\\x93NUMPY\"",
        ),
        (b"PK\x03\x04".to_vec(), "this is no .npz file: its ZIP archive is malformed: "),
    ] {
        let (_directory, path) = file(&bytes);
        let said = sentence(Checkpoint::open(&path), &path);
        assert!(said.starts_with(&format!("FILE: {problem}")), "{said}");
    }
}
