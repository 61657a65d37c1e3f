//! `bitquilt plan`: what it searches, prints and saves, and what it says of wrong input.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bitquilt::checkpoint::npy;
use bitquilt::{Graph, InferenceSession, Tensor, TensorType, dim};
use serde_json::Value;

struct Workplace(tempfile::TempDir);

impl Workplace {
    /// A place with a small language model and a text.
    fn new() -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/tests/data/llama2c");
        for file in ["model.bin", "tokenizer.bin"] {
            fs::copy(data.join(file), place.path(file)).unwrap();
        }
        fs::write(place.path("text"), "Once upon a time there was a little lamp. ".repeat(9)).unwrap();
        place
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitquilt"));
        command.current_dir(self.0.path()).args(arguments);
        command.env_remove("BITQUILT_PLUGIN_PATH").env("XDG_DATA_HOME", self.0.path());
        command.env("XDG_CACHE_HOME", self.path("cache")).output().unwrap()
    }

    fn succeeds(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.succeeds(&[arguments, &["--json"]].concat())).unwrap()
    }

    /// A saved graph of one product, and an input for it.
    fn save_graph(&self) {
        let session = InferenceSession::builder().threads(1).build().unwrap();
        let mut graph = Graph::new(session.registry(), []).unwrap();
        let x = graph.add_input("x", TensorType::f32([dim("rows"), dim(64)])).unwrap();
        let values: Vec<f32> = (0..4096).map(|index| (index as f32 * 0.7).sin()).collect();
        let weight = graph.quantize("f32", &Tensor::new([64, 64], values).unwrap()).unwrap();
        let y = graph.qmatmul(x, weight).unwrap();
        graph.output(y).unwrap();
        graph.save(self.path("graph.safetensors")).unwrap();
        fs::create_dir_all(self.path("inputs/first")).unwrap();
        npy::write(&Tensor::full([3, 64], 0.5f32), self.path("inputs/first/x.npy")).unwrap();
    }
}

/// What a command said, without the marks and line breaks of a message.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.split_whitespace().filter(|word| !["×", "│"].contains(word)).collect::<Vec<_>>().join(" ")
}

#[test]
fn a_model_is_planned_and_made() {
    let place = Workplace::new();
    let arguments =
        ["plan", "model.bin", "--text", "text", "--target-bpw", "6", "--tokens", "48", "--window", "24"];
    let json = place.json(&[&arguments[..], &["--save", "plan.toml"]].concat());
    let total = &json["total"];
    let (bytes, budget) = (total["bytes"].as_u64().unwrap(), json["target"]["bytes"].as_u64().unwrap());
    assert!(bytes <= budget && bytes as f64 > 0.9 * budget as f64, "{bytes} of {budget}");
    assert_eq!((&json["measure"]["kind"], &json["measure"]["tokens"]), (&"kl".into(), &48.into()));
    let candidates = json["candidates"].as_array().unwrap();
    let least = candidates.iter().map(|it| it["loss"].as_f64().unwrap()).fold(f64::INFINITY, f64::min);
    assert_eq!(total["loss"].as_f64().unwrap(), least);

    // The same again comes from the cache, and as tables.
    let text = place.succeeds(&arguments);
    let weights = json["weights"].as_array().unwrap();
    for weight in weights {
        let (name, encoding) = (weight["name"].as_str().unwrap(), weight["encoding"].as_str().unwrap());
        let line = text.lines().find(|line| line.split_whitespace().next() == Some(name)).unwrap();
        assert!(line.contains(encoding) && line.contains("sensitivity"), "{line}");
    }
    assert!(text.contains(&format!("{} weights in {bytes} of {budget} bytes", weights.len())), "{text}");
    let name = weights[0]["name"].as_str().unwrap();
    let explained = place.succeeds(&[&arguments[..], &["--explain", name]].concat());
    let encoding = weights[0]["encoding"].as_str().unwrap();
    assert!(explained.starts_with(name) && explained.contains(&format!("\n{encoding}*")), "{explained}");

    // What is saved is a recipe.
    let perplexity = ["perplexity", "model.bin", "--text", "text", "--window", "24", "--recipe", "plan.toml"];
    assert!(place.succeeds(&perplexity).contains("plan.toml"));
}

#[test]
fn a_graph_is_planned_and_made() {
    let place = Workplace::new();
    place.save_graph();
    let arguments = ["plan", "graph.safetensors", "--inputs", "inputs", "--target-size", "3KB"];
    let json = place.json(&[&arguments[..], &["--save", "plan.toml", "--quick"]].concat());
    assert_eq!(json["measure"]["kind"], "outputs");
    assert_eq!(json["target"]["bytes"], 3000);
    let encoding = json["weights"][0]["encoding"].as_str().unwrap();
    assert!(
        fs::read_to_string(place.path("plan.toml")).unwrap().contains(&format!("encoding = \"{encoding}\""))
    );
    let only = place.json(&[&arguments[..], &["-e", "q4_0,q5_0"]].concat());
    assert_eq!(only["weights"][0]["encoding"], "q5_0");

    // The graph is made by the recipe, and planned anew from what was made.
    place.succeeds(&["quantize", "graph.safetensors", "small.safetensors", "--recipe", "plan.toml"]);
    let inspected = place.succeeds(&["inspect", "small.safetensors"]);
    assert!(inspected.contains(encoding), "{inspected}");
    let compared =
        place.succeeds(&["compare", "graph.safetensors", "small.safetensors", "--inputs", "inputs"]);
    assert!(compared.contains("small.safetensors"), "{compared}");
}

#[test]
fn a_recipe_fixes_weights() {
    let place = Workplace::new();
    fs::write(place.path("fixed.toml"), "[[rule]]\nweights = \"token_embd.weight\"\nencoding = \"q8_0\"\n")
        .unwrap();
    // No text: tokens are drawn.
    let json = place.json(&[
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
    let place = Workplace::new();
    place.save_graph();
    fs::write(place.path("empty"), "").unwrap();
    fs::write(place.path("all.toml"), "[[rule]]\nweights = \"*\"\nencoding = \"f16\"\n").unwrap();
    fs::create_dir(place.path("nothing")).unwrap();
    fs::create_dir(place.path("kept")).unwrap();
    fs::write(place.path("other.txt"), "other\n").unwrap();
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
        let output = place.run(&arguments);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {}", said(&output));
        assert!(said(&output).contains(expected), "{arguments:?}: {}", said(&output));
    }
    assert!(!place.path("plan.toml").exists());
}
