//! NumPy's files.

use bitquilt_plugin_api::DType;

use super::*;

/// A file of version 1 with this header and as many bytes of data.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((header.len() as u16).to_le_bytes());
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 1);
    bytes
}

pub(super) fn sample() -> Sample {
    let bytes = with_header("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 1), }", 8);
    Sample { bytes, may_go_on: false }
}

#[test]
fn arrays_come_back_as_they_were() {
    let (_directory, path) = file(b"");
    for shape in [vec![], vec![0], vec![7], vec![2, 3], vec![1; 32]] {
        for dtype in
            DType::all().filter(|dtype| ![DType::BF16, DType::F8_E4M3, DType::F8_E5M2].contains(dtype))
        {
            let bytes = vec![1; shape.iter().product::<usize>() * dtype.size().unwrap()];
            let tensor = Tensor::from_bytes(dtype, shape.as_slice(), &bytes).unwrap();
            npy::write(&tensor, &path).unwrap();
            assert_eq!(npy::read(&path).unwrap(), tensor);
            let file = std::fs::read(&path).unwrap();
            assert!((file.len() - bytes.len()).is_multiple_of(64), "NumPy aligns the values");
        }
    }
}

#[test]
fn what_is_written_is_what_numpy_writes() {
    let (_directory, path) = file(b"");
    npy::write(&Tensor::new([2], [1u16, 2]).unwrap(), &path).unwrap();
    let header = format!("{:<117}\n", "{'descr': '<u2', 'fortran_order': False, 'shape': (2,), }");
    let expected = [b"\x93NUMPY\x01\x00\x76\x00", header.as_bytes(), &[1, 0, 2, 0]].concat();
    assert_eq!(std::fs::read(&path).unwrap(), expected);
}

#[test]
fn all_versions_and_spellings_are_read() {
    let header = r#" { "shape" :( 3 ,),"fortran_order":True , 'descr':'|u1'}  "#;
    for version in 1..=3u8 {
        let len = header.len() as u32;
        let len = if version == 1 { (len as u16).to_le_bytes().to_vec() } else { len.to_le_bytes().to_vec() };
        let bytes = [b"\x93NUMPY", &[version, 0][..], &len, header.as_bytes(), &[5, 6, 7]].concat();
        let (_directory, path) = file(&bytes);
        assert_eq!(npy::read(&path).unwrap(), Tensor::new([3], [5u8, 6, 7]).unwrap());
    }
}

#[test]
fn malformed_files_are_refused_with_a_sentence() {
    let header = |descr: &str, order: &str, shape: &str| {
        format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}")
    };
    let supported = "f32, f64, f16, bf16, i8, i16, i32, i64, u8, u16, u32, u64, bool, f8_e4m3, f8_e5m2";
    let max = usize::MAX;
    for (bytes, expected) in [
        (b"".to_vec(), r#"FILE: this is no .npy file: it does not begin with "\x93NUMPY""#.to_owned()),
        (
            b"\x93NUMPY\x04\x00".to_vec(),
            "FILE: the file has .npy version 4, versions 1 to 3 are read".to_owned(),
        ),
        (
            b"\x93NUMPY\x02\x00\xff\xff\xff\xff".to_vec(),
            "FILE: the header is longer than the file, which has 12 bytes".to_owned(),
        ),
        (
            with_header(&header("'<f4'", "True", "(2, 1)"), 8),
            "FILE: the array is in Fortran order; save it as numpy.ascontiguousarray(array)".to_owned(),
        ),
        (
            with_header(&header("'>f4'", "False", "(2,)"), 8),
            format!(
                "FILE: it is '>f4', which is not supported; convert it to one of {supported}, or to an encoding; big-endian values \
                 are not supported"
            ),
        ),
        (
            with_header(&header("[('x', '<f4')]", "False", "(2,)"), 8),
            "FILE: the array is one of structures; save each field by itself".to_owned(),
        ),
        (
            with_header(&header("'<f4'", "False", "(3,)"), 8),
            "FILE: f32 [3] needs 12 bytes, 8 were given".to_owned(),
        ),
        (
            with_header(&header("'<f4'", "False", &format!("({max}, {max})")), 8),
            format!("FILE: a tensor of shape [{max}, {max}] has more bytes than this machine can address"),
        ),
        (
            with_header(&header("'<f4'", "False", "(99999999999999999999,)"), 8),
            "FILE: the header is malformed: a dimension was expected before \"99999999999999999999,), }\""
                .to_owned(),
        ),
        (
            with_header(&header("'<f4'", "False", &format!("({})", "1, ".repeat(33))), 4),
            "FILE: the array has more than 32 dimensions".to_owned(),
        ),
        (with_header("{'descr': '<f4'}", 4), "FILE: the header has no 'shape'".to_owned()),
        (
            with_header("{'descr': '<f4', 'descr': '<f4'}", 4),
            "FILE: the header has the key 'descr' twice".to_owned(),
        ),
        (with_header("{'order': 1}", 4), "FILE: the header has an unknown key 'order'".to_owned()),
        (
            with_header("{'descr' '<f4'}", 4),
            "FILE: the header is malformed: `:` was expected before \"'<f4'}\"".to_owned(),
        ),
    ] {
        let (_directory, path) = file(&bytes);
        assert_eq!(sentence(npy::read(&path), &path), expected);
    }
}

#[test]
fn what_numpy_has_not_is_not_written() {
    let (_directory, path) = file(b"old");
    let bf16 = Tensor::from_bytes(DType::BF16, [1], &[0, 0]).unwrap();
    for (tensor, expected) in [
        (bf16, "FILE was not written: NumPy has no dtype for bf16; cast it to f32"),
        (
            encoded(&q4_0(), [1, 32]),
            "FILE was not written: NumPy has no dtype for q4_0; dequantize it to f32",
        ),
    ] {
        assert_eq!(sentence(npy::write(&tensor, &path), &path), expected);
        assert_eq!(std::fs::read(&path).unwrap(), b"old");
    }
}
