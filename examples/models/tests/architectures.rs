//! Small random models of every architecture, against an independent forward pass in numpy, and against each other.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::path::Path;
use std::process::Command;

use bitquilt::Tensor;
use bitquilt::checkpoint::npy;
use bitquilt_models::arch::{self, DECODERS};
use bitquilt_models::architecture::Architecture;
use bitquilt_models::config::Config;
use bitquilt_models::model::DecoderModel;
use bitquilt_tests::gguf::{GgufFile, GgufTensor};
use bitquilt_tests::random::Random;
use common::files::{decoder_file, open, open_at, unknown};
use common::{all_logits, distance, numpy, options, registry, runner, session};

const TOKENS: [i32; 13] = [3, 40, 7, 7, 0, 19, 33, 2, 28, 11, 40, 5, 16];
/// The number of tokens that are fed together; the others follow one by one.
const PROMPT: usize = 8;

/// Three layers in which three heads share one of the keys and values; all heads together are as wide as the model, or wider.
fn sizes(head: usize) -> Config {
    Config {
        width: 96,
        hidden: 160,
        layers: 3,
        heads: 6,
        kv_heads: 2,
        head,
        vocabulary: 41,
        context: 32,
        eps: 1e-5,
        rope_dims: head,
        rope_theta: 5000.0,
        rope_scale: 1.0,
        yarn: None,
    }
}

/// Random weights, of which a product is about as large as its input. Where there is an encoding, with ggml's number of it, matrices
/// have it.
fn random_weights(encoding: Option<(&'static str, u32)>) -> impl FnMut(&str, &[u64]) -> GgufTensor {
    let (mut random, registry) = (Random::new(7), registry());
    move |name, dims| {
        let (middle, spread) = match name {
            _ if name.contains("_norm.") => (1.0, 0.5),
            _ if name.ends_with(".bias") => (0.0, 1.0),
            "token_embd.weight" => (0.0, 1.7),
            _ => (0.0, 1.7 / (dims[0] as f32).sqrt()),
        };
        let values: Vec<f32> =
            (0..dims.iter().product()).map(|_: u64| middle + spread * random.float()).collect();
        match (encoding, dims) {
            (Some((encoding, id)), [columns, rows]) => {
                let tensor = Tensor::new([*rows as usize, *columns as usize], values).unwrap();
                let encoding = registry.require_encoding(encoding).unwrap();
                GgufTensor::new(name, dims, id, encoding.quantize(&tensor).unwrap().tensor.bytes())
            }
            _ => GgufTensor::f32(name, dims, values),
        }
    }
}

fn random_file(architecture: &dyn Architecture, head: usize) -> GgufFile {
    decoder_file(architecture, &sizes(head), true, &mut random_weights(None))
}

/// The logits after each token: of some fed together, and of the others.
fn logits(model: &DecoderModel, prompt: usize) -> Vec<f32> {
    let mut runner = runner(&session(2), model, &options(TOKENS.len(), "exact"));
    let mut logits = match prompt {
        0 => Vec::new(),
        _ => all_logits(&mut runner, &TOKENS[..prompt]),
    };
    for token in &TOKENS[prompt..] {
        logits.extend(runner.feed(&[*token]).unwrap());
    }
    logits
}

/// The logits of `tests/decoder_logits.py`.
fn expected(python: &str, path: &Path) -> Vec<f32> {
    let output = path.with_extension("npy");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/decoder_logits.py");
    let made = Command::new(python)
        .arg(script)
        .args([path, &output])
        .args(TOKENS.map(|token| token.to_string()))
        .output()
        .unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    npy::read(&output).unwrap().values::<f64>().unwrap().iter().map(|logit| *logit as f32).collect()
}

#[test]
fn logits_are_those_of_an_independent_forward_pass() {
    let Some(python) = numpy() else { return };
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    for architecture in DECODERS.iter().copied() {
        for (head, classifier, encoding) in [
            (16, false, None),
            (16, true, Some(("q4_0", 2))),
            (32, true, None),
            (32, false, Some(("q4_0", 2))),
        ] {
            let what = format!("{}, heads of {head}, {encoding:?}", architecture.name());
            let file = decoder_file(architecture, &sizes(head), classifier, &mut random_weights(encoding));
            std::fs::write(&path, file.bytes()).unwrap();
            let model = open_at(&path).unwrap();
            assert_eq!(model.config, sizes(head), "{what}");
            let (found, expected) = (logits(&model, PROMPT), expected(&python, &path));
            let largest = expected.iter().copied().map(f32::abs).fold(0.0, f32::max);
            assert!(largest > 1.0, "{what}: the largest logit is {largest}");
            let apart = distance(&found, &expected);
            assert!(apart < 1e-4 * largest, "{what}: {apart} apart, the largest is {largest}");
        }
    }
}

/// Products with encoded matrices are the same for a row whatever rows are beside it.
#[test]
fn tokens_one_by_one_are_the_same_as_all_together_and_a_saved_model_is_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.safetensors");
    for architecture in DECODERS.iter().copied() {
        let mut weights = random_weights(Some(("q4_0", 2)));
        let model = open(decoder_file(architecture, &sizes(32), true, &mut weights)).unwrap();
        let together = logits(&model, TOKENS.len());
        for prompt in [0, 1, PROMPT] {
            assert!(logits(&model, prompt) == together, "{}: {prompt} together", architecture.name());
        }
        model.save(&path).unwrap();
        let saved = open_at(&path).unwrap();
        assert_eq!((saved.architecture.name(), &saved.config), (architecture.name(), &model.config));
        assert!(logits(&saved, PROMPT) == together, "{}: saved", architecture.name());
    }
}

/// The values of a head that turn together are neighbours in `llama`, and apart by half a head in `qwen2`.
#[test]
fn qwen2_without_biases_is_llama_with_the_rows_of_its_heads_in_another_order() {
    const HEAD: usize = 16;
    let qwen2 = random_file(arch::named("qwen2").unwrap(), HEAD);
    let mut llama = random_file(arch::named("llama").unwrap(), HEAD);
    let mut zero = qwen2.clone();
    llama.tensors.clear();
    for tensor in &mut zero.tensors {
        if tensor.name.ends_with(".bias") {
            tensor.bytes.fill(0);
            continue;
        }
        let mut reordered = tensor.clone();
        if tensor.name.contains("attn_q.") || tensor.name.contains("attn_k.") {
            let row_bytes = 4 * tensor.dims[0] as usize;
            for (from, row) in tensor.bytes.chunks_exact(row_bytes).enumerate() {
                let (head, at) = (from / HEAD * HEAD, from % HEAD);
                let to = head + 2 * (at % (HEAD / 2)) + at / (HEAD / 2);
                reordered.bytes[to * row_bytes..][..row_bytes].copy_from_slice(row);
            }
        }
        llama.tensors.push(reordered);
    }
    let [qwen2, zero, llama] = [qwen2, zero, llama].map(|file| logits(&open(file).unwrap(), PROMPT));
    assert!(distance(&zero, &llama) < 1e-4, "{}", distance(&zero, &llama));
    assert!(distance(&zero, &qwen2) > 0.1);
}

#[test]
fn what_does_not_fit_the_architecture_is_a_sentence() {
    let named = |name: &str| random_file(arch::named(name).unwrap(), 32);
    for (file, sentence) in [
        (
            named("qwen2").without("blk.1.attn_k.bias"),
            "FILE: there is no tensor `blk.1.attn_k.bias`; did you mean `blk.0.attn_k.bias` or `blk.1.attn_q.bias` or \
             `blk.1.attn_v.bias`?",
        ),
        (
            named("qwen2").set("general.architecture", "qwen3"),
            "FILE: the metadata has no `qwen3.embedding_length`; a whole number that is not negative was expected",
        ),
        (
            named("qwen2").set("qwen2.attention.head_count", 5u32),
            "FILE: its 5 heads cannot share 2 key/value heads evenly",
        ),
        (
            named("qwen2").set("qwen2.attention.head_count", 4u32),
            "FILE: tensor `blk.0.attn_q.weight` is f32 [192, 96]; the hyper-parameters want the shape [128, 96]",
        ),
        (
            named("qwen3").set("qwen3.attention.head_count_kv", 3u32),
            "FILE: tensor `blk.0.attn_k.weight` is f32 [64, 96]; the hyper-parameters want the shape [96, 96]",
        ),
        (
            named("qwen3").set("qwen3.attention.value_length", 16u32),
            "FILE: its value heads have 16 values and its key heads 32; the same was expected",
        ),
        (
            named("qwen3").without("qwen3.attention.key_length").without("qwen3.attention.value_length"),
            "FILE: tensor `blk.0.attn_q.weight` is f32 [192, 96]; the hyper-parameters want the shape [96, 96]",
        ),
        (
            named("qwen3").tensor(GgufTensor::f32("blk.2.attn_k_norm.weight", [16], [1.0; 16])),
            "FILE: tensor `blk.2.attn_k_norm.weight` is f32 [16]; the hyper-parameters want the shape [32]",
        ),
        (
            named("qwen3").tensor(GgufTensor::f32("blk.0.attn_v.bias", [64], [1.0; 64])),
            "FILE: the architecture `qwen3` has no place for the tensor `blk.0.attn_v.bias`",
        ),
        (named("qwen3").set("general.architecture", "qwen"), unknown("qwen").as_str()),
    ] {
        assert_eq!(open(file).err().as_deref(), Some(sentence));
    }
    let missing = open(named("qwen3").without("blk.0.attn_q_norm.weight")).err().unwrap();
    assert!(missing.starts_with("FILE: there is no tensor `blk.0.attn_q_norm.weight`"), "{missing}");
}
