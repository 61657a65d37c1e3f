//! Models and tokenizers, as `bitquilt-models` reads them: from llama2.c's files, GGUF files, and checkpoints of its own.

use std::error::Error;
use std::path::Path;

use bitquilt::DType;
use bitquilt::checkpoint::Checkpoint;
use bitquilt_models::arch::DECODERS;
use bitquilt_models::architecture::Architecture;
use bitquilt_models::blocks::decoder::Options;
use bitquilt_models::config::{Config, EMBEDDING, OUTPUT_NORM, layer_tensor};
use bitquilt_models::files::gguf;
use bitquilt_models::graph;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::runner::Runner;
use bitquilt_models::tokenizer::Tokenizer;
use bitquilt_models::vocabulary::Vocabulary;
use bitquilt_tests::gguf::{GgufFile, GgufTensor};
use bitquilt_tests::llama2c as data;

use super::checkpoint::say;
use crate::{Scratch, session};

/// Texts: one that tokenizers may stumble over, and one of a few letters.
const TEXTS: [&str; 2] = [" Once upon a\ttime, it's 12345 \u{e9}\u{1f600}\u{0} <s>\r\n", " on  on"];
/// Tokens that the caches of a model have room for.
const CONTEXT: usize = 8;

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

/// A model of one layer of every architecture, with a tokenizer of each kind.
pub(super) fn decoders(_: &Scratch) -> Vec<Vec<u8>> {
    let files = DECODERS.iter().map(|architecture| decoder(*architecture));
    files.flat_map(|file| [with_scores(file.clone()).bytes(), with_merges(file).bytes()]).collect()
}

fn with_scores(file: GgufFile) -> GgufFile {
    file.set("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "\u{2581}a", "\u{2581}", "a"])
        .set("tokenizer.ggml.scores", [0.0, 0.0, 0.0, -1.0, -2.0, -3.0])
        .set("tokenizer.ggml.token_type", [2, 3, 3, 1, 1, 1])
        .set("tokenizer.ggml.bos_token_id", 1u32)
        .set("tokenizer.ggml.eos_token_id", 2u32)
        .set("tokenizer.ggml.unknown_token_id", 0u32)
        .set("tokenizer.chat_template", "{{ bos_token }}{{ messages[0].content }}")
}

fn with_merges(file: GgufFile) -> GgufFile {
    file.set("tokenizer.ggml.model", "gpt2")
        .set("tokenizer.ggml.pre", "llama-bpe")
        .set("tokenizer.ggml.tokens", ["o", "n", "on", "\u{120}on", "\u{120}", "<|end_of_text|>"])
        .set("tokenizer.ggml.merges", ["o n", "\u{120} on"])
        .set("tokenizer.ggml.token_type", [1, 1, 1, 1, 1, 3])
        .set("tokenizer.ggml.eot_token_id", 5u32)
        .set("tokenizer.ggml.add_bos_token", false)
}

/// Width 8, two heads, one of keys and values, 12 values between the halves of the feed-forward block; 6 tokens. The context is stretched.
fn decoder(architecture: &dyn Architecture) -> GgufFile {
    let config = Config {
        width: 8,
        hidden: 12,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head: 4,
        vocabulary: 6,
        context: 16,
        eps: 1e-5,
        rope_dims: 4,
        rope_theta: 10_000.0,
        rope_scale: 1.0,
        yarn: None,
    };
    let name = architecture.name();
    let mut file = GgufFile::default()
        .set("general.architecture", name)
        .set(&format!("{name}.rope.scaling.type"), "yarn")
        .set(&format!("{name}.rope.scaling.factor"), 4f32)
        .set(&format!("{name}.attention.layer_norm_rms_epsilon"), config.eps);
    for (key, number) in [
        ("block_count", config.layers),
        ("context_length", config.context),
        ("embedding_length", config.width),
        ("feed_forward_length", config.hidden),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
    ] {
        file = file.set(&format!("{name}.{key}"), number as u32);
    }
    let layer = architecture.layer_weights(&config).into_iter();
    let weights = layer.map(|(part, shape)| (layer_tensor(0, part), shape)).chain([
        (EMBEDDING.to_owned(), vec![config.vocabulary, config.width]),
        (OUTPUT_NORM.to_owned(), vec![config.width]),
    ]);
    for (name, shape) in weights {
        let dims: Vec<u64> = shape.iter().rev().map(|dim| *dim as u64).collect();
        let values = vec![0.25; shape.iter().product()];
        file = file.tensor(GgufTensor::f32(&name, dims, values));
    }
    file
}

/// The tokenizer of a GGUF file is read, and then all of its model.
pub(super) fn read_decoder(scratch: &Scratch, bytes: &[u8]) {
    let path = scratch.file("model.gguf", bytes);
    match Checkpoint::open(&path).map(|mut file| gguf::vocabulary(file.metadata_mut())) {
        Ok(Ok(vocabulary)) => vocabulary.iter().for_each(tokenize),
        Ok(Err(sentence)) => assert!(!sentence.is_empty(), "an error without a word"),
        Err(error) => say(&error),
    }
    open(scratch, &path, None);
}

/// What `DecoderModel::save` writes of models of the other formats.
pub(super) fn saved(scratch: &Scratch) -> Vec<Vec<u8>> {
    let path = scratch.path("corpus.safetensors");
    let files = decoders(scratch).into_iter().map(|bytes| {
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
