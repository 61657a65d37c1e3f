//! GGUF files whose hyper-parameters or weights are no model: sentences, not panics.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use bitquilt::TensorDict;
use bitquilt::checkpoint::{Checkpoint, CheckpointWriter};
use bitquilt::quantize::Recipe;
use bitquilt_models::arch::llama::Llama;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::yarn::Yarn;
use bitquilt_tests::gguf::{GgufFile, GgufTensor, GgufValue};
use bitquilt_tests::random::Random;
use common::files::{decoder_file, open, sizes, unknown, zeros};
use common::{all_logits, options, runner, session};

/// A model of one layer, its weights all zeros: width 8, two heads, one of keys and values, 12 hidden, 5 tokens.
fn file() -> GgufFile {
    decoder_file(&Llama, &sizes(8, 12, 5), false, &mut |name, dims| zeros(name, dims))
}

#[test]
fn the_whole_file_is_a_model() {
    let model = open(file()).unwrap();
    assert_eq!((model.config.head, model.config.rope_dims, model.config.vocabulary), (4, 4, 5));
    assert_eq!((model.config.rope_theta, model.config.rope_scale), (10_000.0, 1.0));
    assert!(model.vocabulary.is_none());
    let scaled = file()
        .set("llama.rope.scaling.type", "linear")
        .set("llama.rope.scaling.factor", 4.0f32)
        .tensor(zeros("rope_freqs.weight", &[2]))
        .tensor(zeros("output.weight", &[8, 5]));
    assert_eq!(open(scaled).unwrap().config.rope_scale, 0.25);
    // A factor without a type is linear; the older key says the same; `none` means none; 0 is no factor.
    for (key, factor, kind, scale) in [
        ("llama.rope.scaling.factor", 4.0, None, 0.25),
        ("llama.rope.scale_linear", 2.0, None, 0.5),
        ("llama.rope.scaling.factor", 4.0, Some("none"), 1.0),
        ("llama.rope.scaling.factor", 0.0, Some("linear"), 1.0),
    ] {
        let file = file().set(key, factor);
        let file = match kind {
            Some(kind) => file.set("llama.rope.scaling.type", kind),
            None => file,
        };
        assert_eq!(open(file).unwrap().config.rope_scale, scale, "{key} {factor} {kind:?}");
    }
    let stretched = file()
        .set("llama.rope.scaling.type", "yarn")
        .set("llama.rope.scaling.factor", 4.0f32)
        .set("llama.rope.scaling.original_context_length", 8u32);
    let yarn = Yarn { factor: 4.0, trained: 8, beta_fast: 32.0, beta_slow: 1.0 };
    assert_eq!(open(stretched).unwrap().config.yarn, Some(yarn));
}

#[test]
fn what_is_no_model_is_a_sentence() {
    for (file, sentence) in [
        (file().set("general.architecture", "none"), unknown("none").as_str()),
        (
            file().without("llama.block_count"),
            "FILE: the metadata has no `llama.block_count`; a whole number that is not negative was expected",
        ),
        (
            file().set("llama.block_count", 1.0f32),
            "FILE: the metadata `llama.block_count` is 1; a whole number that is not negative was expected",
        ),
        (
            file().set("llama.attention.layer_norm_rms_epsilon", 1u32),
            "FILE: the metadata `llama.attention.layer_norm_rms_epsilon` is 1; a floating-point number was expected",
        ),
        (
            file().set("llama.attention.head_count", 3u32),
            "FILE: its width 8 cannot be split evenly among 3 heads",
        ),
        (
            file().set("llama.attention.head_count", 0u32),
            "FILE: its width 8 cannot be split evenly among 0 heads",
        ),
        (
            file().set("llama.attention.head_count_kv", 0u32),
            "FILE: its number of key/value heads is 0; 1 to 16777216 was expected",
        ),
        (
            file().set("llama.expert_count", 8u32),
            "FILE: it is a mixture of 8 experts; this library runs dense models",
        ),
        (
            file().set("llama.rope.scaling.type", "longrope"),
            "FILE: its rope scaling is `longrope`; this library runs `none`, `linear` and `yarn`",
        ),
        (
            file().set("llama.rope.scaling.attn_factor", 2.0f32),
            "FILE: its `llama.rope.scaling.attn_factor` is 2; this library runs 1",
        ),
        (
            file().set("llama.rope.scaling.type", "yarn").set("llama.rope.scaling.factor", 0.5f32),
            "FILE: its rope scaling `yarn` has the factor 0.5, 16 trained tokens, and the bounds 1 and 32; \
             a factor of at least 1, a token or more, and positive bounds in this order were expected",
        ),
        (
            file().set("llama.rope.scaling.type", "yarn").set("llama.rope.dimension_count", 2u32),
            "FILE: its rope scaling is `yarn` and 2 of the 4 values of a head turn; this library runs it where all do",
        ),
        (
            file().set("llama.rope.dimension_count", 3u32),
            "FILE: 3 values of a head turn with the position; an even number of at most 4 was expected",
        ),
        (
            file().set("tokenizer.ggml.model", "bert").set("tokenizer.ggml.tokens", 1u32),
            "FILE: the metadata `tokenizer.ggml.tokens` is 1; an array of texts was expected",
        ),
        (
            file().without("blk.0.ffn_up.weight"),
            "FILE: there is no tensor `blk.0.ffn_up.weight`; did you mean `blk.0.ffn_down.weight` or `blk.0.ffn_gate.weight` \
             or `blk.0.ffn_norm.weight`?",
        ),
        (
            file().tensor(zeros("blk.0.attn_k.weight", &[8, 8])),
            "FILE: tensor `blk.0.attn_k.weight` is f32 [8, 8]; the hyper-parameters want the shape [4, 8]",
        ),
        (
            file().tensor(zeros("blk.0.attn_q.bias", &[8])),
            "FILE: the architecture `llama` has no place for the tensor `blk.0.attn_q.bias`",
        ),
        (
            file().without("token_embd.weight"),
            "FILE: it has neither `llama.vocab_size` nor the tensor `token_embd.weight`",
        ),
    ] {
        assert_eq!(open(file).err().as_deref(), Some(sentence));
    }
    // A number of layers that only the file says, and that there are no tensors for.
    let layers = open(file().set("llama.block_count", 1u32 << 24)).err().unwrap();
    assert!(layers.starts_with("FILE: there is no tensor `blk.1.attn_norm.weight`"), "{layers}");
}

/// A model whose rows are whole blocks, with a tokenizer of SentencePiece's kind, as files name it.
fn with_tokenizer() -> GgufFile {
    let mut random = Random::new(1);
    let mut weight = |name: &str, dims: &[u64]| {
        GgufTensor::f32(name, dims, (0..dims.iter().product()).map(|_| random.float() / 4.0))
    };
    decoder_file(&Llama, &sizes(32, 64, 5), false, &mut weight)
        .set("tokenizer.ggml.model", "llama")
        .set("tokenizer.ggml.tokens", ["<unk>", "<s>", "</s>", "\u{2581}a", "b"])
        .set("tokenizer.ggml.scores", [0.0, -0.0, -1.5, -1e-40, f32::MAX])
        .set("tokenizer.ggml.token_type", [2, 3, 3, 1, 1])
        .set("tokenizer.ggml.bos_token_id", 1u32)
        .set("tokenizer.ggml.eos_token_id", 2u32)
        .set("tokenizer.ggml.unknown_token_id", 0u32)
        .set("tokenizer.ggml.add_space_prefix", false)
}

#[test]
fn what_the_command_quantizes_is_the_same_model() {
    let folder = tempfile::tempdir().unwrap();
    let (path, saved) = (folder.path().join("model.gguf"), folder.path().join("model.safetensors"));
    std::fs::write(&path, with_tokenizer().bytes()).unwrap();
    let session = session(1);
    let registry = session.registry();

    // All matrices, and the rest as it is: the metadata with it.
    let encoding = registry.require_encoding("q8_0").unwrap();
    let file = Checkpoint::open(&path).unwrap();
    let mut writer = CheckpointWriter::new();
    writer.metadata_mut().clone_from(file.metadata());
    for (name, stored) in file.tensors() {
        match stored.shape() {
            [_, _] => writer.encoded(name, encoding.spec(), stored.shape()),
            _ => writer.stored(name, stored),
        }
    }
    let encode = |name: &str| {
        let tensor = file.as_stored(name)?;
        Ok::<_, bitquilt::Error>(if tensor.shape().len() == 2 {
            encoding.quantize(&tensor)?.tensor
        } else {
            tensor
        })
    };
    writer.write(&saved, encode).unwrap();

    let mut expected = DecoderModel::open(&path, None, registry).unwrap();
    Recipe::uniform("q8_0", None).unwrap().apply(&mut expected.weights, registry, |_, _| {}).unwrap();
    let found = DecoderModel::open(&saved, None, registry).unwrap();
    assert_eq!(found.config, expected.config);
    assert_eq!(found.vocabulary, expected.vocabulary);
    let vocabulary = found.vocabulary.as_ref().unwrap();
    assert_eq!((vocabulary.tokens.len(), vocabulary.bos, vocabulary.add_space), (5, Some(1), false));
    let tensors = |weights: &TensorDict| weights.clone().into_iter().collect::<Vec<_>>();
    assert!(tensors(&found.weights) == tensors(&expected.weights));
    let logits = |model: &DecoderModel| {
        all_logits(&mut runner(&session, model, &options(16, "exact")), &[1, 3, 4, 2, 0])
    };
    let (found, expected) = (logits(&found), logits(&expected));
    assert_eq!(found, expected);
    assert!(found.windows(2).any(|pair| pair[0] != pair[1]));
}

#[test]
fn integers_of_any_width_are_token_types() {
    let kinds = [2u8, 3, 3, 1, 1];
    for (kind, width) in [(0, 1), (1, 1), (2, 2), (3, 2), (4, 4), (5, 4), (10, 8), (11, 8)] {
        let bytes = kinds.iter().flat_map(|kind| u64::from(*kind).to_le_bytes().into_iter().take(width));
        let array = GgufValue::array(kind, 5, bytes.collect::<Vec<u8>>());
        let model = open(with_tokenizer().set("tokenizer.ggml.token_type", array)).unwrap();
        assert_eq!(model.vocabulary.unwrap().kinds, kinds, "type {kind}");
    }
    let floats = [1f32; 5];
    assert_eq!(
        open(with_tokenizer().set("tokenizer.ggml.token_type", floats)).err().unwrap(),
        "FILE: the metadata `tokenizer.ggml.token_type` is an array of 5 f32; an array of integers was expected"
    );
}

#[test]
fn tokens_that_are_no_text_are_a_sentence() {
    let tokens = [&b"\x01\0\0\0\0\0\0\0a"[..], b"\x01\0\0\0\0\0\0\0\x80"].concat();
    let file = with_tokenizer().set("tokenizer.ggml.tokens", GgufValue::array(8, 2, tokens));
    assert_eq!(
        open(file).err().unwrap(),
        "FILE: the metadata `tokenizer.ggml.tokens` is an array of 2 string, not all of which are UTF-8; an array of texts was expected"
    );
}
