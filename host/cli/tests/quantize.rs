//! `bitquilt quantize` and `bitquilt dequantize`: what they write, with importance and without, and what they say of wrong values.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod layers;

use std::fs;

use bitquilt::checkpoint::Checkpoint;
use bitquilt::{DType, Tensor};
use bitquilt_tests::workplace::Workplace;
use bitquilt_tests::{fixture, values, weight};

#[test]
fn weights_are_encoded_and_the_rest_is_carried_over() {
    let here = layers::workplace();
    let said = here.succeeds(&["quantize", "model", "out", "--encoding", "q4_k"]);
    assert!(said.starts_with("out: of 8 tensors 4 are q4_k\n\n"), "{said}");
    let lines: Vec<Vec<&str>> = said.lines().map(|line| line.split_whitespace().collect()).collect();
    // 512 x 3 + 256 x 2 + 256 x 5 + 256 x 4 values of 4.5 bits; of the two that are narrow, two bytes a value before.
    let row = lines.iter().find(|line| line.first() == Some(&"q4_k")).unwrap();
    assert_eq!(row[1..5], ["4", "0.01", "0.00", "4.500"], "{said}");
    assert!(row[5].ends_with('%') && !row[5].starts_with("0.000"), "{said}");
    assert!(lines.iter().any(|line| line.starts_with(&["q8_0,", "as", "before", "1"])), "{said}");
    assert!(said.contains("and 3 other tensors of "), "{said}");
    assert!(
        said.contains("`layer.1.done` is `q8_0` already and stays so; --requantize encodes it anew"),
        "{said}"
    );
    let (model, out) = (here.load("model"), here.load("out"));
    assert_eq!(out.metadata(), model.metadata());
    let encoding = here.registry().require_encoding("q4_k").unwrap();
    for (name, tensor) in model.iter() {
        let expected = match name {
            "layer.0.up" => encoding.quantize(tensor).unwrap().tensor,
            "layer.0.down" => encoding.quantize(&weight([2, 256])).unwrap().tensor,
            "layer.1.up" => encoding.quantize(&weight([5, 256])).unwrap().tensor,
            "experts" => encoding.quantize(&weight([2, 2, 256])).unwrap().tensor,
            _ => tensor.clone(),
        };
        assert_eq!(out.require(name).unwrap(), &expected, "{name}");
    }
    let file = here.read("out");
    let tensors = safetensors::SafeTensors::deserialize(&file).unwrap();
    let stored = tensors.tensor("layer.0.up").unwrap();
    assert_eq!((stored.dtype(), stored.shape()), (safetensors::Dtype::U8, &[3, 288][..]));
    let inspected = here.succeeds(&["inspect", "out"]);
    let mut lines = inspected.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" "));
    assert!(lines.any(|line| line == "q4_k [3, 512] 864 bytes layer.0.up"), "{inspected}");
}

#[test]
fn dequantizing_restores_f32() {
    let here = layers::workplace();
    here.succeeds(&["quantize", "model", "out", "-e", "q6_k", "--only", "layer.0.*"]);
    assert_eq!(here.succeeds(&["dequantize", "out", "back"]), "back: 3 of 8 tensors were decoded to f32\n");
    let (model, out, back) = (here.load("model"), here.load("out"), here.load("back"));
    assert_eq!(back.metadata(), model.metadata());
    for (name, tensor) in back.iter() {
        let encoded = out.require(name).unwrap();
        let expected = match encoded.encoding() {
            Some(_) => here.registry().to_f32(encoded).unwrap(),
            None => model.require(name).unwrap().clone(),
        };
        assert_eq!(tensor, &expected, "{name}");
    }
    // Decoded values are encoded as the same bytes: nothing is lost from there on.
    here.succeeds(&["quantize", "back", "again", "-e", "q8_0", "--only", "layer.1.done"]);
    assert_eq!(here.load("again").get("layer.1.done"), model.get("layer.1.done"));
}

#[test]
fn the_number_of_threads_changes_nothing() {
    let here = layers::workplace();
    here.save("large", [("w", weight([64, 4096]))]);
    for (threads, out) in [("1", "one"), ("2", "two"), ("5", "five")] {
        here.succeeds(&["quantize", "large", out, "-e", "iq3_s", "--threads", threads]);
        here.succeeds(&["dequantize", out, &format!("{out}-back"), "--threads", threads]);
    }
    for (one, other) in [("one", "two"), ("one", "five"), ("one-back", "two-back"), ("one-back", "five-back")]
    {
        assert_eq!(here.read(one), here.read(other), "{other}");
    }
}

#[test]
fn importance_is_a_vector_for_each_weight() {
    let here = layers::workplace();
    let vector: Vec<f32> = (0..512).map(|i| (i % 9) as f32).collect();
    here.save("importance", [("layer.0.up", Tensor::new([512], &vector).unwrap())]);
    let only = ["--only", "layer.0.up", "--importance", "importance"];
    for name in ["q4_k", "iq2_xxs"] {
        here.succeeds(&[&["quantize", "model", "out", "-e", name], &only[..]].concat());
        let encoding = here.registry().require_encoding(name).unwrap();
        let expected = encoding.quantize_with_importance(&weight([3, 512]), &vector).unwrap().tensor;
        assert_eq!(here.load("out").require("layer.0.up").unwrap(), &expected, "{name}");
    }
    // Whoever takes no account of it says so.
    let said = here.warns(&[&["quantize", "model", "out", "-e", "q8_0"], &only[..]].concat());
    assert!(said.contains("`q8_0` takes no account of importance"), "{said}");
}

#[test]
fn wrong_importance_is_refused() {
    let here = layers::workplace();
    let says = |vector: Tensor| {
        here.save("importance", [("layer.0.up", vector)]);
        here.fails(&[
            "quantize",
            "model",
            "out",
            "-e",
            "q4_0",
            "--only",
            "layer.0.up",
            "--importance",
            "importance",
        ])
    };
    let with = |value: f32| {
        let mut values = vec![1.0; 512];
        values[7] = value;
        Tensor::new([512], values).unwrap()
    };
    let not = |value: &str| {
        let expected = "finite numbers that are not negative were expected";
        format!("importance, tensor `layer.0.up`: it has {value} at column 7; {expected}")
    };
    let wide =
        |columns| format!("importance: `layer.0.up` has {columns} columns there, and 512 in the model");
    for (vector, sentence) in [
        (Tensor::full([511], 1f32), wide(511)),
        (Tensor::full([2, 512], 1f32), wide(1024)),
        (with(f32::NAN), not("NaN")),
        (with(-1.0), not("-1")),
        (with(f32::INFINITY), not("inf")),
        (
            Tensor::full([512], 1f64),
            "importance, tensor `layer.0.up`: it is f64 [512], an f32 vector was expected".to_owned(),
        ),
        (
            Tensor::full([1, 1, 512], 1f32),
            "importance, tensor `layer.0.up`: it is f32 [1, 1, 512], an f32 vector was expected".to_owned(),
        ),
    ] {
        assert_eq!(says(vector), sentence);
    }
    let own = here.fails(&["quantize", "model", "importance", "-e", "q4_0", "--importance", "./importance"]);
    assert_eq!(own, "./importance is the importance, which would be lost; name another OUT");
    here.save("other", [("blk.0.up", Tensor::full([512], 1f32))]);
    assert_eq!(
        here.fails(&["quantize", "model", "out", "-e", "q4_0", "--importance", "other"]),
        "other has importance for weights such as `blk.0.up`, and none for a weight of the model, such as `experts`; record it from this \
         model, or from a file with the same names"
    );
    let needed = here.fails(&["quantize", "model", "out", "-e", "iq1_s"]);
    assert!(needed.starts_with("`iq1_s` needs importance: give --importance FILE"), "{needed}");
}

#[test]
fn wrong_values_and_shapes_are_refused() {
    let here = layers::workplace();
    for (value, shown) in [(f32::NAN, "NaN"), (f32::INFINITY, "inf"), (f32::NEG_INFINITY, "-inf")] {
        let mut rows = values(4 * 96);
        rows[2 * 96 + 31] = value;
        // A later one is not what is named.
        rows[3 * 96] = f32::NAN;
        let mut model = here.load("model");
        model.insert("layer.2.up", Tensor::new([4, 96], rows).unwrap());
        here.save("bad", model);
        let said = here.fails(&["quantize", "bad", "out", "-e", "q4_0"]);
        let sentence = format!("the value at row 2, column 31 is {shown}; `q4_0` encodes finite values only");
        assert_eq!(said, format!("bad, tensor `layer.2.up`: {sentence}"));
    }
    let said = here.fails(&["quantize", "bad", "out", "-e", "q4_k"]);
    assert_eq!(
        said,
        "bad: weight `layer.2.up`: its rows have 96 values, no multiple of the 256 in a block of `q4_k`; choose another encoding for \
         it, or a `fallback` that fits, or leave it out with --exclude"
    );
    // Half an infinity is one, too.
    let infinite =
        [half::f16::ONE, half::f16::INFINITY].map(|x| x.to_bits().to_le_bytes()).concat().repeat(16);
    here.save("bad", [("w", Tensor::from_bytes(DType::F16, [1, 32], &infinite).unwrap())]);
    assert!(here.fails(&["quantize", "bad", "out", "-e", "bf16"]).contains("row 0, column 1 is inf"));
}

/// A model of one weight `w`, [2, 256].
fn one_weight(here: &Workplace, name: &str, scale: impl Fn(usize) -> f32) {
    let rows: Vec<f32> = values(512).into_iter().enumerate().map(|(i, x)| x * scale(i)).collect();
    here.save(name, [("w", Tensor::new([2, 256], rows).unwrap())]);
}

#[test]
fn weights_that_no_block_holds_are_refused() {
    let here = layers::workplace();
    one_weight(&here, "large", |_| 1e9);
    one_weight(&here, "outlier", |i| if i == 300 { 1e30 } else { 1.0 });
    here.write("out", "kept");
    for encoding in ["q4_0", "q4_k", "q6_k", "iq4_xs", "f16"] {
        let said = here.fails(&["quantize", "large", "out", "-e", encoding]);
        assert!(said.starts_with("large, tensor `w`: the value at row 0, column "), "{said}");
        assert!(said.contains(&format!("`{encoding}`")) && said.contains(" would decode to "), "{said}");
    }
    for encoding in ["q4_0", "q4_k", "f16"] {
        let said = here.fails(&["quantize", "outlier", "out", "-e", encoding]);
        assert!(said.starts_with("outlier, tensor `w`: the value at row 1, column 44 is "), "{said}");
    }
}

#[test]
fn lost_rows_are_warned_of() {
    let here = layers::workplace();
    one_weight(&here, "small", |_| 1e-8);
    one_weight(&here, "half", |i| if i < 256 { 1.0 } else { 1e-8 });
    let said = here.warns(&["quantize", "small", "out", "-e", "q4_0"]);
    assert!(
        said.contains("small, tensor `w`: `q4_0` loses rows 0 to 1 of 2: row 0 has a norm of "),
        "{said}"
    );
    let said = here.warns(&["quantize", "half", "out", "-e", "q8_0"]);
    assert!(said.contains("half, tensor `w`: `q8_0` loses row 1 of 2: "), "{said}");
    assert_eq!(here.warns(&["quantize", "half", "out", "-e", "bf16"]), "");
}

#[test]
fn silent_importance_is_warned_of() {
    let here = layers::workplace();
    for (weight, warned) in [(0.0f32, true), (1e-45, false), (1e37, false)] {
        here.save("importance", [("layer.0.down", Tensor::full([256], weight))]);
        let only = ["--only", "layer.0.down", "--importance", "importance"];
        let said = here.warns(&[&["quantize", "model", "out", "-e", "q6_k"], &only[..]].concat());
        let sentence = "model, tensor `layer.0.down`: the importance is zero throughout block 0 of `q6_k`";
        assert_eq!(said.contains(sentence), warned, "{weight}: {said}");
        let decoded = here.registry().to_f32(here.load("out").require("layer.0.down").unwrap()).unwrap();
        let errors = decoded.values::<f32>().unwrap().iter().zip(values(512)).map(|(a, b)| (a - b).abs());
        assert!(errors.fold(0.0, f32::max) < 0.1, "{weight}");
    }
}

#[test]
fn blocks_that_decode_to_nan_are_warned_of() {
    let here = layers::workplace();
    let mut blocks = vec![0; 36];
    blocks[18..20].copy_from_slice(&half::f16::INFINITY.to_bits().to_le_bytes());
    let encoding = here.registry().require_encoding("q4_0").unwrap();
    here.save("infinite", [("w", Tensor::from_encoded(encoding.spec(), [1, 64], &blocks).unwrap())]);
    let said = here.warns(&["dequantize", "infinite", "out"]);
    let sentence =
        "infinite, tensor `w`: 32 of 64 values decode to NaN or infinity; the first is at row 0, column 32";
    assert!(said.contains(sentence), "{said}");
}

#[test]
fn a_plugins_encoding_serves_as_well() {
    let here = layers::workplace();
    let library = fixture("good");
    fs::create_dir(here.path("plugins")).unwrap();
    fs::copy(&library, here.path("plugins").join(library.file_name().unwrap())).unwrap();
    let with_plugin = ["--plugin-dir", "plugins"];
    here.succeeds(
        &[&["quantize", "model", "out", "-e", "good.int8", "--only", "layer.0.*"], &with_plugin[..]].concat(),
    );
    let file = Checkpoint::open(here.path("out")).unwrap();
    let stored: Vec<_> =
        file.tensors().filter(|(_, stored)| stored.element().to_string() == "good.int8").collect();
    assert_eq!(stored.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["layer.0.down", "layer.0.up"]);
    // Other weights of the file are encoded without the plugin; what it encoded is carried over.
    here.succeeds(&["quantize", "out", "more", "-e", "q4_0", "--only", "layer.1.*"]);
    let more = Checkpoint::open(here.path("more")).unwrap();
    assert_eq!(more.as_stored("layer.0.up").unwrap().bytes(), file.as_stored("layer.0.up").unwrap().bytes());
    // Without the plugin they are not decoded.
    assert!(here.fails(&["dequantize", "out", "back"]).contains("no encoding `good.int8` is registered"));
    here.succeeds(&[&["dequantize", "out", "back"], &with_plugin[..]].concat());
    let back = here.load("back");
    let decoded = back.values::<f32>("layer.0.up").unwrap();
    let worst = decoded.iter().zip(values(3 * 512)).map(|(a, b)| (a - b).abs()).fold(0f32, f32::max);
    assert!(worst > 0.0 && worst < 0.01, "{worst}");
}

#[test]
fn help_names_every_option() {
    let here = common::workplace();
    let help = here.succeeds(&["quantize", "--help"]);
    for word in [
        "<IN>",
        "<OUT>",
        "--encoding <[GLOB=]NAME>",
        "--importance <FILE>",
        "--only <GLOB>",
        "--plugin-dir <DIR>",
    ] {
        assert!(help.contains(word), "{word}");
    }
    assert!(here.succeeds(&["dequantize", "--help"]).contains("Each becomes f32"));
}
