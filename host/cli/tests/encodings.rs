//! The command on declared encodings: what it says of one, and the one that it learns.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bitquilt::{Tensor, TensorDict, checkpoint};

fn bitquilt(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitquilt"));
    command
        .args(arguments)
        .env_remove("BITQUILT_PLUGIN_PATH")
        .env("XDG_DATA_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn succeeds(arguments: &[&str]) -> String {
    let output = bitquilt(arguments);
    assert!(output.status.success(), "{arguments:?}: {}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

/// What it says where it fails, on one line; nothing is printed then.
fn fails(arguments: &[&str]) -> String {
    let output = bitquilt(arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", text(&output.stdout));
    assert_eq!(text(&output.stdout), "");
    text(&output.stderr).split_whitespace().filter(|word| *word != "│").collect::<Vec<_>>().join(" ")
}

const INT4: &str = "name = \"my.int4\"\nblock_len = 64\nblock_bytes = 34\ncodes = { at = 2, bits = 4 }\noffset = 8\n\
    scale = { at = 0, dtype = \"f16\" }\n";

/// A file of this text in a directory.
fn file(directory: &Path, name: &str, text: &str) -> String {
    let path = directory.join(name);
    fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// A checkpoint with a matrix of values that lie on few levels, and a vector.
fn model(directory: &Path) -> String {
    let value = |i: usize| [-1.0, -0.3, 0.0, 0.45][i * 7919 % 1009 % 4] * (1 + i / 64 % 5) as f32;
    let mut tensors = TensorDict::new();
    tensors.insert("w", Tensor::new([16, 128], (0..16 * 128).map(value).collect::<Vec<f32>>()).unwrap());
    tensors.insert("bias", Tensor::full([16], 1.0f32));
    let path = directory.join("model.safetensors");
    checkpoint::save(&tensors, &path).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn check_says_what_a_declaration_is() {
    let directory = tempfile::tempdir().unwrap();
    let said = succeeds(&["encoding", "check", &file(directory.path(), "my.int4.encoding.toml", INT4)]);
    for part in [
        "my.int4",
        "4.25 bits a value",
        "qmatmul  declared: integers of 8 bits; rows of a multiple of 64 values",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_wrong_declaration_is_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    for (from, to, sentence) in [
        ("block_bytes = 34", "block_bytes = 20", "line 4, `codes`"),
        ("offset = 8", "ofset = 8", "line 5, `ofset`"),
        ("my.int4", "q4_0 ", "line 1, `name`"),
        ("my.int4", "keep", "an encoding cannot be named `keep`"),
        ("block_len = 64", "block_len = 1099511627776", "line 2, `block_len`"),
    ] {
        let path = file(directory.path(), "a.encoding.toml", &INT4.replace(from, to));
        let said = fails(&["encoding", "check", &path]);
        assert!(said.contains(sentence) && said.contains("a.encoding.toml"), "{to}: {said}");
    }
    let missing = directory.path().join("missing.encoding.toml");
    assert!(fails(&["encoding", "check", missing.to_str().unwrap()]).contains("missing.encoding.toml"));
}

#[test]
fn fit_learns_a_table_that_quantize_uses_and_the_file_carries() {
    let directory = tempfile::tempdir().unwrap();
    let (model, plugins) = (model(directory.path()), directory.path().join("plugins"));
    fs::create_dir(&plugins).unwrap();
    let declared = plugins.join("my.fit.encoding.toml");
    let declared = declared.to_str().unwrap();
    let fit =
        ["encoding", "fit", &model, "--bits", "2", "--block", "64", "--name", "my.fit", "--output", declared];
    let said = succeeds(&fit);
    assert!(said.contains("a table of 4 values from 2048 of"), "{said}");
    let first = fs::read(declared).unwrap();
    succeeds(&fit);
    assert_eq!(fs::read(declared).unwrap(), first, "the same values give the same table");

    let encoded = directory.path().join("encoded.safetensors");
    let (encoded, plugins) = (encoded.to_str().unwrap(), plugins.to_str().unwrap());
    succeeds(&["--plugin-dir", plugins, "quantize", &model, encoded, "--encoding", "my.fit"]);
    // The file has the declaration: nobody needs the directory any more.
    assert!(succeeds(&["inspect", encoded]).contains("my.fit"));
    let decoded = directory.path().join("decoded.safetensors");
    succeeds(&["dequantize", encoded, decoded.to_str().unwrap()]);
    let registry = bitquilt::InferenceSession::builder().build().unwrap();
    let load = |path: &str| {
        checkpoint::load(path, registry.registry())
            .unwrap()
            .get("w")
            .unwrap()
            .values::<f32>()
            .unwrap()
            .to_vec()
    };
    for (value, decoded) in load(&model).iter().zip(load(decoded.to_str().unwrap())) {
        assert!((value - decoded).abs() <= 0.01 * value.abs().max(1.0), "{value} {decoded}");
    }
}

#[test]
fn what_cannot_be_learned_is_one_sentence() {
    let directory = tempfile::tempdir().unwrap();
    let model = model(directory.path());
    let output = directory.path().join("out.encoding.toml");
    let output = output.to_str().unwrap();
    let fit = |more: &[&str]| {
        let arguments = [&["encoding", "fit", model.as_str(), "--output", output][..], more].concat();
        fails(&arguments)
    };
    assert!(fit(&["--name", "my.fit", "--block", "100"]).contains("has no weights"));
    assert!(fit(&["--name", "my.fit", "--block", "0"]).contains("a block has a value at least"));
    assert!(fit(&["--name", "my.fit", "--only", "nothing.*"]).contains("matches `nothing.*`"));
    assert!(fit(&["--name", "no name"]).contains("`name`"));
    assert!(!Path::new(output).exists());
    let over = fails(&["encoding", "fit", &model, "--name", "my.fit", "--output", &model]);
    assert!(over.contains("would be lost"), "{over}");
}
