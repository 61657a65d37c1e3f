//! Tensors as they are made, compared and refused.

use super::*;

#[test]
fn a_tensor_gives_back_what_it_was_made_of() {
    let tensor = Tensor::new([1, 2, 2], [1i32, 2, 3, 4]).unwrap();
    assert_eq!(tensor.values::<i32>().unwrap(), [1, 2, 3, 4]);
    assert_eq!(tensor.to_string_type(), "i32 [1, 2, 2]");
    assert_eq!(Tensor::full([10, 5], -1.23f32).values::<f32>().unwrap(), [-1.23f32; 50]);
    assert_eq!(Tensor::scalar(7u8).shape(), [0usize; 0]);
    for tensor in [Tensor::full([3], 1u8), Tensor::full([0], 1.0f64)] {
        assert!(tensor.bytes().as_ptr().addr().is_multiple_of(64));
    }
}

#[test]
fn what_is_both_dtype_and_encoding_is_taken_as_either_in_the_same_memory() {
    let dense = Tensor::full([2, 3], half::f16::ONE);
    let encoded = dense.as_encoded(&EncodingSpec::new("f16", 1, 2)).unwrap();
    assert_eq!(encoded.encoding().unwrap().name, "f16");
    assert_eq!((encoded.shape(), encoded.bytes().as_ptr()), (dense.shape(), dense.bytes().as_ptr()));
    for other in [("bf16", 1, 2), ("f16", 2, 4), ("f16", 1, 4)] {
        assert!(dense.as_encoded(&EncodingSpec::new(other.0, other.1, other.2)).is_none(), "{other:?}");
    }
    assert!(encoded.as_encoded(&EncodingSpec::new("f16", 1, 2)).is_none());
}

#[test]
fn bytes_that_do_not_fit_are_refused() {
    let spec = EncodingSpec::new("q", 32, 18);
    let wrong = Tensor::from_encoded(&spec, [4, 64], &[0; 143]).unwrap_err();
    assert_eq!(wrong.to_string(), "q [4, 64] needs 144 bytes, 143 were given");
    let wrong = Tensor::from_encoded(&spec, [4, 33], &[0; 144]).unwrap_err();
    assert!(wrong.to_string().contains("33 values long, no multiple of the 32"));
    assert!(matches!(Tensor::new([2, 2], [1f32; 3]), Err(TensorError::ByteCount { .. })));
    assert!(matches!(
        Tensor::from_bytes(DType::BOOL, [2], &[1, 2]),
        Err(TensorError::NotBool { index: 1, .. })
    ));
    let huge = [usize::MAX, usize::MAX, 0];
    assert!(matches!(Tensor::from_bytes(DType::U8, huge, &[]), Err(TensorError::TooLarge { .. })));
}

#[test]
fn memory_that_cannot_be_had_is_an_error() {
    let error = Tensor::try_full([1 << 30, 1 << 20], 1f32).map(drop).unwrap_err().to_string();
    let bytes = 1u64 << 52;
    assert_eq!(
        error,
        format!("f32 [1073741824, 1048576] needs {bytes} bytes of memory, which cannot be had here")
    );
    let error = Tensor::try_full([usize::MAX, 2], 1f32).map(drop).unwrap_err().to_string();
    assert!(error.ends_with("has more bytes than this machine can address"), "{error}");
}

#[test]
fn a_mapped_tensor_is_the_same_in_memory_of_its_own() {
    let bytes: Vec<u8> = (0..100_000u32).map(|index| (index % 251) as u8).collect();
    let mut file = tempfile::tempfile().unwrap();
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    // SAFETY: nobody else has the file.
    let file = Arc::new(unsafe { Mmap::map(&file) }.unwrap());
    let mapped = |range: Range<usize>| {
        let (element, shape) = (TensorElement::Dense(DType::U8), vec![range.len()]);
        Tensor::from_mapped(element, shape, &file, range).unwrap()
    };
    let (mut small, mut large) = (mapped(5000..9000), mapped(9000..100_000));
    small.detach_small();
    large.detach_small();
    assert!(matches!(small.storage, Storage::Owned(_)) && matches!(large.storage, Storage::Mapped(..)));
    assert_eq!((small.bytes(), large.bytes()), (&bytes[5000..9000], &bytes[9000..]));
}

#[test]
fn a_wrong_dtype_is_an_error() {
    let error = Tensor::full([2], 1.0f32).values::<i32>().unwrap_err();
    assert_eq!(error.to_string(), "the tensor holds f32 values, i32 were asked for");
}

impl Tensor {
    fn to_string_type(&self) -> String {
        self.tensor_type().to_string()
    }
}
