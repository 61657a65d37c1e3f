//! `bitquilt importance`, and what `quantize` and `compare` make of its files and of those of llama.cpp.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;

use bitquilt::checkpoint::npy;
use bitquilt::quantize::importance::ImportanceMatrix;
use bitquilt::{Graph, Tensor, TensorType, dim};
use bitquilt_models::blocks::decoder::Options;
use bitquilt_models::importance::record;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::runner::Runner;
use bitquilt_models::tokenizer::Tokenizer;
use bitquilt_tests::gguf::GgufFile;
use bitquilt_tests::workplace::Workplace;
use bitquilt_tests::{llama2c, weight};
use common::workplace;
use serde_json::{Value, json};

const TEXT: &str = "Once upon a time there was a little cat. ";

/// A small language model with a tokenizer.
fn model(here: &Workplace) -> DecoderModel {
    DecoderModel::open(&llama2c("model.bin"), None, here.registry()).unwrap()
}

fn load(here: &Workplace, name: &str) -> ImportanceMatrix {
    ImportanceMatrix::read([here.path(name)]).unwrap()
}

#[test]
fn a_language_model_is_recorded_on_a_text() {
    let here = workplace();
    let model = model(&here);
    model.save(&here.path("model.safetensors")).unwrap();
    here.write("text", TEXT.repeat(4));
    let arguments = ["importance", "model.safetensors", "--text", "text", "--window", "16"];
    let found = here.json(&[&arguments[..], &["--tokens", "40", "-o", "imatrix.gguf"]].concat());

    let tokenizer = Tokenizer::new(model.vocabulary.as_ref().unwrap()).unwrap();
    let tokens = tokenizer.encode_for_model(&TEXT.repeat(4), true, |_| {}).unwrap();
    let options = Options { context: 16, cache: bitquilt::DType::F16, precision: "fast".to_owned() };
    let mut runner = Runner::load(here.session(), &model, &options, |_, _| {}).unwrap();
    let expected = record(&mut runner, &tokens, 16, 40, "text", |_| {}).unwrap();
    let read = load(&here, "imatrix.gguf");
    assert!(
        !expected.is_empty() && expected.iter().map(|(name, _)| name).eq(read.iter().map(|(name, _)| name))
    );
    for (name, columns) in expected.iter() {
        let found = read.get(name).unwrap();
        assert_eq!(found.counts(), columns.counts(), "{name}");
        assert!(found.means().iter().zip(columns.means()).all(|(a, b)| (a - b).abs() <= 1e-6 * b), "{name}");
    }
    // Names are those of the file, and the tied embedding is multiplied as the classifier.
    assert_eq!(read.get("blk.0.attn_q.weight").unwrap().rows(), 40.0);
    assert_eq!(found["chunks"], json!({"count": 3, "size": 16}));
    assert_eq!(found["datasets"], json!(["text"]));
    assert_eq!(found["weights"].as_array().unwrap().len(), read.len());
    let names: Vec<String> =
        found["without"].as_array().unwrap().iter().map(|it| it.as_str().unwrap().to_owned()).collect();
    let weights = model.weights.iter().filter(|(_, it)| it.shape().len() == 2);
    let without: Vec<&str> = weights.map(|(name, _)| name).filter(|name| read.get(name).is_none()).collect();
    assert_eq!(names, without);

    // What is merged counts by its rows, and as a table.
    let twice = ["--merge", "imatrix.gguf", "--merge", "imatrix.gguf", "-o", "twice.safetensors"];
    let table = here.succeeds(&[&["importance"], &twice[..]].concat());
    assert!(
        table.starts_with("weight")
            && table.contains("it is from 6 chunks of 16 rows; twice.safetensors was written"),
        "{table}"
    );
    let twice = load(&here, "twice.safetensors");
    assert_eq!(twice.get("blk.0.attn_q.weight").unwrap().rows(), 80.0);
    assert_eq!(
        twice.get("blk.0.ffn_down.weight").unwrap().means(),
        read.get("blk.0.ffn_down.weight").unwrap().means()
    );
    let more = here.json(&[&arguments[..], &["--merge", "imatrix.gguf"]].concat());
    assert!(more["chunks"]["count"].as_u64().unwrap() > 6);
}

#[test]
fn a_graph_is_recorded_on_inputs() {
    let here = workplace();
    let mut graph = Graph::new(here.registry(), []).unwrap();
    let x = graph.add_input("x", TensorType::f32([dim("n"), dim(256)])).unwrap();
    let weight = graph.quantize("q8_0", &weight([3, 256])).unwrap();
    let table = graph.quantize("q8_0", &Tensor::full([2, 256], 1f32)).unwrap();
    let rows = graph.constant(&Tensor::new([1], [1i32]).unwrap()).unwrap();
    let row = graph.qgather(table, rows).unwrap();
    let x = graph.add(x, row).unwrap();
    let y = graph.qmatmul(x, weight).unwrap();
    graph.output_named("y", y).unwrap();
    graph.save(here.path("graph")).unwrap();
    fs::create_dir(here.path("inputs")).unwrap();
    for (set, value, n) in [("a", 1.0, 2), ("b", 3.0, 6)] {
        fs::create_dir(here.path("inputs").join(set)).unwrap();
        npy::write(&Tensor::full([n, 256], value as f32), here.path("inputs").join(set).join("x.npy"))
            .unwrap();
    }
    let found = here.json(&["importance", "graph", "--inputs", "inputs", "-o", "importance"]);
    let expected = (2.0 * 4.0 + 6.0 * 16.0) / 8.0;
    assert_eq!(
        found,
        json!({
            "weights": [{"name": "constant.0", "columns": 256, "rows": 8.0, "spread": 1.0}], "without": ["constant.1"],
            "datasets": ["inputs"], "chunks": {"count": 2, "size": 4},
        })
    );
    let means = load(&here, "importance").get("constant.0").unwrap().means();
    assert!(means.len() == 256 && means.iter().all(|mean| (mean - expected).abs() < 0.01), "{means:?}");
    let compare = ["compare", "graph", "--encodings", "q4_k", "--inputs", "inputs"];
    let warned = here.warns(&[&compare[..], &["--importance", "importance"]].concat());
    assert!(
        warned.contains("encoded without importance, since there is none of theirs: `constant.1`"),
        "{warned}"
    );
    here.write("none", "");
    fs::create_dir(here.path("empty")).unwrap();
    assert!(here.fails(&["importance", "graph", "--inputs", "empty"]).contains("empty has no inputs"));
}

#[test]
fn both_kinds_of_files_are_taken_and_said_in_what_is_written() {
    let here = workplace();
    let (a, experts) = (weight([3, 256]), weight([2, 2, 256]));
    let norm = Tensor::full([256], 1f32);
    here.save(
        "model.gguf",
        [("a", a.clone()), ("b", a.clone()), ("c", a.clone()), ("experts", experts.clone()), ("norm", norm)],
    );
    let sums: Vec<f32> = (0..256).map(|i| (1 + i % 7) as f32).collect();
    let two: Vec<f32> = sums.iter().copied().chain([0.0; 256]).collect();
    let file = GgufFile::imatrix(["calibration.txt"])
        .importance("a", [256], sums.iter().copied(), &[2.0])
        .importance("c", [256], [0.0; 256], &[0.0])
        .importance("experts", [256, 2], two.iter().copied(), &[2.0, 0.0])
        .importance("other", [4], [1.0; 4], &[1.0]);
    here.write("imatrix.gguf", file.bytes());
    load(&here, "imatrix.gguf").write(here.path("means")).unwrap();

    let registry = here.registry();
    let encoding = registry.require_encoding("q4_k").unwrap();
    let means: Vec<f32> = sums.iter().map(|sum| sum / 2.0).collect();
    let of_experts: Vec<f32> = two.iter().map(|sum| sum / 2.0).collect();
    let (plain, weighted) =
        (encoding.quantize(&a).unwrap(), encoding.quantize_with_importance(&a, &means).unwrap());
    let weighted_experts = encoding.quantize_with_importance(&experts, &of_experts).unwrap();
    assert_ne!(plain.tensor, weighted.tensor);
    for (importance, out) in [("imatrix.gguf", "one.gguf"), ("means", "two.gguf"), ("imatrix.gguf", "three")]
    {
        let warned = here.warns(&["quantize", "model.gguf", out, "-e", "q4_k", "--importance", importance]);
        for sentence in [
            "encoded without importance, since there is none of theirs: `b`",
            "at least the matrices that no row has reached: `c`, `experts`",
            "the model has none of them: `other`",
        ] {
            assert!(warned.contains(sentence), "{warned}");
        }
        let written = here.load(out);
        for (name, expected) in
            [("a", &weighted), ("b", &plain), ("c", &plain), ("experts", &weighted_experts)]
        {
            assert_eq!(written.require(name).unwrap(), &expected.tensor, "{name} of {out}");
        }
        let metadata = written.metadata();
        assert_eq!(metadata.text("quantize.imatrix.file"), Some(importance));
        assert_eq!(metadata.text("quantize.imatrix.dataset"), Some("calibration.txt"));
        let number = |key: &str| metadata.get(key).and_then(|value| value.as_u64());
        assert_eq!(number("quantize.imatrix.entries_count"), Some(4));
        assert_eq!(number("quantize.imatrix.chunks_count"), Some(7));
        assert!(here.succeeds(&["inspect", out]).contains("quantize.imatrix.dataset"), "{out}");
    }
    // As `compare` encodes them.
    let compared =
        here.json(&["compare", "model.gguf", "--encodings", "q4_k", "--importance", "imatrix.gguf"]);
    let other = here.json(&["compare", "model.gguf", "one.gguf"]);
    let row = |json: &Value, name: &str| {
        json["weights"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap().clone()
    };
    for name in ["a", "b", "c"] {
        assert_eq!(row(&compared, name), row(&other, name), "{name}");
    }
    // Sums over matrices that are encoded one by one are not in the order of those over all rows.
    let error = |json: &Value| row(json, "experts")["rel_rms"].as_f64().unwrap();
    assert!((error(&compared) / error(&other) - 1.0).abs() < 1e-12);
    // Several files are merged; where nothing is weighed, nothing is said.
    let both = ["--importance", "imatrix.gguf", "--importance", "means"];
    here.succeeds(&[&["quantize", "model.gguf", "four.gguf", "-e", "q4_k"], &both[..]].concat());
    let four = here.load("four.gguf");
    assert_eq!(four.require("a").unwrap(), &weighted.tensor);
    assert_eq!(four.metadata().text("quantize.imatrix.file"), Some("imatrix.gguf, means"));
    here.succeeds(&["quantize", "model.gguf", "five.gguf", "-e", "q8_0", "--importance", "imatrix.gguf"]);
    let five = here.load("five.gguf");
    assert!(!five.metadata().contains("quantize.imatrix.file"));
}

#[test]
fn wrong_input_is_a_sentence() {
    let here = workplace();
    model(&here).save(&here.path("model.safetensors")).unwrap();
    here.write("text", TEXT);
    here.write("empty", "");
    let imatrix = GgufFile::imatrix(["calibration.txt"]).importance("a", [4], [1.0; 4], &[1.0]);
    here.write("imatrix.gguf", imatrix.bytes());
    here.save("vectors", [("a", Tensor::full([4], 1f32))]);
    here.save("wide", [("a", Tensor::full([2, 256], 1f32)), ("b", Tensor::full([2, 256], 1f32))]);
    let text = ["importance", "model.safetensors", "--text"];
    let and = |more: &[&'static str]| [&text[..], more].concat();
    for (arguments, sentence) in [
        (and(&["empty"]), "empty: the text has "),
        (and(&["none"]), "none"),
        (and(&["text", "-o", "text"]), "text is read; name another file for what is written"),
        (and(&["text", "-o", "model.safetensors"]), "model.safetensors is read; name another file"),
        (
            and(&["text", "-o", "imatrix.safetensors", "--merge", "vectors"]),
            "vectors: it does not say how many rows",
        ),
        (vec!["importance", "wide", "--inputs", "."], "wide"),
        (
            vec!["importance", "--merge", "text"],
            "text: it is no GGUF, safetensors or .npz file, and as an imatrix.dat",
        ),
        (
            vec!["importance", "--merge", "imatrix.gguf", "--merge", "vectors"],
            "vectors: it does not say how many rows",
        ),
        (
            vec!["quantize", "wide", "out", "-e", "q4_k", "--importance", "imatrix.gguf"],
            "imatrix.gguf: `a` has 4 columns there, and 256 in the model",
        ),
        (vec!["compare", "wide", "--encodings", "q4_k", "--importance", "text"], "text: it is no GGUF"),
        (
            vec!["quantize", "wide", "vectors", "-e", "q4_k", "--importance", "vectors"],
            "vectors is the importance, which would be lost",
        ),
    ] {
        let found = here.fails(&arguments);
        assert!(found.contains(sentence), "{arguments:?}: {found}");
    }
    for arguments in [
        &["importance"][..],
        &["importance", "model.safetensors"],
        &["importance", "--text", "text"],
        &["importance", "model.safetensors", "--text", "text", "--inputs", "."],
        &["importance", "model.safetensors", "--inputs", ".", "--tokens", "4"],
        &["importance", "--merge", "vectors", "--window", "1"],
    ] {
        here.refuses(2, arguments);
    }
}
