//! Encodings that are declared by text files: found in plugin directories, multiplied by kernels, carried by checkpoints; and weights of
//! encodings without kernels, decoded once.

#![allow(clippy::unwrap_used)]

use std::path::Path;

use bitquilt::checkpoint::{self, Checkpoint};
use bitquilt::declared::Declaration;
use bitquilt::plugin_api::{EncodingSpec, QuantizationEncoding, Result as ApiResult, Rows};
use bitquilt::{Graph, InferenceSession, Isa, Model, Tensor, TensorDict, TensorType};

const NF4: &str = r#"name = "my.nf4"
version = 1
summary = "4-bit normal floats, a scale for each 64"
block_len = 64
block_bytes = 34
codes = { at = 2, bits = 4, order = "sequential" }
values = [-1.0, -0.6961928, -0.52507305, -0.39491749, -0.28444138, -0.18477343, -0.091050036, 0.0, 0.0795803, 0.1609302, 0.2461123, 0.33791524, 0.44070983, 0.562617, 0.72295684, 1.0]
scale = { at = 0, dtype = "f16" }
"#;

const INT4: &str = r#"name = "my.int4"
block_len = 128
block_bytes = 67
codes = { at = 3, bits = 4 }
scale = { at = 0, dtype = "f16" }
zero = { at = 2, bits = 4 }
"#;

fn directory(files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn session(directory: &Path) -> InferenceSession {
    InferenceSession::builder().threads(2).plugin_dir(directory).build().unwrap()
}

fn values(shape: [usize; 2]) -> Tensor {
    let value = |i: usize| ((i * 7919 + shape[0]) % 2003) as f32 / 1001.0 - 1.0;
    Tensor::new(shape, (0..shape[0] * shape[1]).map(value).collect::<Vec<_>>()).unwrap()
}

/// Multiplies 3 rows with a weight `[5, 256]`.
fn graph(session: &InferenceSession, weight: &Tensor, attributes: &[(&str, &str)]) -> Graph {
    let mut graph = Graph::new(session.registry(), [TensorType::f32([3, 256])]).unwrap();
    let weight = graph.constant(weight).unwrap();
    let x = graph.input(0);
    let node = graph.node("qmatmul", [x, weight]);
    let node = attributes.iter().fold(node, |node, (name, value)| node.attribute(name, *value));
    let product = node.value().unwrap();
    graph.output_named("y", product).unwrap();
    graph
}

fn product(model: &Model) -> Vec<f32> {
    model.execute([("input0", &values([3, 256]))]).unwrap().get::<f32>("y").unwrap().to_vec()
}

/// How far a product is from that of f32 values, as a part of its norm.
fn error(found: &[f32], weight: &Tensor) -> f64 {
    let (w, x) = (weight.values::<f32>().unwrap(), values([3, 256]));
    let x = x.values::<f32>().unwrap();
    let (mut squares, mut norm) = (0.0, 0.0);
    for (c, x) in x.chunks(256).enumerate() {
        for (r, w) in w.chunks(256).enumerate() {
            let exact: f64 = w.iter().zip(x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
            squares += (f64::from(found[c * 5 + r]) - exact).powi(2);
            norm += exact.powi(2);
        }
    }
    (squares / norm).sqrt()
}

fn kernel(model: &Model) -> String {
    model.explain().unwrap().nodes[0].kernel.clone().unwrap().0
}

#[test]
fn a_text_file_in_a_plugin_directory_is_an_encoding_with_kernels() {
    let directory =
        directory(&[("nf4.encoding.toml", NF4), ("my.int4.encoding.toml", INT4), ("notes.toml", "?")]);
    let session = session(directory.path());
    assert_eq!(session.refusals(), []);
    for name in ["my.nf4", "my.int4"] {
        let encoding = session.registry().require_encoding(name).unwrap();
        let weight = encoding.quantize(&values([5, 256])).unwrap().tensor;
        let decoded = encoding.dequantize(&weight).unwrap();
        let model = session.load(&graph(&session, &weight, &[])).unwrap();
        assert_eq!(kernel(&model), bitquilt_qmatmul::serving("q4_0", Isa::detect()).name(), "{name}");
        let fast = error(&product(&model), &decoded);
        assert!(fast < 0.012, "{name}: {fast}");
        let exact = session.load(&graph(&session, &weight, &[("precision", "exact")])).unwrap();
        assert_eq!(kernel(&exact), "generic", "{name}");
        assert!(error(&product(&exact), &decoded) < 1e-6, "{name}");
    }
    let explained =
        session.load(&graph(&session, &quantized(&session, "my.nf4"), &[])).unwrap().explain().unwrap();
    assert!(explained.nodes[0].note.contains("the table is rounded to integers of 8 bits"), "{explained}");
}

fn quantized(session: &InferenceSession, encoding: &str) -> Tensor {
    session.registry().require_encoding(encoding).unwrap().quantize(&values([5, 256])).unwrap().tensor
}

#[test]
fn a_wrong_declaration_is_one_sentence_and_stops_nobody() {
    let wrong = NF4.replace("my.nf4", "my.wrong").replace("block_bytes = 34", "block_bytes = 33");
    let other = INT4.replace("block_len = 128\n", "block_len = 128\nsummary = \"another\"\n");
    let directory = directory(&[
        ("a.encoding.toml", INT4),
        ("b.encoding.toml", &wrong),
        ("c.encoding.toml", INT4),
        ("d.encoding.toml", &other),
        ("e.encoding.toml", &NF4.replace("my.nf4", "q4_0")),
        ("f.encoding.toml", &NF4.replace("my.nf4", "keep")),
        ("g.encoding.toml", NF4),
    ]);
    let session = session(directory.path());
    let refused: Vec<_> = session.refusals().iter().map(|refusal| refusal.to_string()).collect();
    let expect = [
        ("b.encoding.toml", "line 6, `codes`"),
        ("d.encoding.toml", "`my.int4`"),
        ("e.encoding.toml", "the encoding `q4_0` of"),
        ("f.encoding.toml", "an encoding cannot be named `keep`"),
    ];
    assert_eq!(refused.len(), expect.len(), "{refused:#?}");
    for (refusal, (file, part)) in refused.iter().zip(expect) {
        assert!(refusal.contains(file) && refusal.contains(part) && !refusal.contains('\n'), "{refusal}");
    }
    assert!(
        session.registry().encoding("my.nf4").is_some() && session.registry().encoding("my.int4").is_some()
    );
}

#[test]
fn a_checkpoint_carries_the_declarations_of_its_encodings() {
    let plugins = directory(&[("nf4.encoding.toml", NF4)]);
    let path = plugins.path().join("model.safetensors");
    let mut tensors = TensorDict::new();
    tensors.insert("w", quantized(&session(plugins.path()), "my.nf4"));
    checkpoint::save(&tensors, &path).unwrap();

    let file = Checkpoint::open(&path).unwrap();
    let nobody = InferenceSession::builder().build().unwrap();
    let unknown = file.tensor("w", nobody.registry()).unwrap_err().to_string();
    assert!(unknown.contains("my.nf4"), "{unknown}");

    let session = InferenceSession::builder().threads(1).encodings_of(&file).build().unwrap();
    let weight = file.tensor("w", session.registry()).unwrap();
    let decoded = session.registry().to_f32(&weight).unwrap();
    let model = session.load(&graph(&session, &weight, &[])).unwrap();
    assert!(error(&product(&model), &decoded) < 0.012);
    // A saved graph is a checkpoint, too.
    let saved = plugins.path().join("graph.safetensors");
    graph(&session, &weight, &[]).save(&saved).unwrap();
    let builder = InferenceSession::builder().threads(1);
    let fresh = builder.encodings_of(&Checkpoint::open(&saved).unwrap()).build().unwrap();
    let again = fresh.load(&Graph::load(&saved, fresh.registry()).unwrap()).unwrap();
    assert_eq!(product(&again), product(&model));

    // Where another declaration of the name is registered, neither the session nor the tensor is mistaken for it.
    let mine = directory(&[("nf4.encoding.toml", &NF4.replace("0.0795803", "0.08"))]);
    let builder = InferenceSession::builder().plugin_dir(mine.path());
    let error = builder.encodings_of(&file).build().map(drop).unwrap_err().to_string();
    assert!(error.contains("declared otherwise"), "{error}");
    let error = file.tensor("w", self::session(mine.path()).registry()).unwrap_err().to_string();
    assert!(error.contains("declared otherwise"), "{error}");
}

#[test]
fn a_declaration_in_a_damaged_file_is_refused() {
    let plugins = directory(&[("nf4.encoding.toml", NF4)]);
    let path = plugins.path().join("model.safetensors");
    let mut tensors = TensorDict::new();
    tensors.insert("w", quantized(&session(plugins.path()), "my.nf4"));
    checkpoint::save(&tensors, &path).unwrap();
    let bytes = std::fs::read(&path).unwrap();
    // Of the same length, so that the file stays one.
    for (from, to, part) in [
        ("block_len = 64", "block_len = 65", "the metadata `bitquilt.declared`"),
        ("block_bytes = 34", "block_bytes = 35", "which the file declares as"),
        ("version = 1", "version = 2", "which the file declares as"),
        ("{\\\"format\\\":1,\\\"encodings\\\"", "{\\\"format\\\":2,\\\"encodings\\\"", "format 2"),
    ] {
        let at = bytes.windows(from.len()).position(|window| window == from.as_bytes()).unwrap();
        let mut damaged = bytes.clone();
        damaged[at..at + to.len()].copy_from_slice(to.as_bytes());
        std::fs::write(&path, damaged).unwrap();
        let error = Checkpoint::open(&path).map(drop).unwrap_err().to_string();
        assert!(error.contains(part) && !error.contains('\n'), "{error}");
    }
}

/// Blocks of one half-precision float more than its values need: an encoding that only decodes.
struct Plain;

impl QuantizationEncoding for Plain {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new("my.plain", 32, 128)
    }
    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> ApiResult<()> {
        for (dst, value) in dst.chunks_exact_mut(4).zip(rows.values()) {
            dst.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }
    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> ApiResult<()> {
        for (dst, bytes) in dst.iter_mut().zip(blocks.as_chunks::<4>().0) {
            *dst = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }
}

#[test]
fn a_weight_is_decoded_once_where_that_is_asked_for() {
    let session = |decode: Option<&str>| {
        let builder = InferenceSession::builder().threads(2).encoding(Plain);
        decode.into_iter().fold(builder, |builder, decode| builder.option("decode", decode)).build().unwrap()
    };
    let plain = session(None);
    let weight = quantized(&plain, "my.plain");
    let each_run = plain.load(&graph(&plain, &weight, &[])).unwrap();
    let note = |model: &Model| model.explain().unwrap().nodes[0].note.clone();
    assert_eq!(kernel(&each_run), "generic");
    assert!(note(&each_run).starts_with("decoded at each run by my.plain, "), "{}", note(&each_run));
    assert!(note(&each_run).contains("declare its layout"), "{}", note(&each_run));

    let f32s = session(Some("f32"));
    let once = f32s.load(&graph(&f32s, &weight, &[])).unwrap();
    assert_eq!(kernel(&once), "decoded");
    assert!(note(&once).starts_with("decoded once by my.plain into f32, "), "{}", note(&once));
    assert!(error(&product(&once), &values([5, 256])) < 1e-6);

    // A node's word counts more than the session's.
    let model = f32s.load(&graph(&f32s, &weight, &[("decode", "each run")])).unwrap();
    assert_eq!((kernel(&model), product(&model)), ("generic".to_owned(), product(&each_run)));
    let halves = f32s.load(&graph(&f32s, &weight, &[("decode", "f16")])).unwrap();
    assert!(note(&halves).starts_with("decoded once by my.plain into f16, "), "{}", note(&halves));
    assert!(error(&product(&halves), &values([5, 256])) < 1e-3);

    // An exact product with values that half precision does not hold.
    let attributes = [("decode", "f16"), ("precision", "exact")];
    let exact = plain.load(&graph(&plain, &weight, &attributes)).unwrap();
    assert!(note(&exact).contains("into f32 (f16 does not hold "), "{}", note(&exact));
    assert_eq!(product(&exact), product(&once));
    let integers =
        Tensor::new([5, 256], (0..1280).map(|i| (i % 17) as f32 - 8.0).collect::<Vec<_>>()).unwrap();
    let held = plain.registry().require_encoding("my.plain").unwrap().quantize(&integers).unwrap().tensor;
    let exact = plain.load(&graph(&plain, &held, &attributes)).unwrap();
    assert!(note(&exact).starts_with("decoded once by my.plain into f16, "), "{}", note(&exact));
    assert!(error(&product(&exact), &integers) < 1e-6);

    // Fast kernels stay.
    let fast = f32s.load(&graph(&f32s, &quantized(&f32s, "q4_0"), &[])).unwrap();
    assert_eq!(kernel(&fast), bitquilt_qmatmul::serving("q4_0", Isa::detect()).name());
    let wrong = session(Some("f64"));
    let error = wrong.load(&graph(&wrong, &weight, &[])).map(drop).unwrap_err().to_string();
    assert!(
        error.contains("the option `decode` is \"f64\"; write \"each run\", \"f16\" or \"f32\""),
        "{error}"
    );
}

#[test]
fn a_declaration_is_a_value_of_a_program() {
    let declaration = Declaration::parse(NF4).unwrap();
    let encoding = bitquilt::declared::DeclaredEncoding::new(declaration);
    let session = InferenceSession::builder().threads(1).encoding(encoding).build().unwrap();
    let model = session.load(&graph(&session, &quantized(&session, "my.nf4"), &[])).unwrap();
    assert_eq!(kernel(&model), bitquilt_qmatmul::serving("q4_0", Isa::detect()).name());
}
