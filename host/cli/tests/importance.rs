//! `bitquilt importance`, and what `quantize` and `compare` make of its files and of those of llama.cpp.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use bitquilt::checkpoint::{self, Checkpoint, npy};
use bitquilt::quantize::importance::{Chunks, ImportanceMatrix};
use bitquilt::{Graph, InferenceSession, Tensor, TensorDict, TensorType, dim};
use bitquilt_models::blocks::decoder::Options;
use bitquilt_models::importance::record;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::runner::Runner;
use bitquilt_models::tokenizer::Tokenizer;
use bitquilt_tests::gguf::{GgufFile, GgufTensor};
use serde_json::{Value, json};

const TEXT: &str = "Once upon a time there was a little cat. ";

struct Workplace {
    directory: tempfile::TempDir,
    session: InferenceSession,
}

impl Workplace {
    fn new() -> Self {
        let session = InferenceSession::builder().threads(1).build().unwrap();
        Self { directory: tempfile::tempdir().unwrap(), session }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        fs::write(self.path(name), bytes).unwrap();
    }

    fn save(&self, name: &str, tensors: &[(&str, Tensor)]) {
        let dict: TensorDict = tensors.iter().map(|(name, tensor)| (*name, tensor.clone())).collect();
        checkpoint::save(&dict, self.path(name)).unwrap();
    }

    /// A small language model with a tokenizer.
    fn model(&self) -> DecoderModel {
        let path =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/tests/data/llama2c/model.bin");
        DecoderModel::open(&path, None, self.session.registry()).unwrap()
    }

    fn read(&self, name: &str) -> Result<ImportanceMatrix, String> {
        let read = ImportanceMatrix::read([self.path(name)]);
        read.map_err(|error| error.to_string().replace(&format!("{}/", self.directory.path().display()), ""))
    }

    fn run(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_bitquilt"));
        command.current_dir(self.directory.path()).args(arguments);
        command.env_remove("BITQUILT_PLUGIN_PATH").env("XDG_DATA_HOME", self.directory.path());
        command.output().unwrap()
    }

    /// What the command says on standard error as it succeeds.
    fn warns(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        said(&output)
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.run(&[arguments, &["--json"]].concat());
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    fn fails(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", said(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
        said(&output)
    }
}

/// Standard error on one line.
fn said(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr);
    text.split_whitespace().filter(|word| !["×", "│"].contains(word)).collect::<Vec<_>>().join(" ")
}

/// A file as llama.cpp writes it: a weight `a` of 4 columns, and `b`, three experts of 2 columns, of which the second was never reached.
fn imatrix() -> GgufFile {
    GgufFile::default()
        .set("general.type", "imatrix")
        .set("imatrix.datasets", ["calibration.txt", "more.txt"])
        .set("imatrix.chunk_count", 7)
        .set("imatrix.chunk_size", 512)
        .tensor(GgufTensor::f32("a.in_sum2", [4], [8.0, 0.0, 2.0, 1.0]))
        .tensor(GgufTensor::f32("a.counts", [1, 1], [4.0]))
        .tensor(GgufTensor::f32("b.in_sum2", [2, 3], [1.0, 2.0, 0.0, 0.0, 9.0, 6.0]))
        .tensor(GgufTensor::f32("b.counts", [1, 3], [2.0, 0.0, 3.0]))
}

/// A file of the older format: names, chunks and sums; chunks of all, and a dataset.
fn dat(entries: &[(&str, i32, &[f32])], end: Option<(i32, &str)>) -> Vec<u8> {
    let text = |text: &str| [&(text.len() as i32).to_le_bytes()[..], text.as_bytes()].concat();
    let mut file = (entries.len() as i32).to_le_bytes().to_vec();
    for (name, chunks, sums) in entries {
        file.extend(text(name));
        file.extend(chunks.to_le_bytes());
        file.extend((sums.len() as i32).to_le_bytes());
        file.extend(sums.iter().flat_map(|sum| sum.to_le_bytes()));
    }
    if let Some((chunks, dataset)) = end {
        file.extend(chunks.to_le_bytes());
        file.extend(text(dataset));
    }
    file
}

#[test]
fn files_of_llama_cpp_are_read_and_written() {
    let here = Workplace::new();
    here.write("imatrix.gguf", imatrix().bytes());
    let read = here.read("imatrix.gguf").unwrap();
    let a = read.get("a").unwrap();
    assert_eq!(
        (a.means(), a.counts(), a.sums()),
        (vec![2.0, 0.0, 0.5, 0.25], &[4.0][..], &[8.0, 0.0, 2.0, 1.0][..])
    );
    let b = read.get("b").unwrap();
    assert_eq!((b.means(), b.counts()), (vec![0.5, 1.0, 0.0, 0.0, 3.0, 2.0], &[2.0, 0.0, 3.0][..]));
    assert_eq!(read.datasets(), ["calibration.txt", "more.txt"]);
    assert_eq!((read.chunks(), read.is_counted()), (Chunks { count: 7, size: 512 }, true));

    read.write(here.path("copy.gguf")).unwrap();
    let file = Checkpoint::open(here.path("copy.gguf")).unwrap();
    let shapes: Vec<(&str, &[usize])> = file.tensors().map(|(name, stored)| (name, stored.shape())).collect();
    let expected: [(&str, &[usize]); 4] =
        [("a.counts", &[1]), ("a.in_sum2", &[4]), ("b.counts", &[3, 1]), ("b.in_sum2", &[3, 2])];
    assert_eq!(shapes, expected);
    let same = |name: &str| {
        let found = here.read(name).unwrap();
        assert!(found.iter().eq(read.iter()), "{name}: {found:?}");
        assert_eq!((found.datasets(), found.chunks()), (read.datasets(), read.chunks()), "{name}");
    };
    same("copy.gguf");
    read.write(here.path("copy.safetensors")).unwrap();
    let means = checkpoint::load(here.path("copy.safetensors"), here.session.registry()).unwrap();
    assert_eq!(means.values::<f32>("b").unwrap(), b.means());
    same("copy.safetensors");

    // The older format counts chunks; its means are the sums by those.
    here.write("imatrix.dat", dat(&[("a", 4, &[8.0, 0.0, 2.0, 1.0])], Some((7, "calibration.txt"))));
    let old = here.read("imatrix.dat").unwrap();
    assert_eq!(old.get("a").unwrap().means(), a.means());
    assert_eq!((old.get("a").unwrap().rows(), old.chunks()), (2048.0, Chunks { count: 7, size: 512 }));
    assert_eq!(old.datasets(), ["calibration.txt"]);
    here.write("bare.dat", dat(&[("a", 4, &[8.0, 0.0, 2.0, 1.0])], None));
    assert_eq!(here.read("bare.dat").unwrap().chunks(), Chunks::default());
}

#[test]
fn damaged_files_are_sentences() {
    let here = Workplace::new();
    let negative = "finite numbers that are not negative were expected";
    let sums = |values: [f32; 4]| imatrix().tensor(GgufTensor::f32("a.in_sum2", [4], values)).bytes();
    let counts = |values: &[f32]| {
        let tensor = GgufTensor::f32("a.counts", [values.len() as u64], values.iter().copied());
        imatrix().tensor(tensor).bytes()
    };
    let huge = |name: &str| imatrix().tensor(GgufTensor::new(name, [1 << 60], 0, [0; 4])).bytes();
    let mut twice = imatrix();
    twice.tensors.push(GgufTensor::f32("a.counts", [1], [4.0]));
    let cut = |bytes: Vec<u8>, less: usize| bytes[..bytes.len() - less].to_vec();
    let old = || dat(&[("a", 4, &[8.0, 1.0])], Some((7, "text")));
    let with = |at: usize, number: i32| {
        let mut bytes = old();
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        bytes
    };
    let plain = |tensors: &[(&str, Tensor)], counts: Option<&str>| {
        let mut dict: TensorDict = tensors.iter().map(|(name, tensor)| (*name, tensor.clone())).collect();
        if let Some(counts) = counts {
            dict.metadata_mut().insert("imatrix.counts", counts);
        }
        checkpoint::save(&dict, here.path("plain.safetensors")).unwrap();
        fs::read(here.path("plain.safetensors")).unwrap()
    };
    let vector = || Tensor::full([4], 1f32);
    let damaged =
        "file: it is no GGUF, safetensors or .npz file, and as an imatrix.dat of llama.cpp is damaged: ";
    let cases: Vec<(Vec<u8>, String)> = vec![
        (sums([1.0, f32::NAN, 1.0, 1.0]), format!("file, tensor `a.in_sum2`: it has NaN at column 1; {negative}")),
        (sums([1.0, 1.0, f32::INFINITY, 1.0]), format!("file, tensor `a.in_sum2`: it has inf at column 2; {negative}")),
        (sums([1.0, 1.0, 1.0, -0.5]), format!("file, tensor `a.in_sum2`: it has -0.5 at column 3; {negative}")),
        (counts(&[-1.0]), format!("file, tensor `a.in_sum2`: it has -1 for count 0; {negative}")),
        (counts(&[f32::NAN]), format!("file, tensor `a.in_sum2`: it has NaN for count 0; {negative}")),
        (
            counts(&[1.0; 3]),
            "file, tensor `a.in_sum2`: it has 3 counts for 4 sums; each count is that of as many sums, one at least".to_owned(),
        ),
        (counts(&[]), "file, tensor `a.in_sum2`: it has 0 counts for 4 sums; each".to_owned()),
        (imatrix().without("a.counts").bytes(), "file: there is `a.in_sum2`, and no `a.counts`".to_owned()),
        (imatrix().without("a.in_sum2").bytes(), "file: there is `a.counts`, and no `a.in_sum2`".to_owned()),
        (
            imatrix().tensor(GgufTensor::new("a.in_sum2", [4], 1, [0; 8])).bytes(),
            "file, tensor `a.in_sum2`: it is f16 [4], an f32 vector was expected".to_owned(),
        ),
        (
            imatrix().set("general.type", "model").bytes(),
            "file: its metadata `general.type` is `model`; `imatrix` was expected".to_owned(),
        ),
        (
            imatrix().without("general.type").bytes(),
            "file: its metadata `general.type` is not there; `imatrix` was expected".to_owned(),
        ),
        (
            imatrix().set("imatrix.datasets", 3).bytes(),
            "file: its metadata `imatrix.datasets` is 3; a list of texts was expected".to_owned(),
        ),
        (
            imatrix().set("imatrix.chunk_count", "many").bytes(),
            "file: its metadata `imatrix.chunk_count` is many; a number was expected".to_owned(),
        ),
        (
            GgufFile::default().set("general.type", "imatrix").bytes(),
            "file: it has importance for no weight".to_owned(),
        ),
        (twice.bytes(), "file: there are two tensors `a.counts`".to_owned()),
        (huge("a.in_sum2"), "file, tensor `a.in_sum2`: ".to_owned()),
        (cut(imatrix().bytes(), 6), "file, tensor `b.counts`: ".to_owned()),
        (Vec::new(), format!("{damaged}the number of weights at byte 0 takes 4 bytes, and 0 are left")),
        (with(0, -1), format!("{damaged}the number of weights at byte 0 is -1")),
        (with(0, 2), "file, tensor `".to_owned()),
        (with(4, i32::MAX), format!("{damaged}the name of weight 0 of 1 at byte 8 takes 2147483647 bytes, and 29 are left")),
        (with(4, i32::MIN), format!("{damaged}the length of the name of weight 0 of 1 at byte 4 is -2147483648")),
        (with(9, -4), "file, tensor `a`: its number of chunks at byte 9 is -4".to_owned()),
        (with(13, i32::MAX), "file, tensor `a`: the list of its sums at byte 17 takes 8589934588 bytes, and 20 are left".to_owned()),
        (with(13, 0), "file, tensor `a`: it has 1 counts for 0 sums".to_owned()),
        (cut(old(), 2), format!("{damaged}the text's name at byte 33 takes 4 bytes, and 2 are left")),
        ([old(), vec![0; 3]].concat(), format!("{damaged}3 bytes follow where it should end")),
        (
            dat(&[("a", 1, &[1.0]), ("a", 1, &[1.0])], None),
            format!("{damaged}it has `a` twice"),
        ),
        (
            dat(&[("a", 1, &[1.0, f32::NAN])], None),
            format!("file, tensor `a`: it has NaN at column 1; {negative}"),
        ),
        (
            plain(&[("a", vector()), ("ids", Tensor::full([4], 1i64))], None),
            "file, tensor `ids`: it is i64 [4], an f32 vector was expected".to_owned(),
        ),
        (
            plain(&[("a", vector())], Some("{\"a\": \"x\"}")),
            "file: its metadata `imatrix.counts` is no list of numbers for each weight: ".to_owned(),
        ),
        (
            plain(&[("a", vector())], Some("{\"b\": [1]}")),
            "file, tensor `a`: the metadata `imatrix.counts` does not say how many rows its means are of".to_owned(),
        ),
        (
            plain(&[("a", vector())], Some("{\"a\": [1, 2, 3]}")),
            "file, tensor `a`: it has 3 counts for 4 sums".to_owned(),
        ),
    ];
    for (index, (bytes, sentence)) in cases.into_iter().enumerate() {
        here.write("file", bytes);
        let found = here.read("file").unwrap_err();
        assert!(found.starts_with(&sentence), "case {index}: {found}\nexpected {sentence}");
        assert!(!found.contains('\n'), "{found}");
    }
    // Whatever is cut or changed is read, or a sentence.
    for bytes in [imatrix().bytes(), old()] {
        for at in 0..bytes.len() {
            here.write("file", &bytes[..at]);
            let _ = here.read("file");
            let mut changed = bytes.clone();
            changed[at] ^= 0x80;
            here.write("file", &changed);
            let _ = here.read("file");
        }
    }
}

#[test]
fn a_language_model_is_recorded_on_a_text() {
    let here = Workplace::new();
    let model = here.model();
    model.save(&here.path("model.safetensors")).unwrap();
    here.write("text", TEXT.repeat(4));
    let arguments = ["importance", "model.safetensors", "--text", "text", "--window", "16"];
    let found = here.json(&[&arguments[..], &["--tokens", "40", "-o", "imatrix.gguf"]].concat());

    let tokenizer = Tokenizer::new(model.vocabulary.as_ref().unwrap()).unwrap();
    let tokens = tokenizer.encode_for_model(&TEXT.repeat(4), true, |_| {}).unwrap();
    let options = Options { context: 16, cache: bitquilt::DType::F16, precision: "fast".to_owned() };
    let mut runner = Runner::load(&here.session, &model, &options, |_, _| {}).unwrap();
    let expected = record(&mut runner, &tokens, 16, 40, "text", |_| {}).unwrap();
    let read = here.read("imatrix.gguf").unwrap();
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
    let table = here.run(&[
        "importance",
        "--merge",
        "imatrix.gguf",
        "--merge",
        "imatrix.gguf",
        "-o",
        "twice.safetensors",
    ]);
    let table = String::from_utf8(table.stdout).unwrap();
    assert!(
        table.starts_with("weight")
            && table.contains("it is from 6 chunks of 16 rows; twice.safetensors was written"),
        "{table}"
    );
    let twice = here.read("twice.safetensors").unwrap();
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
    let here = Workplace::new();
    let mut graph = Graph::new(here.session.registry(), []).unwrap();
    let x = graph.add_input("x", TensorType::f32([dim("n"), dim(256)])).unwrap();
    let values: Vec<f32> = (0..3 * 256).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let weight = graph.quantize("q8_0", &Tensor::new([3, 256], values).unwrap()).unwrap();
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
    let means = here.read("importance").unwrap().get("constant.0").unwrap().means();
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
    let here = Workplace::new();
    let values =
        |count: usize| (0..count).map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0).collect::<Vec<f32>>();
    let (a, experts) =
        (Tensor::new([3, 256], values(768)).unwrap(), Tensor::new([2, 2, 256], values(1024)).unwrap());
    let norm = Tensor::full([256], 1f32);
    here.save(
        "model.gguf",
        &[("a", a.clone()), ("b", a.clone()), ("c", a.clone()), ("experts", experts.clone()), ("norm", norm)],
    );
    let sums: Vec<f32> = (0..256).map(|i| (1 + i % 7) as f32).collect();
    let two: Vec<f32> = sums.iter().copied().chain([0.0; 256]).collect();
    let file = GgufFile::default()
        .set("general.type", "imatrix")
        .set("imatrix.datasets", ["calibration.txt"])
        .set("imatrix.chunk_count", 7)
        .set("imatrix.chunk_size", 512)
        .tensor(GgufTensor::f32("a.in_sum2", [256], sums.iter().copied()))
        .tensor(GgufTensor::f32("a.counts", [1], [2.0]))
        .tensor(GgufTensor::f32("c.in_sum2", [256], [0.0; 256]))
        .tensor(GgufTensor::f32("c.counts", [1], [0.0]))
        .tensor(GgufTensor::f32("experts.in_sum2", [256, 2], two.iter().copied()))
        .tensor(GgufTensor::f32("experts.counts", [1, 2], [2.0, 0.0]))
        .tensor(GgufTensor::f32("other.in_sum2", [4], [1.0; 4]))
        .tensor(GgufTensor::f32("other.counts", [1], [1.0]));
    here.write("imatrix.gguf", file.bytes());
    let matrix = here.read("imatrix.gguf").unwrap();
    matrix.write(here.path("means")).unwrap();

    let registry = here.session.registry();
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
        let written = checkpoint::load(here.path(out), registry).unwrap();
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
        let shown = here.run(&["inspect", out]);
        assert!(String::from_utf8(shown.stdout).unwrap().contains("quantize.imatrix.dataset"), "{out}");
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
    here.warns(&[
        "quantize",
        "model.gguf",
        "four.gguf",
        "-e",
        "q4_k",
        "--importance",
        "imatrix.gguf",
        "--importance",
        "means",
    ]);
    let four = checkpoint::load(here.path("four.gguf"), registry).unwrap();
    assert_eq!(four.require("a").unwrap(), &weighted.tensor);
    assert_eq!(four.metadata().text("quantize.imatrix.file"), Some("imatrix.gguf, means"));
    here.warns(&["quantize", "model.gguf", "five.gguf", "-e", "q8_0", "--importance", "imatrix.gguf"]);
    let five = checkpoint::load(here.path("five.gguf"), registry).unwrap();
    assert!(!five.metadata().contains("quantize.imatrix.file"));
}

#[test]
fn wrong_input_is_a_sentence() {
    let here = Workplace::new();
    here.model().save(&here.path("model.safetensors")).unwrap();
    here.write("text", TEXT);
    here.write("empty", "");
    here.write("imatrix.gguf", imatrix().bytes());
    here.save("vectors", &[("a", Tensor::full([4], 1f32))]);
    here.save("wide", &[("a", Tensor::full([2, 256], 1f32)), ("b", Tensor::full([2, 256], 1f32))]);
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
    assert!(!here.path("out").exists() && !here.path("imatrix.safetensors").exists());
    for arguments in [
        &["importance"][..],
        &["importance", "model.safetensors"],
        &["importance", "--text", "text"],
        &["importance", "model.safetensors", "--text", "text", "--inputs", "."],
        &["importance", "model.safetensors", "--inputs", ".", "--tokens", "4"],
        &["importance", "--merge", "vectors", "--window", "1"],
    ] {
        let output = here.run(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {}", said(&output));
    }
}
