//! The command on declared encodings: what it says of one, and the one that it learns.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;

use bitquilt::Tensor;
use bitquilt_tests::workplace::Workplace;
use common::workplace;

const INT4: &str = "name = \"my.int4\"\nblock_len = 64\nblock_bytes = 34\ncodes = { at = 2, bits = 4 }\noffset = 8\n\
    scale = { at = 0, dtype = \"f16\" }\n";

/// A checkpoint with a matrix of values that lie on few levels, and a vector.
fn save_model(here: &Workplace) {
    let value = |i: usize| [-1.0, -0.3, 0.0, 0.45][i * 7919 % 1009 % 4] * (1 + i / 64 % 5) as f32;
    let matrix = Tensor::new([16, 128], (0..16 * 128).map(value).collect::<Vec<f32>>()).unwrap();
    here.save("model", [("w", matrix), ("bias", Tensor::full([16], 1.0f32))]);
}

#[test]
fn check_says_what_a_declaration_is() {
    let here = workplace();
    here.write("my.int4.encoding.toml", INT4);
    let said = here.succeeds(&["encoding", "check", "my.int4.encoding.toml"]);
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
    let here = workplace();
    for (from, to, sentence) in [
        ("block_bytes = 34", "block_bytes = 20", "line 4, `codes`"),
        ("offset = 8", "ofset = 8", "line 5, `ofset`"),
        ("my.int4", "q4_0 ", "line 1, `name`"),
        ("my.int4", "keep", "an encoding cannot be named `keep`"),
        ("block_len = 64", "block_len = 1099511627776", "line 2, `block_len`"),
    ] {
        here.write("a.encoding.toml", INT4.replace(from, to));
        let said = here.fails(&["encoding", "check", "a.encoding.toml"]);
        assert!(said.contains(sentence) && said.contains("a.encoding.toml"), "{to}: {said}");
    }
    assert!(here.fails(&["encoding", "check", "missing.encoding.toml"]).contains("missing.encoding.toml"));
}

#[test]
fn fit_learns_a_table_that_quantize_uses_and_the_file_carries() {
    let here = workplace();
    save_model(&here);
    fs::create_dir(here.path("plugins")).unwrap();
    let declared = "plugins/my.fit.encoding.toml";
    let fit = [
        "encoding", "fit", "model", "--bits", "2", "--block", "64", "--name", "my.fit", "--output", declared,
    ];
    let said = here.succeeds(&fit);
    assert!(said.contains("a table of 4 values from 2048 of"), "{said}");
    let first = here.read(declared);
    here.succeeds(&fit);
    assert_eq!(here.read(declared), first, "the same values give the same table");

    here.succeeds(&["--plugin-dir", "plugins", "quantize", "model", "encoded", "--encoding", "my.fit"]);
    // The file has the declaration: nobody needs the directory any more.
    assert!(here.succeeds(&["inspect", "encoded"]).contains("my.fit"));
    here.succeeds(&["dequantize", "encoded", "decoded"]);
    let load = |name: &str| here.load(name).values::<f32>("w").unwrap().to_vec();
    for (value, decoded) in load("model").iter().zip(load("decoded")) {
        assert!((value - decoded).abs() <= 0.01 * value.abs().max(1.0), "{value} {decoded}");
    }
}

#[test]
fn what_cannot_be_learned_is_one_sentence() {
    let here = workplace();
    save_model(&here);
    let output = "out.encoding.toml";
    let fit =
        |more: &[&str]| here.fails(&[&["encoding", "fit", "model", "--output", output][..], more].concat());
    assert!(fit(&["--name", "my.fit", "--block", "100"]).contains("has no weights"));
    assert!(fit(&["--name", "my.fit", "--block", "0"]).contains("a block has a value at least"));
    assert!(fit(&["--name", "my.fit", "--only", "nothing.*"]).contains("matches `nothing.*`"));
    assert!(fit(&["--name", "no name"]).contains("`name`"));
    let over = here.fails(&["encoding", "fit", "model", "--name", "my.fit", "--output", "model"]);
    assert!(over.contains("would be lost"), "{over}");
}
