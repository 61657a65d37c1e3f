//! `bitquilt convert`, and which files are not written over.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod layers;

use std::fs;

use bitquilt::Tensor;
use bitquilt_tests::gguf::{GgufFile, GgufTensor};
use bitquilt_tests::values;

#[test]
fn conversion_is_lossless_or_refused() {
    let here = layers::workplace();
    here.succeeds(&["convert", "model", "a.gguf"]);
    here.succeeds(&["convert", "a.gguf", "b.safetensors"]);
    here.succeeds(&["convert", "b.safetensors", "c.gguf"]);
    assert_eq!(here.load("a.gguf"), here.load("model"));
    assert_eq!(here.read("b.safetensors"), here.read("model"));
    assert_eq!(here.read("a.gguf"), here.read("c.gguf"));

    // Split, put together again, and split otherwise.
    for (input, output, opened) in [
        ("a.gguf", "s.gguf", "s-00001-of-00005.gguf"),
        ("s-00003-of-00005.gguf", "t.safetensors", "t.safetensors.index.json"),
        ("t.safetensors.index.json", "whole.gguf", "whole.gguf"),
    ] {
        let split: &[&str] = if output.starts_with("whole") { &[] } else { &["--split", "3k"] };
        here.succeeds(&[&["convert", input, output], split].concat());
        assert_eq!(here.load(opened), here.load("model"), "{opened}");
    }
    assert_eq!(here.read("whole.gguf"), here.read("a.gguf"));
    let said = here.fails(&["convert", "s-00001-of-00005.gguf", "s.gguf", "--split", "3k"]);
    assert_eq!(
        said,
        "s-00001-of-00005.gguf was not written: it is one of the files that are read; name another"
    );
}

#[test]
fn conversion_decodes_and_casts() {
    let here = layers::workplace();
    let model = here.load("model");
    for dtype in ["f32", "f16", "bf16"] {
        here.succeeds(&["convert", "model", "out", "--to", dtype]);
        let out = here.load("out");
        for (name, tensor) in out.iter() {
            let before = model.require(name).unwrap();
            let expected = match (name, dtype) {
                ("ids", _) => "i64",
                ("norm" | "kernel", _) => "f32",
                _ => dtype,
            };
            assert_eq!(tensor.element().to_string(), expected, "{name} {dtype}");
            if name != "ids" {
                let (before, after) =
                    (here.registry().to_f32(before).unwrap(), here.registry().to_f32(tensor).unwrap());
                let (before, after) = (before.values::<f32>().unwrap(), after.values::<f32>().unwrap());
                let near =
                    |(a, b): (&f32, &f32)| (a - b).abs() <= a.abs() / 250.0 * f32::from(dtype != "f32");
                assert!(before.iter().zip(after).all(near), "{name} {dtype}");
            }
        }
    }
    here.save("large", [("w", Tensor::full([2, 256], 1e9f32))]);
    let said = here.fails(&["convert", "large", "out2", "--to", "f16"]);
    assert!(
        said.starts_with("large, tensor `w`: the value at row 0, column 0 is")
            && said.contains("as `f16` it would decode to"),
        "{said}"
    );
}

#[test]
fn what_is_read_is_not_written_over() {
    let here = layers::workplace();
    fs::hard_link(here.path("model"), here.path("same")).unwrap();
    for output in ["model", "./model", "same"] {
        let sentence = format!("{output} is the file that is read; name another for what is written");
        assert_eq!(here.fails(&["quantize", "model", output, "-e", "q4_0"]), sentence);
        assert_eq!(here.fails(&["quantize", "model", output, "-e", "q4_0", "--dry-run"]), sentence);
        assert_eq!(here.fails(&["dequantize", "model", output]), sentence);
        assert_eq!(here.fails(&["convert", "model", output]), sentence);
    }
}

/// A GGUF file of one f32 weight, [2, 32].
fn gguf() -> Vec<u8> {
    GgufFile::default().tensor(GgufTensor::f32("w", [32, 2], values(64))).bytes()
}

#[test]
fn a_gguf_file_is_not_written_over() {
    let here = layers::workplace();
    here.write("blob", gguf());
    fs::hard_link(here.path("blob"), here.path("hard")).unwrap();
    #[cfg(unix)]
    for (target, link) in [("blob", "soft"), ("soft", "softer")] {
        std::os::unix::fs::symlink(target, here.path(link)).unwrap();
    }
    let sentence = "it is a GGUF file, of which a safetensors file would lose a part; name another file, or remove it first";
    for input in ["blob", "model"] {
        for output in ["blob", "hard", "soft", "softer"] {
            if !here.path(output).exists() {
                continue;
            }
            let expected = match input {
                "blob" => format!("{output} is the file that is read; name another for what is written"),
                _ => format!("{output} was not written: {sentence}"),
            };
            assert_eq!(
                here.fails(&["quantize", input, output, "-e", "q4_0", "--only", "{w,experts}"]),
                expected
            );
            assert_eq!(here.fails(&["dequantize", input, output]), expected);
        }
    }
    here.succeeds(&["quantize", "blob", "out", "-e", "q4_0"]);
    here.succeeds(&["dequantize", "out", "back"]);
}
