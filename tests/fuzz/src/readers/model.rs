//! Models and tokenizers, as `bitquilt-models` reads them: from llama2.c's files, GGUF files, and checkpoints of its own.

use std::error::Error;
use std::path::{Path, PathBuf};

use bitquilt::DType;
use bitquilt::checkpoint::Checkpoint;
use bitquilt_models::blocks::decoder::Options;
use bitquilt_models::files::gguf as from_gguf;
use bitquilt_models::graph;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::runner::Runner;
use bitquilt_models::tokenizer::Tokenizer;
use bitquilt_models::vocabulary::Vocabulary;

use super::checkpoint::say;
use super::gguf::{self, Stored, array, entry, text};
use crate::{Scratch, session};

/// Texts: one that tokenizers may stumble over, and one of a few letters.
const TEXTS: [&str; 2] = [" Once upon a\ttime, it's 12345 \u{e9}\u{1f600}\u{0} <s>\r\n", " on  on"];
/// Tokens that the caches of a model have room for.
const CONTEXT: usize = 8;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/models/tests/data/llama2c").join(name)
}

fn bytes(name: &str) -> Vec<u8> {
    std::fs::read(data(name)).expect("the data of the tests of models is there")
}

/// A model with a classifier of its own, and a smaller one without.
pub(super) fn llama2c(scratch: &Scratch) -> Vec<Vec<u8>> {
    // Width, feed-forward size, layers, heads, key/value heads, vocabulary, context.
    let sizes = [4, 3, 1, 2, 1, 300, 2].map(i32::to_le_bytes).concat();
    // Embedding, three norms, attention, feed-forward, cosines and sines.
    let values = 300 * 4 + 3 * 4 + (16 + 8 + 8 + 16) + 3 * 12 + 2 * 2;
    let small = [sizes, 0.25f32.to_le_bytes().repeat(values)].concat();
    let files = vec![bytes("model.bin"), small];
    for file in &files {
        let path = scratch.file("corpus.bin", file);
        DecoderModel::open(&path, Some(&data("tokenizer.bin")), session().registry())
            .expect("a model of the corpus");
    }
    files
}

/// A model is read with a tokenizer that is well formed.
pub(super) fn read_llama2c(scratch: &Scratch, bytes: &[u8]) {
    open(scratch, &scratch.file("model.bin", bytes), Some(&data("tokenizer.bin")));
}

/// The tokenizer of the same model.
pub(super) fn tokenizer(_: &Scratch) -> Vec<Vec<u8>> {
    vec![bytes("tokenizer.bin")]
}

/// A tokenizer is read with the model that is well formed.
pub(super) fn read_tokenizer(scratch: &Scratch, bytes: &[u8]) {
    let path = scratch.file("tokenizer.bin", bytes);
    match DecoderModel::open(&data("model.bin"), Some(&path), session().registry()) {
        Ok(model) => model.vocabulary.iter().for_each(tokenize),
        Err(error) => say(&error),
    }
}

/// A model of one layer with a tokenizer of each kind.
pub(super) fn llama(_: &Scratch) -> Vec<Vec<u8>> {
    let floats = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
    let texts = |values: &[&str]| values.iter().flat_map(|value| text(value)).collect::<Vec<u8>>();
    let kinds = |values: [i32; 6]| values.map(i32::to_le_bytes).concat();
    let key = |name: &str| format!("tokenizer.ggml.{name}");
    let scored = [
        entry(&key("model"), 8, &text("llama")),
        array(&key("tokens"), 8, 6, &texts(&["<unk>", "<s>", "</s>", "\u{2581}a", "\u{2581}", "a"])),
        array(&key("scores"), 6, 6, &floats(&[0.0, 0.0, 0.0, -1.0, -2.0, -3.0])),
        array(&key("token_type"), 5, 6, &kinds([2, 3, 3, 1, 1, 1])),
        entry(&key("bos_token_id"), 4, &1u32.to_le_bytes()),
        entry(&key("eos_token_id"), 4, &2u32.to_le_bytes()),
        entry(&key("unknown_token_id"), 4, &0u32.to_le_bytes()),
        entry("tokenizer.chat_template", 8, &text("{{ bos_token }}{{ messages[0].content }}")),
    ];
    let listed = [
        entry(&key("model"), 8, &text("gpt2")),
        entry(&key("pre"), 8, &text("llama-bpe")),
        array(&key("tokens"), 8, 6, &texts(&["o", "n", "on", "\u{120}on", "\u{120}", "<|end_of_text|>"])),
        array(&key("merges"), 8, 2, &texts(&["o n", "\u{120} on"])),
        array(&key("token_type"), 5, 6, &kinds([1, 1, 1, 1, 1, 3])),
        entry(&key("eot_token_id"), 4, &5u32.to_le_bytes()),
        entry(&key("add_bos_token"), 7, &[0]),
    ];
    [&scored[..], &listed].map(|tokenizer| gguf::file(&[&sizes()[..], tokenizer].concat(), &WEIGHTS)).into()
}

/// Width 8, two heads, one of keys and values, 12 values between the halves of the feed-forward block; 6 tokens.
const WEIGHTS: [Stored; 11] = [
    ("token_embd.weight", &[8, 6], 0, 192),
    ("output_norm.weight", &[8], 0, 32),
    ("blk.0.attn_norm.weight", &[8], 0, 32),
    ("blk.0.attn_q.weight", &[8, 8], 0, 256),
    ("blk.0.attn_k.weight", &[8, 4], 0, 128),
    ("blk.0.attn_v.weight", &[8, 4], 0, 128),
    ("blk.0.attn_output.weight", &[8, 8], 0, 256),
    ("blk.0.ffn_norm.weight", &[8], 0, 32),
    ("blk.0.ffn_gate.weight", &[8, 12], 0, 384),
    ("blk.0.ffn_up.weight", &[8, 12], 0, 384),
    ("blk.0.ffn_down.weight", &[12, 8], 0, 384),
];

/// The hyper-parameters of these weights, their context stretched.
fn sizes() -> Vec<Vec<u8>> {
    let mut entries = vec![
        entry("general.architecture", 8, &text("llama")),
        entry("llama.rope.scaling.type", 8, &text("yarn")),
        entry("llama.rope.scaling.factor", 6, &4f32.to_le_bytes()),
        entry("llama.attention.layer_norm_rms_epsilon", 6, &1e-5f32.to_le_bytes()),
    ];
    let numbers: [(&str, u32); 6] = [
        ("block_count", 1),
        ("context_length", 16),
        ("embedding_length", 8),
        ("feed_forward_length", 12),
        ("attention.head_count", 2),
        ("attention.head_count_kv", 1),
    ];
    entries.extend(numbers.map(|(name, number)| entry(&format!("llama.{name}"), 4, &number.to_le_bytes())));
    entries
}

/// The tokenizer of a GGUF file is read, and then all of its model.
pub(super) fn read_llama(scratch: &Scratch, bytes: &[u8]) {
    let path = scratch.file("model.gguf", bytes);
    match Checkpoint::open(&path).map(|mut file| from_gguf::vocabulary(file.metadata_mut())) {
        Ok(Ok(vocabulary)) => vocabulary.iter().for_each(tokenize),
        Ok(Err(sentence)) => assert!(!sentence.is_empty(), "an error without a word"),
        Err(error) => say(&error),
    }
    open(scratch, &path, None);
}

/// What `DecoderModel::save` writes of models of the other formats.
pub(super) fn saved(scratch: &Scratch) -> Vec<Vec<u8>> {
    let path = scratch.path("corpus.safetensors");
    let files = llama(scratch).into_iter().map(|bytes| {
        let model = DecoderModel::open(&scratch.file("corpus.gguf", &bytes), None, session().registry());
        model.expect("a model of the corpus").save(&path).expect("a small file can be written");
        std::fs::read(&path).expect("it was written")
    });
    files.collect()
}

/// A saved model is read.
pub(super) fn read_saved(scratch: &Scratch, bytes: &[u8]) {
    open(scratch, &scratch.file("model.safetensors", bytes), None);
}

/// A model is read, saved and read to the same, and fed with a token.
fn open(scratch: &Scratch, path: &Path, tokenizer: Option<&Path>) {
    let model = match DecoderModel::open(path, tokenizer, session().registry()) {
        Ok(model) => model,
        Err(error) => return say(&error),
    };
    let copy = scratch.path("copy.safetensors");
    match model.save(&copy) {
        Ok(()) => {
            let again =
                DecoderModel::open(&copy, None, session().registry()).expect("what was saved can be read");
            let parts = |model: &DecoderModel| format!("{:?} {:?}", model.config, model.vocabulary);
            assert!(parts(&model) == parts(&again), "a model is another when it was saved and read");
            assert!(model.weights.iter().eq(again.weights.iter()), "weights changed");
        }
        Err(error) => say(&error),
    }
    if let Err(error) = feed(&model) {
        say(error.as_ref());
    }
}

fn feed(model: &DecoderModel) -> Result<(), Box<dyn Error>> {
    let options = Options { context: CONTEXT, cache: DType::F32, precision: "exact".to_owned() };
    let graph = graph::build(session().registry(), model, &options)?;
    let mut runner = Runner::new(&session().load(&graph)?, CONTEXT, model.config.vocabulary)?;
    assert_eq!(runner.feed(&[0])?.len(), model.config.vocabulary);
    Ok(())
}

/// Texts become tokens, and those a text.
fn tokenize(vocabulary: &Vocabulary) {
    let tokenizer = match Tokenizer::new(vocabulary) {
        Ok(tokenizer) => tokenizer,
        Err(error) => return say(&error),
    };
    for text in TEXTS {
        match tokenizer.encode(text, true) {
            Ok(tokens) => {
                let known = |token: &u32| (*token as usize) < vocabulary.tokens.len();
                assert!(tokens.iter().all(known), "a token that is none");
                std::hint::black_box(tokenizer.decode(&tokens));
            }
            Err(error) => say(&error),
        }
    }
}
