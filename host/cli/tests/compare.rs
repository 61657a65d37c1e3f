//! `bitquilt compare`: what it prints of weights, of what models predict, and of what graphs give; and what it says of wrong input.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;
use std::path::Path;
use std::process::Command;

use bitquilt::checkpoint::npy;
use bitquilt::{DType, Graph, Tensor, TensorType, dim};
use bitquilt_models::model::DecoderModel;
use bitquilt_tests::llama2c;
use bitquilt_tests::workplace::{Workplace, said};
use common::workplace;
use serde_json::{Value, json};

/// A small language model with a tokenizer.
fn model(here: &Workplace) -> DecoderModel {
    DecoderModel::open(&llama2c("model.bin"), None, here.registry()).unwrap()
}

fn noise(shape: [usize; 2]) -> Tensor {
    let value = |i: usize| ((i * 7919 % 4093) as f32 - 2046.0) / 1024.0;
    Tensor::new(shape, (0..shape[0] * shape[1]).map(value).collect::<Vec<_>>()).unwrap()
}

fn keys(json: &Value) -> Vec<&str> {
    json.as_object().unwrap().keys().map(String::as_str).collect()
}

#[test]
fn two_checkpoints_have_a_row_for_each_weight_and_a_total() {
    let here = workplace();
    let exact = Tensor::full([4], 0.5f32);
    here.save("a", [("norm", exact.clone()), ("w", Tensor::new([2, 1], [3f32, 4.0]).unwrap())]);
    here.save("b", [("norm", exact), ("w", Tensor::new([2, 1], [3f32, 2.5]).unwrap())]);
    let printed = here.json(&["compare", "a", "b"]);
    let figures = (0.3, 10.0 * (25.0f64 / 2.25).log10(), 19.0 / (25.0f64 * 15.25).sqrt());
    let near = |found: &Value, expected: f64| (found.as_f64().unwrap() - expected).abs() < 1e-12;
    let [worst, exact] = &printed["weights"].as_array().unwrap()[..] else { panic!("{printed}") };
    assert_eq!(
        *exact,
        json!({
            "name": "norm", "shape": [4], "encoding": "f32", "bits": 32.0, "rel_rms": 0.0, "max_abs": 0.0, "snr_db": null, "cosine": 1.0
        })
    );
    assert_eq!((&worst["name"], &worst["max_abs"]), (&json!("w"), &json!(1.5)));
    assert!(
        near(&worst["rel_rms"], figures.0)
            && near(&worst["snr_db"], figures.1)
            && near(&worst["cosine"], figures.2)
    );
    assert_eq!(keys(&printed), ["total", "weights"]);
    let total = &printed["total"];
    assert_eq!(keys(total), ["bits", "bytes", "cosine", "max_abs", "rel_rms", "snr_db"]);
    assert_eq!((&total["bytes"], &total["bits"]), (&json!(24), &json!(32.0)));
    assert!(near(&total["rel_rms"], (2.25f64 / 26.0).sqrt()), "{total}");

    let table = here.succeeds(&["compare", "a", "b"]);
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["w", "[2,", "1]", "f32", "32.00", "0.300000", "1.500000", "10.46", "0.973080"]);
    assert_eq!(lines[2], ["norm", "[4]", "f32", "32.00", "0.000000", "0.000000", "exact", "1.000000"]);
    assert!(table.lines().nth(3).unwrap().starts_with("all 2, 0.00 MB"), "{table}");
    // On any number of threads.
    for threads in ["1", "3"] {
        assert_eq!(here.json(&["compare", "a", "b", "--threads", threads]), printed);
    }
}

#[test]
fn encodings_are_compared_beside_each_other_and_with_what_quantize_makes() {
    let here = workplace();
    here.save(
        "in",
        [("wide", noise([3, 512])), ("narrow", noise([2, 32])), ("norm", Tensor::full([32], 1f32))],
    );
    let several = here.json(&["compare", "in", "--encodings", "q8_0,q4_k"]);
    let encodings: Vec<&Value> =
        several["weights"].as_array().unwrap().iter().map(|it| &it["encoding"]).collect();
    assert_eq!(encodings, ["q8_0", "q8_0", "q4_k"]);
    assert_eq!(keys(&several["total"]), ["q4_k", "q8_0"]);
    assert_eq!(several["total"]["q4_k"]["bytes"], json!(3 * 2 * 144));
    let output = here.run(&["compare", "in", "--encodings", "q8_0,q4_k"]);
    assert!(
        said(&output).contains(
            "left out of `q4_k`, of whose blocks of 256 values their rows are no whole number: `narrow`"
        ),
        "{}",
        said(&output)
    );

    let one = here.json(&["compare", "in", "--encodings", "q4_0", "--only", "w*"]);
    assert_eq!(one["weights"].as_array().unwrap().len(), 1);
    here.succeeds(&["quantize", "in", "out", "--encoding", "q4_0"]);
    let other = here.json(&["compare", "in", "out"]);
    let row = |json: &Value, name: &str| {
        json["weights"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap().clone()
    };
    assert_eq!(row(&one, "wide"), row(&other, "wide"));
    assert_eq!(row(&other, "norm")["snr_db"], Value::Null);
    assert_eq!(other["weights"].as_array().unwrap().len(), 3);

    // Importance makes other blocks, which `quantize` makes, too.
    let vector = |len: usize| Tensor::new([len], (1..=len).map(|i| i as f32).collect::<Vec<_>>()).unwrap();
    here.save("importance", [("wide", vector(512)), ("narrow", vector(32))]);
    let weighted = here.json(&["compare", "in", "--encodings", "q4_0", "--importance", "importance"]);
    here.succeeds(&["quantize", "in", "weighted", "--encoding", "q4_0", "--importance", "importance"]);
    assert_eq!(row(&weighted, "wide"), row(&here.json(&["compare", "in", "weighted"]), "wide"));
    assert_ne!(row(&weighted, "wide"), row(&one, "wide"));
}

#[test]
fn what_is_not_shared_is_said_after_what_is() {
    let here = workplace();
    here.save("a", [("same", noise([2, 32])), ("layer.0.up", noise([2, 32]))]);
    here.save("b", [("same", noise([2, 32])), ("layer.0.down", noise([2, 32]))]);
    let output = here.run(&["compare", "a", "b", "--json"]);
    assert_eq!(output.status.code(), Some(1));
    let printed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(printed["weights"].as_array().unwrap().len(), 1);
    assert_eq!(
        said(&output),
        "a and b have not the same weights: b lacks `layer.0.up`; a lacks `layer.0.down` (is it `layer.0.up` there?)"
    );
    here.save("c", [("other", noise([2, 32]))]);
    assert_eq!(
        here.fails(&["compare", "c", "a"]),
        "c and a have not the same weights: a lacks `other`; c lacks `layer.0.up`, `same`"
    );
}

#[test]
fn predictions_of_models_are_compared_on_a_text() {
    let here = workplace();
    let model = model(&here);
    model.save(&here.path("a")).unwrap();
    here.write("text", "Once upon a time there was a little cat. ".repeat(4));
    let text = ["--text", "text", "--window", "16"];
    let same = here.json(&[&["compare", "a", "a"], &text[..]].concat());
    assert_eq!(keys(&same), ["kl", "perplexity", "top1", "total", "weights"]);
    assert_eq!(same["kl"], json!({ "mean": 0.0, "median": 0.0, "p99": 0.0, "max": 0.0 }));
    assert_eq!((&same["top1"], &same["perplexity"]["a"]), (&json!(1.0), &same["perplexity"]["b"]));

    let several = here.json(&[&["compare", "a", "--encodings", "q8_0,q4_0"], &text[..]].concat());
    let kl = |name: &str, figure: &str| several["kl"][name][figure].as_f64().unwrap();
    assert!(kl("q4_0", "mean") > kl("q8_0", "mean") && kl("q8_0", "mean") > 0.0, "{several}");
    for name in ["q8_0", "q4_0"] {
        assert!(kl(name, "median") <= kl(name, "p99") && kl(name, "p99") <= kl(name, "max"), "{several}");
        assert!(several["top1"][name].as_f64().unwrap() <= 1.0);
        assert_eq!(several["perplexity"][name]["a"], same["perplexity"]["a"]);
    }
    // A file with such weights has lost the same, whatever the number of threads.
    here.succeeds(&["quantize", "a", "b", "--encoding", "q4_0"]);
    for threads in ["1", "3"] {
        let other = here.json(&[&["compare", "a", "b", "--threads", threads], &text[..]].concat());
        assert_eq!((&other["kl"], &other["top1"]), (&several["kl"]["q4_0"], &several["top1"]["q4_0"]));
    }
    let table = here.succeeds(&[&["compare", "a", "b", "--tokens", "16"], &text[..]].concat());
    assert!(table.lines().last().unwrap().starts_with("b: KL divergence "), "{table}");
}

#[test]
fn outputs_of_graphs_are_compared_on_sets_of_inputs() {
    let here = workplace();
    let weight = noise([5, 64]);
    let save = |name: &str, encoding: &str| {
        let mut graph = Graph::new(here.registry(), []).unwrap();
        let x = graph.add_input("x", TensorType::f32([dim("rows"), dim(64)])).unwrap();
        let ids = graph.add_input("ids", TensorType::dense(DType::I64, [dim("ids")])).unwrap();
        let weight = graph.quantize(encoding, &weight).unwrap();
        let product = graph.qmatmul(x, weight).unwrap();
        let rows = graph.qgather(weight, ids).unwrap();
        graph.output_named("product", product).unwrap();
        graph.output_named("rows", rows).unwrap();
        graph.save(here.path(name)).unwrap();
    };
    save("a", "bf16");
    save("b", "q4_0");
    for set in ["first", "second"] {
        let rows = set.len() - 4;
        fs::create_dir_all(here.path("inputs").join(set)).unwrap();
        npy::write(&noise([rows, 64]), here.path("inputs").join(set).join("x.npy")).unwrap();
        let ids = Tensor::new([2], [0i64, 4]).unwrap();
        npy::write(&ids, here.path("inputs").join(set).join("ids.npy")).unwrap();
    }
    let found = here.json(&["compare", "a", "--encodings", "q4_0,bf16", "--inputs", "inputs"]);
    assert_eq!(found["weights"][0]["name"], "constant.0");
    let q4_0 = &found["outputs"]["q4_0"];
    assert_eq!(
        (keys(q4_0), keys(&q4_0["by_name"])),
        (vec!["by_name", "cosine", "rel_rms"], vec!["product", "rows"])
    );
    // The rows that are gathered are those of the weight.
    let rows = noise([5, 64]).values::<f32>().unwrap().to_vec();
    let decoded = |encoding: &str| {
        let encoding = here.registry().require_encoding(encoding).unwrap();
        let encoded = encoding.quantize(&Tensor::new([5, 64], &rows[..]).unwrap()).unwrap().tensor;
        encoding.dequantize(&encoded).unwrap().values::<f32>().unwrap().to_vec()
    };
    let reference = decoded("bf16");
    let requantized = {
        let encoding = here.registry().require_encoding("q4_0").unwrap();
        let encoded = encoding.quantize(&Tensor::new([5, 64], &reference[..]).unwrap()).unwrap().tensor;
        encoding.dequantize(&encoded).unwrap().values::<f32>().unwrap().to_vec()
    };
    let taken = |values: &[f32]| [&values[..64], &values[4 * 64..]].concat();
    let (mut norm, mut error) = (0f64, 0f64);
    for (a, b) in taken(&reference).iter().zip(taken(&requantized)) {
        norm += f64::from(*a).powi(2);
        error += (f64::from(*a) - f64::from(b)).powi(2);
    }
    let rel_rms = q4_0["by_name"]["rows"]["rel_rms"].as_f64().unwrap();
    assert!((rel_rms - (error / norm).sqrt()).abs() < 1e-12, "{rel_rms}");
    assert_eq!(found["outputs"]["bf16"]["rel_rms"], json!(0.0));

    let other = here.json(&["compare", "a", "b", "--inputs", "inputs"]);
    assert_eq!(keys(&other), ["outputs", "total", "weights"]);
    assert!(other["outputs"]["rel_rms"].as_f64().unwrap() > 0.0);
    let table = here.succeeds(&["compare", "a", "b", "--inputs", "inputs/first"]);
    assert!(
        table.contains("b: output `product`: rel RMS 0.") && table.contains("b: all outputs: "),
        "{table}"
    );

    // What is wrong with the inputs.
    let first = here.path("inputs").join("first");
    fs::rename(first.join("ids.npy"), here.path("ids.npy")).unwrap();
    assert_eq!(
        here.fails(&["compare", "a", "b", "--inputs", "inputs"]),
        "a on inputs/first: the input `ids` was given 0 times; give each input once"
    );
    npy::write(&Tensor::full([3], 9i64), first.join("ids.npy")).unwrap();
    let outside = here.fails(&["compare", "a", "b", "--inputs", "inputs"]);
    assert!(outside.starts_with("a on inputs/first: "), "{outside}");
    npy::write(&Tensor::full([1, 64], f32::MAX), first.join("x.npy")).unwrap();
    npy::write(&Tensor::full([1], 0i64), first.join("ids.npy")).unwrap();
    let infinite = here.fails(&["compare", "a", "b", "--inputs", "inputs"]);
    assert!(infinite.starts_with("on inputs/first the output `product` of a has "), "{infinite}");
}

#[test]
fn wrong_input_is_a_sentence() {
    let here = workplace();
    let model = model(&here);
    model.save(&here.path("model")).unwrap();
    here.save("a", [("w", noise([2, 32]))]);
    here.write("empty", "");
    here.write("short", "Once upon a time");
    here.write("bytes", b"\xff\xfe");
    fs::create_dir(here.path("inputs")).unwrap();
    here.write("broken.npz", "PK");
    let mut graph = Graph::new(here.registry(), []).unwrap();
    let x = graph.add_input("x", TensorType::f32([1, 32])).unwrap();
    let encoded = graph.quantize("q8_0", &noise([2, 32])).unwrap();
    graph.qmatmul(x, encoded).unwrap();
    graph.save(here.path("blind")).unwrap();
    let doubled = graph.add(x, x).unwrap();
    graph.output_named("y", doubled).unwrap();
    graph.save(here.path("seeing")).unwrap();
    let mut plain = Graph::new(here.registry(), [TensorType::f32([1])]).unwrap();
    plain.output(plain.input(0)).unwrap();
    plain.save(here.path("plain")).unwrap();

    let mut untold = model.clone();
    untold.vocabulary = None;
    untold.save(&here.path("untold")).unwrap();
    let mut renamed = model.clone();
    renamed.vocabulary.as_mut().unwrap().tokens[299] = "other".to_owned();
    renamed.save(&here.path("renamed")).unwrap();

    for (arguments, sentence) in [
        (&["a", "nowhere"][..], "cannot read nowhere: "),
        (&["a", "--encodings", "q4_9"], "`q4_9`"),
        (&["a", "--encodings", "q4_0", "--only", "x"], "whose names match `x`"),
        (&["a", "--encodings", "q4_k"], "a: none of the 1 weights has rows of whole blocks of `q4_k`"),
        (&["a", "a", "--text", "short"], "a: it is no model that this library runs"),
        (&["model", "model", "--text", "nowhere"], "cannot read nowhere: "),
        (&["model", "model", "--text", "bytes"], "bytes is no text in UTF-8"),
        (
            &["model", "model", "--text", "empty"],
            "empty: the text has 1 tokens, 512 at least were expected; give a longer one, or a smaller window",
        ),
        (&["model", "--encodings", "q8_0", "--text", "short", "--window", "64"], "short: the text has "),
        (
            &["untold", "untold", "--text", "short"],
            "untold: the model has no tokenizer; name the file of one by the option `tokenizer`",
        ),
        (&["model", "renamed", "--text", "short", "--window", "4"], "token 299 is "),
        (&["model", "model", "--inputs", "inputs"], "model has no graph that can be read"),
        (&["seeing", "seeing", "--inputs", "inputs"], "inputs has no inputs: a set of them is a file .npz"),
        (&["seeing", "seeing", "--inputs", "nowhere"], "cannot read nowhere: "),
        (&["seeing", "seeing", "--inputs", "broken.npz"], "broken.npz: this is no .npz file"),
        (&["blind", "blind", "--inputs", "inputs"], "blind: the graph has no outputs"),
        (
            &["seeing", "plain", "--inputs", "inputs"],
            "the outputs of seeing are `y` and those of plain `output0`",
        ),
        (
            &["plain", "--encodings", "q4_0", "--inputs", "inputs"],
            "the graph in plain has no encoded weights",
        ),
    ] {
        let found = here.fails(&[&["compare"], arguments].concat());
        assert!(found.contains(sentence), "{arguments:?}: {found}");
    }
    for arguments in [
        &["a"][..],
        &["a", "a", "--encodings", "q4_0"],
        &["a", "a", "--importance", "a"],
        &["a", "a", "--text", "short", "--window", "1"],
        &["a", "a", "--text", "short", "--tokens", "1"],
        &["a", "a", "--window", "2"],
        &["a", "a", "--text", "short", "--inputs", "inputs"],
        &["a", "a", "--only", "["],
    ] {
        here.refuses(2, &[&["compare"], arguments].concat());
    }
}

#[test]
fn an_archive_of_numpy_is_a_set_of_inputs() {
    let python = std::env::var("BITQUILT_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let has_numpy = Command::new(&python).args(["-c", "import numpy"]).output();
    if !has_numpy.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: {python} has no numpy; name one that has in BITQUILT_PYTHON");
        return;
    }
    let here = workplace();
    here.save_product("graph", ["x", "y"], "q8_0", &noise([2, 32]));
    fs::create_dir(here.path("inputs")).unwrap();
    let script = "import numpy as np\n\
        x = np.arange(96, dtype=np.float32).reshape(3, 32)\n\
        np.savez('inputs/a.npz', x=x)\n\
        np.savez_compressed('inputs/b.npz', x=x[:1])\n\
        np.savez('inputs/other.npz', z=x)\n";
    let made = Command::new(&python).current_dir(here.path("")).args(["-c", script]).status();
    assert!(made.unwrap().success());
    for set in ["inputs/a.npz", "inputs/b.npz"] {
        let found = here.json(&["compare", "graph", "--encodings", "q4_0", "--inputs", set]);
        let rel_rms = found["outputs"]["rel_rms"].as_f64().unwrap();
        assert!(rel_rms > 0.0 && rel_rms < 0.2, "{set}: {found}");
    }
    let lacking = here.fails(&["compare", "graph", "graph", "--inputs", "inputs"]);
    assert_eq!(lacking, "graph on inputs/other.npz: the graph has no input `z`; it has `x`");
}

/// The data of a page.
fn page(path: &Path) -> Value {
    let page = fs::read_to_string(path).unwrap();
    let (_, data) = page.split_once(r#"<script id="data" type="application/json" nonce="page">"#).unwrap();
    serde_json::from_str(data.split_once("</script>").unwrap().0).unwrap()
}

#[test]
fn a_page_has_what_is_printed() {
    let here = workplace();
    here.save("in", [("blk.0.up.weight", noise([3, 512])), ("norm", Tensor::full([32], 1f32))]);
    let printed = here.json(&["compare", "in", "--encodings", "q8_0,q4_0", "--html", "page.html"]);
    let shown = page(&here.path("page.html"));
    assert_eq!((&shown["a"], &shown["b"]), (&json!("in"), &Value::Null));
    assert_eq!(keys(&shown["total"]), keys(&printed["total"]));
    let [first, _] = &printed["weights"].as_array().unwrap()[..] else { panic!("{printed}") };
    let counts = |histogram: &str| {
        first["histograms"][histogram]["counts"]
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it.as_u64().unwrap())
            .sum::<u64>()
    };
    assert_eq!((counts("values"), counts("error")), (3 * 512, 3 * 512));
    assert_eq!(
        shown["weights"][0]["histograms"]["values"]["counts"],
        first["histograms"]["values"]["counts"]
    );
    // Without a page, neither it nor histograms; and the same figures.
    let plain = here.json(&["compare", "in", "--encodings", "q8_0,q4_0"]);
    assert_eq!((&plain["total"], &plain["weights"][0]["histograms"]), (&printed["total"], &Value::Null));

    // The table is printed all the same; an older page is replaced; so it is if the two are not alike, which is said.
    here.save("other", [("blk.0.up.weight", noise([3, 512])), ("more", noise([1, 2]))]);
    let output = here.run(&["compare", "in", "other", "--html", "page.html"]);
    assert!(String::from_utf8(output.stdout.clone()).unwrap().contains("all 1"), "{}", said(&output));
    assert!(said(&output).contains("other lacks `norm`"), "{}", said(&output));
    let shown = page(&here.path("page.html"));
    assert_eq!((&shown["b"], &shown["total"]["rel_rms"]), (&json!("other"), &json!(0.0)));
}

#[test]
fn a_page_takes_the_place_of_nothing_that_is_read() {
    let here = workplace();
    for name in ["a", "b"] {
        here.save(name, [("w", noise([2, 32]))]);
    }
    here.save("importance", [("w", Tensor::full([32], 1f32))]);
    here.write("text", "Once upon a time");
    fs::create_dir_all(here.path("sets/first")).unwrap();
    npy::write(&Tensor::full([2], 1f32), here.path("sets/first/x.npy")).unwrap();
    let encodings = ["compare", "a", "--encodings", "q4_0", "--html"];
    let lost = "which would be lost; name another";
    for (arguments, page) in [
        (&["compare", "a", "b", "--html"][..], "a"),
        (&["compare", "a", "b", "--html"], "b"),
        (&encodings, "a"),
        (&["compare", "a", "--encodings", "q4_0", "--importance", "importance", "--html"], "importance"),
        (&["compare", "a", "b", "--text", "text", "--html"], "text"),
        (&["compare", "a", "b", "--inputs", "sets", "--html"], "sets/first/x.npy"),
    ] {
        let before = here.read(page);
        let said = here.fails(&[arguments, &[page]].concat());
        assert!(said.contains(&format!("--html: {page} is what is read, {lost}")), "{said}");
        assert_eq!(here.read(page), before);
    }
    assert!(here.fails(&[&encodings[..], &["sets"]].concat()).contains("sets is a directory"));
    assert!(here.fails(&[&encodings[..], &["none/page.html"]].concat()).contains("none/page.html"));
    assert!(!here.path("page.html").exists());
}
