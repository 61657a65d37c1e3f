//! `bitquilt quantize`: which weights get which encoding, and in which format; and what it says of choices that cannot be followed.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;
mod layers;

use std::fs;

use bitquilt::Tensor;
use bitquilt::checkpoint::Checkpoint;
use bitquilt_tests::weight;
use bitquilt_tests::workplace::Workplace;

#[test]
fn a_recipe_says_which_weight_gets_what() {
    let here = layers::workplace();
    let recipe = "fallback = 'q8_0'\n[[rule]]\nweights = 'layer.0.*'\nencoding = 'q6_k'\n[[rule]]\nweights = 'experts'\n\
                  encoding = 'keep'\n[[rule]]\nweights = '*'\nencoding = 'q4_k'\n";
    here.write("r.toml", recipe);
    let mut model = here.load("model");
    model.insert("layer.2.up", weight([4, 96]));
    here.save("model", model);
    let said = here.succeeds(&["quantize", "model", "out", "--recipe", "r.toml"]);
    assert!(
        said.starts_with(
            "out: of 9 tensors 1 is q4_k; 2 are q6_k; 1 is q8_0, since its rows are no whole blocks of q4_k\n"
        ),
        "{said}"
    );
    let out = here.load("out");
    let elements: Vec<String> =
        out.iter().map(|(name, tensor)| format!("{name} {}", tensor.element())).collect();
    let expected = [
        "experts f32",
        "ids i64",
        "kernel f32",
        "layer.0.down q6_k",
        "layer.0.up q6_k",
        "layer.1.done q8_0",
        "layer.1.up q4_k",
        "layer.2.up q8_0",
        "norm f32",
    ];
    assert_eq!(elements, expected);
    // The same weights with one encoding and its fallback.
    let said = here.succeeds(&["quantize", "model", "one", "-e", "q4_k", "--fallback", "q8_0"]);
    assert!(
        said.starts_with(
            "one: of 9 tensors 4 are q4_k; 1 is q8_0, since its rows are no whole blocks of q4_k\n"
        ),
        "{said}"
    );
    assert_eq!(here.load("one").get("layer.2.up"), out.get("layer.2.up"));

    here.write("r.toml", "[[rule]]\nweights = 'block.*'\nencoding = 'q4_0'\n");
    let said = here.fails(&["quantize", "model", "out2", "--recipe", "r.toml"]);
    assert!(
        said.starts_with("model: the rule `block.*` = q4_0 of the recipe decides for no weight"),
        "{said}"
    );
    let said = here.refuses(2, &["quantize", "model", "out2"]);
    assert!(said.contains("--encoding <[GLOB=]NAME>") && said.contains("--recipe <FILE.toml>"), "{said}");
}

/// The encodings of a file's weights, by name.
fn elements(here: &Workplace, name: &str) -> Vec<String> {
    let file = Checkpoint::open(here.path(name)).unwrap();
    let weights =
        file.tensors().filter(|(name, stored)| matches!(stored.shape().len(), 2 | 3) && *name != "ids");
    weights.map(|(name, stored)| format!("{name}={}", stored.element())).collect()
}

#[test]
fn explicit_choices_go_before_everything() {
    let here = layers::workplace();
    here.write("r.toml", "[[rule]]\nweights = 'layer.0.*'\nencoding = 'q6_k'\n");
    for (arguments, expected) in [
        (
            &["-e", "q4_0", "-e", "layer.0.*=q8_0", "-e", "layer.0.up=q5_1"][..],
            ["experts=q4_0", "layer.0.down=q8_0", "layer.0.up=q5_1", "layer.1.done=q8_0", "layer.1.up=q4_0"],
        ),
        (
            &["--recipe", "r.toml", "-e", "{layer.0.up,experts}=q4_1"],
            ["experts=q4_1", "layer.0.down=q6_k", "layer.0.up=q4_1", "layer.1.done=q8_0", "layer.1.up=bf16"],
        ),
        (
            &["--recipe", "r.toml", "-e", "q4_1", "--exclude", "ex*", "--exclude", "layer.1.up"],
            ["experts=f32", "layer.0.down=q6_k", "layer.0.up=q6_k", "layer.1.done=q8_0", "layer.1.up=bf16"],
        ),
        (
            &["-e", "q4_1", "--requantize", "-e", "layer.0.up=f16", "-e", "layer.0.down=keep"],
            ["experts=q4_1", "layer.0.down=f16", "layer.0.up=f16", "layer.1.done=q4_1", "layer.1.up=q4_1"],
        ),
        (
            &["-e", "*.up=q4_1", "-e", "layer.0.*=q4_1"],
            ["experts=f32", "layer.0.down=q4_1", "layer.0.up=q4_1", "layer.1.done=q8_0", "layer.1.up=q4_1"],
        ),
    ] {
        let command = [&["quantize", "model", "out"], arguments].concat();
        let before = here.files();
        let preview = here.succeeds(&[&command[..], &["--dry-run"]].concat());
        assert_eq!(here.files(), before, "{arguments:?}");
        here.succeeds(&command);
        assert_eq!(elements(&here, "out"), expected, "{arguments:?}");
        for weight in expected {
            let (name, encoding) = weight.split_once('=').unwrap();
            let line = preview.lines().find(|line| line.ends_with(&format!("bytes  {name}"))).unwrap();
            assert!(line.contains(&format!("{encoding} ")), "{line}");
        }
        fs::remove_file(here.path("out")).unwrap();
    }
}

/// What has its encoding already is carried over, in whatever format.
#[test]
fn a_weight_that_has_its_encoding_stays() {
    let here = layers::workplace();
    for output in ["out", "out.gguf"] {
        here.succeeds(&["quantize", "model", output, "-e", "q8_0"]);
        assert_eq!(elements(&here, output)[3], "layer.1.done=q8_0");
        assert_eq!(here.load(output).get("layer.1.done"), here.load("model").get("layer.1.done"));
        let again = format!("again.{output}");
        here.succeeds(&["quantize", output, &again, "-e", "q8_0"]);
        assert_eq!(here.read(output), here.read(&again));
    }
}

/// Weights of another encoding that stay are no success of their own, be there one that has the wanted encoding already.
#[test]
fn a_file_in_which_nothing_would_change_is_refused() {
    let here = layers::workplace();
    here.succeeds(&["quantize", "model", "mixed", "-e", "q4_0"]);
    let said = here.fails(&["quantize", "mixed", "out", "-e", "q8_0"]);
    assert!(
        said.starts_with("mixed: there is nothing to do: 4 weights are encoded already and stay so, such as"),
        "{said}"
    );
    here.succeeds(&["quantize", "mixed", "out", "-e", "q8_0", "--requantize"]);
}

#[test]
fn choices_that_cannot_be_followed_are_refused() {
    let here = layers::workplace();
    for (arguments, sentence) in [
        (
            &["-e", "layer.*.up=q4_0", "-e", "layer.0.*=q8_0"][..],
            "model: weight `layer.0.up` matches `layer.*.up` = q4_0 and `layer.0.*` = q8_0: exclude it from one of the two, or give it \
             an encoding by its own name",
        ),
        (
            &["-e", "q4_0", "-e", "q8_0"],
            "--encoding q4_0 and --encoding q8_0 are both for all weights; say GLOB=q8_0 for some",
        ),
        (
            &["-e", "layer.0.upp=q4_0"],
            "model: the rule `layer.0.upp` = q4_0 of the recipe decides for no weight: its glob matches none; did you mean `layer.0.up`?",
        ),
        (
            &["-e", "q4_0", "--exclude", "layer.0.dwn"],
            "model: `layer.0.dwn` excludes no weight: its glob matches none; did you mean `layer.0.down`?",
        ),
        (&["-e", "norm=q4_0"], "it matches no matrix; norms and biases are not encoded"),
        (
            &["-e", "experts=q4_0", "--exclude", "experts"],
            "what goes before it has taken all that it matches, such as `experts`",
        ),
        (
            &["-e", "layer.1.*=q4_0"],
            "model: weight `layer.1.done` is `q8_0` already: to encode it as `q4_0` again costs more than its first encoding did; \
             start from the original, allow it (--requantize), or exclude it",
        ),
        (
            &["-e", "q4_0", "--only", "layer.1.done"],
            "model: there is nothing to do: `layer.1.done` is `q8_0` already and stays so; --requantize encodes it anew",
        ),
        (
            &["-e", "q4_0", "--exclude", "{experts,layer.0.*,layer.1.up}"],
            "model: there is nothing to do: `layer.1.done` is `q8_0` already and stays so; --requantize encodes it anew",
        ),
        (&["-e", "*=q4_7"], "no encoding `q4_7` is registered"),
        (&["-e", "q4_0", "--fallback", "q4_7"], "no encoding `q4_7` is registered"),
        (&["-e", "*=q4_0", "--only", "*"], "--only * needs an --encoding without a glob"),
    ] {
        let said = here.fails(&[&["quantize", "model", "out"], arguments].concat());
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
    for wrong in [
        &["-e", "[a=q4_0"][..],
        &["-e", "*="],
        &["-e", "q4_0", "--split", "2X"],
        &["-e", "q4_0", "--format", "bin"],
    ] {
        here.refuses(2, &[&["quantize", "model", "out"], wrong].concat());
    }
}

#[test]
fn names_that_match_nothing_are_refused() {
    let here = layers::workplace();
    let says = |arguments: &[&str]| here.fails(&[&["quantize", "model", "out"], arguments].concat());
    assert_eq!(
        says(&["-e", "q4_0", "--only", "block.*"]),
        "model: no tensor matches `block.*`; the first of 4 weights (tensors of rank 2 or 3 that hold f32, f16 or bf16 values) is `experts`"
    );
    assert_eq!(
        says(&["-e", "q4_0", "--only", "{norm,ids}"]),
        "model: of the 2 tensors that match `{norm,ids}` none is among the weights (tensors of rank 2 or 3 that hold f32, f16 or bf16 values)"
    );
    assert!(says(&["-e", "q4_7"]).starts_with(
        "no encoding `q4_7` is registered; did you mean `q4_0` or `q4_1` or `q4_k`? there are bf16, f16,"
    ));
    assert!(here.fails(&["quantize", "none", "out", "-e", "q4_0"]).starts_with("cannot read none"));
    assert!(says(&["-e", "acme.int3"]).starts_with("no encoding `acme.int3` is registered"));
    // A malformed glob is a wrong command line.
    here.refuses(2, &["quantize", "model", "out", "-e", "q4_0", "--only", "[a"]);

    here.save("plain", [("norm", Tensor::full([4], 1f32))]);
    assert!(here.fails(&["quantize", "plain", "out", "-e", "q4_0"]).starts_with("plain has no weights"));
    assert_eq!(here.fails(&["dequantize", "plain", "out"]), "plain has no encoded tensors");
}

#[test]
fn gguf_is_written_where_it_is_asked_for() {
    let here = layers::workplace();
    let exclude = ["--exclude", "layer.1.*"];
    for arguments in [&["out.gguf"][..], &["out.bin", "--format", "gguf"], &["out.GGUF"]] {
        here.succeeds(&[&["quantize", "model"], arguments, &["-e", "q4_k"], &exclude[..]].concat());
        let file = Checkpoint::open(here.path(arguments[0])).unwrap();
        assert_eq!(file.format().to_string(), "GGUF version 3");
        assert_eq!(elements(&here, arguments[0])[1..3], ["layer.0.down=q4_k", "layer.0.up=q4_k"]);
        assert_eq!(file.metadata().text("author"), Some("nobody"));
        let expected = here.registry().require_encoding("q4_k").unwrap().quantize(&weight([3, 512])).unwrap();
        assert_eq!(here.load(arguments[0]).require("layer.0.up").unwrap(), &expected.tensor);
    }
    // What GGUF has no number for is said before anything is encoded.
    let mut model = here.load("model");
    model.insert("mask", Tensor::full([3], 1u8));
    here.save("masked", model);
    for command in [&["quantize", "masked", "x.gguf", "-e", "q4_k"][..], &["convert", "masked", "x.gguf"]] {
        let said = here.fails(command);
        assert!(
            said.starts_with(
                "x.gguf was not written: GGUF has no number for the type `u8`, which is that of `mask`"
            ),
            "{said}"
        );
    }
}
