//! `bitquilt import`, and what it says of wrong input.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use bitquilt::{Tensor, TensorDict, checkpoint};

const CONFIG: &str =
    r#"{"quantization_config": {"quant_method": "gptq", "bits": 4, "group_size": 32, "desc_act": true}}"#;

/// A directory with a layer of GPTQ of 32 outputs and 64 inputs, whose codes are all 9 and whose zeros are 8.
fn model(order: impl Fn(usize) -> i32) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let tensor = |shape: [usize; 2], value: u32| Tensor::full(shape, value as i32);
    let mut tensors = TensorDict::new();
    tensors.insert("up.qweight", tensor([8, 32], 0x9999_9999));
    tensors.insert("up.qzeros", tensor([2, 4], 0x7777_7777));
    tensors.insert("up.scales", Tensor::new([2, 32], [[0.5f32; 32], [0.25; 32]].concat()).unwrap());
    tensors.insert("up.g_idx", Tensor::new([64], (0..64).map(order).collect::<Vec<i32>>()).unwrap());
    tensors.insert("norm", Tensor::full([2], 1.0f32));
    checkpoint::save(&tensors, directory.path().join("model.safetensors")).unwrap();
    fs::write(directory.path().join("config.json"), CONFIG).unwrap();
    directory
}

fn bitquilt(directory: &Path, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitquilt"));
    command
        .current_dir(directory)
        .args(arguments)
        .env_remove("BITQUILT_PLUGIN_PATH")
        .env("XDG_DATA_HOME", directory);
    command.output().unwrap()
}

fn succeeds(directory: &Path, arguments: &[&str]) -> String {
    let output = bitquilt(directory, arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// What the command says as it fails, on one line.
fn fails(directory: &Path, arguments: &[&str]) -> String {
    let output = bitquilt(directory, arguments);
    assert_eq!(output.status.code(), Some(1), "{arguments:?}");
    assert!(output.stdout.is_empty(), "{arguments:?}");
    let text = String::from_utf8(output.stderr).unwrap();
    text.split_whitespace().filter(|word| !["×", "│"].contains(word)).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_model_is_imported_and_opens_anywhere() {
    let directory = model(|column| column as i32 / 32);
    let said = succeeds(directory.path(), &["import", ".", "out"]);
    assert_eq!(
        said,
        "out: 1 weight of GPTQ, and 1 tensor as it was\n\
         encoding           weights    MB  bits a value\n\
         gptq.int4_g32_f32        1  0.00          5.00\n"
    );
    let inspected = succeeds(directory.path(), &["inspect", "out"]);
    assert!(inspected.contains("gptq.int4_g32_f32") && inspected.contains("[32, 64]"), "{inspected}");
    succeeds(directory.path(), &["dequantize", "out", "decoded"]);
    let decoded = checkpoint::load(directory.path().join("decoded"), &Default::default()).unwrap();
    let values = decoded.values::<f32>("up.weight").unwrap();
    assert!(values.chunks(64).all(|row| row[..32] == [0.5; 32] && row[32..] == [0.25; 32]));
    // The same for every number of threads.
    for threads in ["1", "3"] {
        succeeds(directory.path(), &["import", "model.safetensors", "other", "--threads", threads]);
        assert_eq!(
            fs::read(directory.path().join("out")).unwrap(),
            fs::read(directory.path().join("other")).unwrap()
        );
    }
}

#[test]
fn columns_in_another_order_are_said() {
    let directory = model(|column| column as i32 % 2);
    let said = succeeds(directory.path(), &["import", ".", "out"]);
    assert!(said.ends_with("\n1 weight has its columns in another order: NAME.perm says which\n"), "{said}");
    assert!(succeeds(directory.path(), &["inspect", "out"]).contains("up.weight.perm"));
}

#[test]
fn what_cannot_be_imported_is_one_sentence() {
    let directory = model(|column| column as i32);
    fs::write(directory.path().join("out"), "old").unwrap();
    let said = fails(directory.path(), &["import", ".", "out"]);
    assert_eq!(
        said,
        "./model.safetensors, tensor `up.g_idx`: the entry 2 is 2, and the groups are 0 to 1; the file is damaged"
    );
    let said = fails(directory.path(), &["import", "nothing", "out"]);
    assert!(said.starts_with("cannot read nothing: "), "{said}");
    assert_eq!(fs::read(directory.path().join("out")).unwrap(), b"old");
    let whole = model(|column| column as i32 / 32);
    let said = fails(whole.path(), &["import", ".", "out.gguf"]);
    assert!(said.contains("out.gguf"), "{said}");
    assert!(!whole.path().join("out.gguf").exists());
}
