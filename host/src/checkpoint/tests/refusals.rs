//! What is refused of safetensors files, with the sentence for each.

use super::*;

/// A file with this header and as many bytes of data.
fn with_header(header: &str, data: usize) -> Vec<u8> {
    let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
    bytes.extend_from_slice(header.as_bytes());
    bytes.resize(bytes.len() + data, 0);
    bytes
}

/// A file with one tensor `w` of u8 [2, 36] and this metadata of encodings.
fn with_records(records: &str) -> Vec<u8> {
    let records = serde_json::to_string(records).unwrap();
    with_header(
        &format!(
            r#"{{"__metadata__":{{"bitquilt.encodings":{records}}},"w":{{"dtype":"U8","shape":[2,36],"data_offsets":[0,72]}}}}"#
        ),
        72,
    )
}

fn record(encoding: &str, layout: [usize; 3], shape: &str) -> Vec<u8> {
    let [version, block_len, block_bytes] = layout;
    with_records(&format!(
        r#"{{"format":1,"tensors":{{"w":{{"encoding":"{encoding}","version":{version},"block_len":{block_len},"block_bytes":{block_bytes},"shape":{shape}}}}}}}"#
    ))
}

#[test]
fn malformed_files_are_refused_with_a_sentence() {
    let f32s = |shape: &str, begin: usize, end: usize| {
        format!(r#"{{"dtype":"F32","shape":{shape},"data_offsets":[{begin},{end}]}}"#)
    };
    let two = |a: String, b: String| format!(r#"{{"a":{a},"b":{b}}}"#);
    let ones = vec!["1"; 33].join(",");
    let huge = u64::MAX.to_string();
    let empty = format!("FILE {}: it is empty", neither());
    let program = format!(r#"FILE {}: it begins with "\x7fELF a progr""#, neither());
    let cases = [
        (b"".to_vec(), empty.as_str()),
        (b"\x7fELF a program".to_vec(), &program),
        (
            [&u64::MAX.to_le_bytes()[..], b"{}"].concat(),
            "FILE: the header has 18446744073709551615 bytes, at most 100000000 are allowed",
        ),
        (
            [&99u64.to_le_bytes()[..], b"{}"].concat(),
            "FILE: the header has 99 bytes, of which the file has 2; it was cut, or is damaged",
        ),
        (with_header("{}", 4), "FILE: the tensors end at byte 0 of the data, of which the file has 4"),
        (
            with_header("{\"a\":1}", 0),
            "FILE: the header is malformed: tensor `a`: invalid type: integer `1`, expected struct TensorInfo at line 1 column 6",
        ),
        (
            with_header(&format!(r#"{{"a":{{"deep":{}"#, "[".repeat(1 << 20)), 0),
            "FILE: the header is malformed: tensor `a`: EOF while parsing a list at line 1 column 1048589",
        ),
        (
            with_header(&format!(r#"{{"a":{{"dtype":{}"#, "[".repeat(1 << 20)), 0),
            "FILE: the header is malformed: tensor `a`: invalid type: sequence, expected a string at line 1 column 14",
        ),
        (
            with_header(&two(f32s("[1]", 0, 4), f32s("[1]", 0, 4)).replace('b', "a"), 4),
            "FILE: the header is malformed: `a` is there twice at line 1 column 107",
        ),
        (
            with_header(r#"{"__metadata__":{"k":"1","k":"2"}}"#, 0),
            "FILE: the header is malformed: `k` is there twice at line 1 column 33",
        ),
        (
            with_header(&two(f32s("[1]", 0, 4), f32s("[1]", 2, 6)), 8),
            "FILE, tensor `b`: it begins at byte 2 of the data, 4 was expected: tensors follow each other",
        ),
        (
            with_header(&two(f32s("[1]", 0, 4), f32s("[1]", 8, 12)), 12),
            "FILE, tensor `b`: it begins at byte 8 of the data, 4 was expected: tensors follow each other",
        ),
        (
            with_header(&format!(r#"{{"a":{}}}"#, f32s("[1]", 4, 0)), 4),
            "FILE, tensor `a`: it begins at byte 4 of the data and ends at 0, before that",
        ),
        (
            with_header(&format!(r#"{{"a":{}}}"#, f32s("[3]", 0, 12)), 8),
            "FILE, tensor `a`: it ends at byte 12 of the data, of which the file has 8; the file was cut, or is damaged",
        ),
        (
            with_header(&format!(r#"{{"a":{}}}"#, f32s("[3]", 0, 8)), 8),
            "FILE, tensor `a`: f32 [3] needs 12 bytes, 8 were given",
        ),
        (
            with_header(&format!(r#"{{"a":{}}}"#, f32s(&format!("[{huge},{huge}]"), 0, 8)), 8),
            "FILE, tensor `a`: a tensor of shape [18446744073709551615, 18446744073709551615] has more bytes than this \
             machine can address",
        ),
        (
            with_header(&format!(r#"{{"a":{}}}"#, f32s(&format!("[{ones}]"), 0, 4)), 4),
            "FILE, tensor `a`: it has 33 dimensions, at most 32 are allowed",
        ),
        (
            with_header(r#"{"a":{"dtype":"F4","shape":[2,3],"data_offsets":[0,4]}}"#, 4),
            "FILE, tensor `a`: it is F4 [2, 3], of 4 bits a value, and has 4 bytes",
        ),
        (
            with_header(r#"{"a":{"dtype":"F\n8","shape":[1],"data_offsets":[0,1]}}"#, 1),
            "FILE, tensor `a`: it is `F\\n8`, which is not supported; convert it to one of f32, f64, f16, bf16, i8, i16, i32, \
             i64, u8, u16, u32, u64, bool, f8_e4m3, f8_e5m2, or to an encoding",
        ),
    ];
    for (bytes, expected) in cases {
        let (_directory, path) = file(&bytes);
        assert_eq!(sentence(Checkpoint::open(&path), &path), expected);
    }
}

#[test]
fn names_that_are_no_text_are_refused() {
    let mut bytes = with_header(r#"{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}"#, 1);
    bytes[10] = 0xff;
    let (_directory, path) = file(&bytes);
    let expected = "FILE: the header is malformed: invalid unicode code point at line 1 column 3";
    assert_eq!(sentence(Checkpoint::open(&path), &path), expected);
}

#[test]
fn long_names_are_cut_in_messages() {
    let header =
        format!(r#"{{"{}":{{"dtype":"U8","shape":[1],"data_offsets":[5,6]}}}}"#, "x".repeat(1 << 20));
    let (_directory, path) = file(&with_header(&header, 6));
    let sentence = sentence(Checkpoint::open(&path), &path);
    assert!(
        sentence.len() < 300 && sentence.contains("xxx… (1048576 characters)`: it begins at byte 5"),
        "{sentence}"
    );
}

#[test]
fn records_that_do_not_fit_are_refused_with_a_sentence() {
    let cases = [
        (with_records("?"), "FILE: the metadata `bitquilt.encodings`: expected value at line 1 column 1"),
        (
            with_records(r#"{"format":2,"anything":{}}"#),
            "FILE: the metadata `bitquilt.encodings` has format 2, 1 is read; the file may be of a newer bitquilt",
        ),
        (
            with_records(
                r#"{"format":1,"tensors":{"v":{"encoding":"q4_0","version":1,"block_len":32,"block_bytes":18,"shape":[2,64]}}}"#,
            ),
            "FILE: the metadata `bitquilt.encodings` has a tensor `v` that the file has not",
        ),
        (
            record("", [1, 32, 18], "[2,64]"),
            "FILE: the metadata `bitquilt.encodings` has for tensor `w` an encoding ``, which no encoding can have as its name",
        ),
        (
            record("q4_0", [1, 32, 18], "[2,96]"),
            "FILE, tensor `w`: it is recorded as `q4_0` [2, 96], for which the file must have u8 [2, 54]; it has u8 [2, 36]",
        ),
        (
            record("q4_0", [1, 32, 18], "[2,63]"),
            "FILE, tensor `w`: the rows of [2, 63] are 63 values long, no multiple of the 32 values in a block of `q4_0`",
        ),
        (
            record("q4_0", [1, 0, 18], "[2,64]"),
            "FILE, tensor `w`: the rows of [2, 64] are 64 values long, no multiple of the 0 values in a block of `q4_0`",
        ),
        (
            record("q4_0", [1, 1, usize::MAX], "[2,64]"),
            "FILE, tensor `w`: a tensor of shape [2, 64] has more bytes than this machine can address",
        ),
    ];
    for (bytes, expected) in cases {
        let (_directory, path) = file(&bytes);
        assert_eq!(sentence(Checkpoint::open(&path), &path), expected);
    }
}

#[test]
fn encodings_that_the_registry_reads_otherwise_are_refused_with_a_sentence() {
    let registry = registry([q4_0(), EncodingSpec::new("acme.int3", 64, 26)]);
    let cases = [
        (
            record("q4_1", [1, 32, 18], "[2,64]"),
            "FILE, tensor `w`: no encoding `q4_1` is registered; did you mean `q4_0`? there are acme.int3, q4_0; add the plugin that has it",
        ),
        (
            record("q4_0", [2, 32, 18], "[2,64]"),
            "FILE, tensor `w`: its blocks are of `q4_0`, version 2 with 32 values in 18 bytes; registered is version 1 with 32 \
             values in 18 bytes: use the plugin it was saved with, or quantize the weight anew",
        ),
        (
            record("q4_0", [1, 64, 36], "[2,64]"),
            "FILE, tensor `w`: its blocks are of `q4_0`, version 1 with 64 values in 36 bytes; registered is version 1 with 32 \
             values in 18 bytes: use the plugin it was saved with, or quantize the weight anew",
        ),
        (record("q4_0", [1, 32, 18], "[2,64]"), "no error"),
    ];
    for (bytes, expected) in cases {
        let (_directory, path) = file(&bytes);
        assert_eq!(sentence(load(&path, &registry), &path), expected);
    }
}

#[test]
fn booleans_are_zero_or_one() {
    let mut bytes = with_header(r#"{"a":{"dtype":"BOOL","shape":[3],"data_offsets":[0,3]}}"#, 3);
    *bytes.last_mut().unwrap() = 2;
    let (_directory, path) = file(&bytes);
    let expected = "FILE, tensor `a`: byte 2 of a bool tensor is 2; only 0 and 1 are booleans";
    let checkpoint = Checkpoint::open(&path).unwrap();
    assert_eq!(sentence(checkpoint.tensor("a", &Registry::default()), &path), expected);
}
