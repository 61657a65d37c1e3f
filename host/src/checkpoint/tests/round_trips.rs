//! Round trips through safetensors.

use ::safetensors::tensor::{Dtype, SafeTensors, TensorView};
use bitquilt_plugin_api::DType;

use super::*;

/// A file ends where its header says.
pub(in crate::checkpoint) fn sample() -> Sample {
    let mut tensors = TensorDict::new();
    tensors.insert("w", encoded(&q4_0(), [1, 64]));
    tensors.insert("x", Tensor::new([1, 2, 2], [1i32, 2, 3, 4]).unwrap());
    tensors.metadata_mut().insert("key", "value");
    let (_directory, path) = file(b"");
    save(&tensors, &path).unwrap();
    Sample { bytes: std::fs::read(&path).unwrap(), may_go_on: false }
}

#[test]
fn every_dtype_and_an_encoding_come_back_as_they_were() {
    let mut tensors = TensorDict::new();
    for dtype in DType::all() {
        let bytes = vec![1; 6 * dtype.size().unwrap()];
        tensors.insert(dtype.to_string(), Tensor::from_bytes(dtype, [2, 1, 3], &bytes).unwrap());
    }
    tensors.insert("scalar", Tensor::scalar(7i64));
    tensors.insert("nothing", Tensor::full([3, 0, 2], 1.0f32));
    tensors.insert("blocks", encoded(&q4_0(), [3, 64]));
    tensors.insert("no blocks", encoded(&q4_0(), [0, 64]));
    tensors.insert("a \"strange\"\nname", Tensor::scalar(1u8));
    tensors.metadata_mut().insert("bitquilt.graph", "{}");
    tensors.metadata_mut().insert("author", "é");

    let (_directory, path) = file(b"");
    save(&tensors, &path).unwrap();
    let registry = registry([q4_0()]);
    let loaded = load(&path, &registry).unwrap();
    assert_eq!(loaded, tensors);
    for (name, tensor) in loaded.iter() {
        let alignment = tensor.tensor_element().alignment();
        assert!(tensor.bytes().as_ptr().addr().is_multiple_of(alignment), "{name}");
    }

    let first = std::fs::read(&path).unwrap();
    save(&loaded, &path).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), first, "equal contents are equal bytes");
    assert_eq!(loaded, tensors, "what is mapped from the replaced file stays");
}

#[test]
fn the_safetensors_crate_reads_what_is_saved() {
    let tensors: TensorDict =
        [("x", Tensor::new([1, 2, 2], [1i32, 2, 3, 4]).unwrap()), ("w", encoded(&q4_0(), [2, 64]))]
            .into_iter()
            .collect();
    let (_directory, path) = file(b"");
    save(&tensors, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    let read = SafeTensors::deserialize(&bytes).unwrap();
    assert_eq!(read.len(), 2);
    let (x, w) = (read.tensor("x").unwrap(), read.tensor("w").unwrap());
    assert_eq!(
        (x.dtype(), x.shape(), x.data()),
        (Dtype::I32, &[1, 2, 2][..], tensors.get("x").unwrap().bytes())
    );
    assert_eq!(
        (w.dtype(), w.shape(), w.data()),
        (Dtype::U8, &[2, 36][..], tensors.get("w").unwrap().bytes())
    );
    let (_, header) = SafeTensors::read_metadata(&bytes).unwrap();
    let metadata = header.metadata().as_ref().unwrap();
    assert_eq!(metadata.keys().collect::<Vec<_>>(), ["bitquilt.encodings"]);
    assert_eq!(
        metadata["bitquilt.encodings"],
        r#"{"format":1,"tensors":{"w":{"encoding":"q4_0","version":1,"block_len":32,"block_bytes":18,"shape":[2,64]}}}"#
    );
}

#[test]
fn what_the_safetensors_crate_saves_is_read() {
    let values: Vec<u8> = [1.5f32, -2.0, 0.25].iter().flat_map(|value| value.to_le_bytes()).collect();
    let odd = TensorView::new(Dtype::U8, vec![3], &[1, 2, 3]).unwrap();
    let floats = TensorView::new(Dtype::F32, vec![3], &values).unwrap();
    let metadata = [("format".to_owned(), "pt".to_owned())].into();
    let bytes = ::safetensors::serialize([("floats", floats), ("odd", odd)], Some(metadata)).unwrap();
    let (_directory, path) = file(&bytes);
    let loaded = load(&path, &Registry::default()).unwrap();
    assert_eq!(loaded.values::<f32>("floats").unwrap(), [1.5, -2.0, 0.25]);
    assert_eq!(loaded.values::<u8>("odd").unwrap(), [1, 2, 3]);
    assert_eq!(loaded.metadata().text("format"), Some("pt"));
}

#[test]
fn values_that_lie_unaligned_in_a_foreign_file_are_read() {
    let header = br#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"F32","shape":[2],"data_offsets":[1,9]}}"#;
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header);
    bytes.push(9);
    bytes.extend([0.5f32, 3.0].iter().flat_map(|value| value.to_le_bytes()));
    let (_directory, path) = file(&bytes);
    let loaded = load(&path, &Registry::default()).unwrap();
    assert_eq!(loaded.values::<f32>("b").unwrap(), [0.5, 3.0]);
}

#[test]
fn a_file_is_looked_into_without_its_encodings() {
    let (_directory, path) = file(b"");
    save(&[("w", encoded(&q4_0(), [2, 64]))].into_iter().collect(), &path).unwrap();
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(checkpoint.format(), Format::new("safetensors", None));
    let (name, stored) = checkpoint.tensors().next().unwrap();
    assert_eq!((name, stored.shape(), stored.byte_range().len()), ("w", &[2, 64][..], 72));
    assert_eq!(stored.encoding(), Some(&q4_0()));
    let error = sentence(checkpoint.tensor("W1", &Registry::default()), &path);
    assert_eq!(error, "there is no tensor `W1`; none of the 1 has a similar name");
}

#[test]
fn what_the_format_cannot_hold_is_not_saved() {
    let (_directory, path) = file(b"old");
    let scalar = || Tensor::scalar(1.0f32);
    let mut reserved_key = TensorDict::new();
    reserved_key.metadata_mut().insert("bitquilt.encodings", "");
    let deep = Tensor::full([1; 33], 1.0f32);
    for (tensors, expected) in [
        (
            [("__metadata__", scalar())].into_iter().collect(),
            "FILE was not written: a tensor cannot have the name `__metadata__`; rename it",
        ),
        (
            reserved_key,
            "FILE was not written: the metadata `bitquilt.encodings` is written by the library; remove it",
        ),
        (
            [("deep", deep)].into_iter().collect(),
            "FILE was not written: the tensor `deep` has 33 dimensions, at most 32 are allowed",
        ),
    ] {
        assert_eq!(sentence(save(&tensors, &path), &path), expected);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }
}
