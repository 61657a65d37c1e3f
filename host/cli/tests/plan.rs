//! `bitquilt plan`: what it searches, prints and saves, and what it says of wrong input.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;

use bitquilt::Tensor;
use bitquilt::checkpoint::npy;
use bitquilt_tests::llama2c;
use bitquilt_tests::workplace::Workplace;
use common::workplace;

/// A directory with a small language model and a text.
fn workplace_with_model() -> Workplace {
    let here = workplace();
    for file in ["model.bin", "tokenizer.bin"] {
        fs::copy(llama2c(file), here.path(file)).unwrap();
    }
    here.write("text", "Once upon a time there was a little lamp. ".repeat(9));
    here
}

/// A saved graph of one product, and an input for it.
fn save_graph(here: &Workplace) {
    let values: Vec<f32> = (0..4096).map(|index| (index as f32 * 0.7).sin()).collect();
    here.save_product("graph.safetensors", ["x", "y"], "f32", &Tensor::new([64, 64], values).unwrap());
    fs::create_dir_all(here.path("inputs/first")).unwrap();
    npy::write(&Tensor::full([3, 64], 0.5f32), here.path("inputs/first/x.npy")).unwrap();
}

#[test]
fn a_model_is_planned_and_made() {
    let here = workplace_with_model();
    let arguments =
        ["plan", "model.bin", "--text", "text", "--target-bpw", "6", "--tokens", "48", "--window", "24"];
    let json = here.json(&[&arguments[..], &["--save", "plan.toml"]].concat());
    let total = &json["total"];
    let (bytes, budget) = (total["bytes"].as_u64().unwrap(), json["target"]["bytes"].as_u64().unwrap());
    assert!(bytes <= budget && bytes as f64 > 0.9 * budget as f64, "{bytes} of {budget}");
    assert_eq!((&json["measure"]["kind"], &json["measure"]["tokens"]), (&"kl".into(), &48.into()));
    let candidates = json["candidates"].as_array().unwrap();
    let least = candidates.iter().map(|it| it["loss"].as_f64().unwrap()).fold(f64::INFINITY, f64::min);
    assert_eq!(total["loss"].as_f64().unwrap(), least);

    // The same again comes from the cache, and as tables.
    let text = here.succeeds(&arguments);
    let weights = json["weights"].as_array().unwrap();
    for weight in weights {
        let (name, encoding) = (weight["name"].as_str().unwrap(), weight["encoding"].as_str().unwrap());
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        assert!(line.contains(encoding) && line.contains("sensitivity"), "{line}");
    }
    assert!(text.contains(&format!("{} weights in {bytes} of {budget} bytes", weights.len())), "{text}");
    let name = weights[0]["name"].as_str().unwrap();
    let explained = here.succeeds(&[&arguments[..], &["--explain", name]].concat());
    let encoding = weights[0]["encoding"].as_str().unwrap();
    assert!(explained.starts_with(name) && explained.contains(&format!("\n{encoding}*")), "{explained}");

    // What is saved is a recipe.
    let perplexity = ["perplexity", "model.bin", "--text", "text", "--window", "24", "--recipe", "plan.toml"];
    assert!(here.succeeds(&perplexity).contains("plan.toml"));
}

#[test]
fn a_graph_is_planned_and_made() {
    let here = workplace_with_model();
    save_graph(&here);
    let arguments = ["plan", "graph.safetensors", "--inputs", "inputs", "--target-size", "3KB"];
    let json = here.json(&[&arguments[..], &["--save", "plan.toml", "--quick"]].concat());
    assert_eq!(json["measure"]["kind"], "outputs");
    assert_eq!(json["target"]["bytes"], 3000);
    let encoding = json["weights"][0]["encoding"].as_str().unwrap();
    let recipe = fs::read_to_string(here.path("plan.toml")).unwrap();
    assert!(recipe.contains(&format!("encoding = \"{encoding}\"")), "{recipe}");
    let only = here.json(&[&arguments[..], &["-e", "q4_0,q5_0"]].concat());
    assert_eq!(only["weights"][0]["encoding"], "q5_0");

    // The graph is made by the recipe, and planned anew from what was made.
    here.succeeds(&["quantize", "graph.safetensors", "small.safetensors", "--recipe", "plan.toml"]);
    let inspected = here.succeeds(&["inspect", "small.safetensors"]);
    assert!(inspected.contains(encoding), "{inspected}");
    let compared =
        here.succeeds(&["compare", "graph.safetensors", "small.safetensors", "--inputs", "inputs"]);
    assert!(compared.contains("small.safetensors"), "{compared}");
}

#[test]
fn a_recipe_fixes_weights() {
    let here = workplace_with_model();
    here.write("fixed.toml", "[[rule]]\nweights = \"token_embd.weight\"\nencoding = \"q8_0\"\n");
    // No text: tokens are drawn.
    let json = here.json(&[
        "plan",
        "model.bin",
        "--target-bpw",
        "6",
        "--recipe",
        "fixed.toml",
        "--tokens",
        "20",
        "--quick",
    ]);
    let weights = json["weights"].as_array().unwrap();
    let embedding = weights.iter().find(|weight| weight["name"] == "token_embd.weight").unwrap();
    assert_eq!(
        (&embedding["encoding"], &embedding["reason"]),
        (&"q8_0".into(), &"a rule of the recipe".into())
    );
    assert_eq!(json["measure"]["source"], "random tokens");
}

#[test]
fn what_cannot_be_is_one_sentence() {
    let here = workplace_with_model();
    save_graph(&here);
    here.write("empty", "");
    here.write("all.toml", "[[rule]]\nweights = \"*\"\nencoding = \"f16\"\n");
    fs::create_dir(here.path("nothing")).unwrap();
    here.write("other.txt", "other\n");
    let model = ["plan", "model.bin", "--text", "text", "--tokens", "16", "--quick"];
    let with = |more: &[&'static str]| [&model[..], more].concat();
    for (arguments, code, expected) in [
        (with(&["--target-bpw", "0.25"]), 1, "is below what is possible: the"),
        (with(&["--target-size", "1"]), 1, "the target of 1 bytes is below what is possible"),
        (with(&["--target-bpw", "6", "--recipe", "all.toml"]), 1, "the recipe fixes the encodings of"),
        (with(&["--target-bpw", "0"]), 2, "a number of bits above 0 and up to 32 was expected, such as 4.5"),
        (with(&["--target-bpw", "nan"]), 2, "a number of bits above 0 and up to 32 was expected"),
        (with(&["--target-size", "0"]), 2, "it cannot be 0 bytes"),
        (with(&["--target-size", "many"]), 2, "a size such as 2G, 500M or 1GiB was expected"),
        (with(&[]), 2, "required"),
        (with(&["--target-bpw", "6", "--target-size", "9M"]), 2, "cannot be used with"),
        (
            with(&["--target-bpw", "6", "--explain", "lamp"]),
            1,
            "--explain: model.bin has no weight `lamp`; one is called `",
        ),
        (with(&["--target-bpw", "6", "-e", "q4_00"]), 1, "no encoding `q4_00` is registered"),
        (with(&["--target-bpw", "6", "--inputs", "inputs"]), 2, "cannot be used with"),
        (
            with(&["--target-bpw", "6", "--save", "text"]),
            1,
            "--save: text is what is read, which would be lost",
        ),
        (with(&["--target-bpw", "6", "--save", "missing/plan.toml"]), 1, "missing/plan.toml"),
        (with(&["--target-bpw", "6", "--cache", "other.txt"]), 1, "other.txt"),
        (vec!["plan", "model.bin", "--text", "empty", "--target-bpw", "6"], 1, "empty: the text has"),
        (
            vec![
                "plan",
                "model.bin",
                "--text",
                "text",
                "--tokens",
                "4000",
                "--window",
                "4000",
                "--target-bpw",
                "6",
            ],
            1,
            "4000 at least were expected",
        ),
        (
            vec!["plan", "model.bin", "--inputs", "inputs", "--target-bpw", "6"],
            1,
            "--inputs is for saved graphs",
        ),
        (
            vec!["plan", "graph.safetensors", "--target-bpw", "6"],
            1,
            "graph.safetensors is a saved graph: give --inputs DIR",
        ),
        (
            vec!["plan", "graph.safetensors", "--target-bpw", "6", "--inputs", "nothing"],
            1,
            "nothing has no inputs",
        ),
        (
            vec!["plan", "graph.safetensors", "--target-bpw", "6", "--text", "text"],
            1,
            "graph.safetensors is a saved graph: give --inputs DIR",
        ),
        (vec!["plan", "missing.gguf", "--target-bpw", "6"], 1, "missing.gguf"),
    ] {
        let said = here.refuses(code, &arguments);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
}
