//! GGUF files whose hyper-parameters or weights are no model: sentences, not panics.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use bitquilt::TensorDict;
use bitquilt::checkpoint::{Checkpoint, CheckpointWriter};
use bitquilt_examples::recipe::Recipe;
use bitquilt_models::model::DecoderModel;
use bitquilt_models::yarn::Yarn;
use common::{all_logits, options, registry, runner, session};

/// A metadata value.
#[derive(Clone)]
enum Value {
    U32(u32),
    F32(f32),
    Bool(bool),
    Text(&'static str),
    Texts(&'static [&'static str]),
    F32s(&'static [f32]),
    I32s(&'static [i32]),
    /// The type number of arrays of another type, and how many values are in the bytes.
    Other(u32, u64, Vec<u8>),
}

/// A file to be: metadata, and tensors with the dimensions innermost first, of values that are all made the same way.
#[derive(Clone)]
struct File {
    metadata: Vec<(&'static str, Value)>,
    tensors: Vec<(String, Vec<u64>)>,
    value: fn(u64) -> f32,
}

impl File {
    /// A model of one layer: width 8, two heads, one of keys and values, 12 hidden, 5 tokens.
    fn new() -> Self {
        use Value::{F32, Text, U32};
        let metadata = vec![
            ("general.architecture", Text("llama")),
            ("llama.block_count", U32(1)),
            ("llama.context_length", U32(16)),
            ("llama.embedding_length", U32(8)),
            ("llama.feed_forward_length", U32(12)),
            ("llama.attention.head_count", U32(2)),
            ("llama.attention.head_count_kv", U32(1)),
            ("llama.attention.layer_norm_rms_epsilon", F32(1e-5)),
        ];
        let layer = [
            ("attn_norm", &[8][..]),
            ("attn_q", &[8, 8]),
            ("attn_k", &[8, 4]),
            ("attn_v", &[8, 4]),
            ("attn_output", &[8, 8]),
            ("ffn_norm", &[8]),
            ("ffn_gate", &[8, 12]),
            ("ffn_up", &[8, 12]),
            ("ffn_down", &[12, 8]),
        ]
        .map(|(part, dims)| (format!("blk.0.{part}.weight"), dims.to_vec()));
        let others = [("token_embd.weight", &[8, 5][..]), ("output_norm.weight", &[8])]
            .map(|(name, dims)| (name.to_owned(), dims.to_vec()));
        Self { metadata, tensors: layer.into_iter().chain(others).collect(), value: |_| 0.0 }
    }

    fn set(mut self, key: &'static str, value: Value) -> Self {
        self.metadata.retain(|(known, _)| *known != key);
        self.metadata.push((key, value));
        self
    }

    fn without(mut self, name: &str) -> Self {
        self.metadata.retain(|(key, _)| *key != name);
        self.tensors.retain(|(tensor, _)| tensor != name);
        self
    }

    fn tensor(mut self, name: &str, dims: &[u64]) -> Self {
        self.tensors.retain(|(known, _)| known != name);
        self.tensors.push((name.to_owned(), dims.to_vec()));
        self
    }

    fn bytes(&self) -> Vec<u8> {
        let text = |text: &str| [&(text.len() as u64).to_le_bytes()[..], text.as_bytes()].concat();
        let array = |kind: u32, len: usize, bytes: Vec<u8>| {
            [&9u32.to_le_bytes()[..], &kind.to_le_bytes(), &(len as u64).to_le_bytes(), &bytes].concat()
        };
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            file.extend(text(key));
            file.extend(match value {
                Value::U32(value) => [4u32.to_le_bytes(), value.to_le_bytes()].concat(),
                Value::F32(value) => [6u32.to_le_bytes(), value.to_le_bytes()].concat(),
                Value::Bool(value) => [&7u32.to_le_bytes()[..], &[u8::from(*value)]].concat(),
                Value::Text(value) => [&8u32.to_le_bytes()[..], &text(value)].concat(),
                Value::Texts(values) => {
                    array(8, values.len(), values.iter().flat_map(|value| text(value)).collect())
                }
                Value::F32s(values) => {
                    array(6, values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
                }
                Value::I32s(values) => {
                    array(5, values.len(), values.iter().flat_map(|value| value.to_le_bytes()).collect())
                }
                Value::Other(kind, len, bytes) => array(*kind, *len as usize, bytes.clone()),
            });
        }
        let mut offset = 0u64;
        for (name, dims) in &self.tensors {
            file.extend(text(name));
            file.extend((dims.len() as u32).to_le_bytes());
            file.extend(dims.iter().flat_map(|dim| dim.to_le_bytes()));
            file.extend(0u32.to_le_bytes());
            file.extend(offset.to_le_bytes());
            offset += (4 * dims.iter().product::<u64>()).next_multiple_of(32);
        }
        for (index, (_, dims)) in (0u64..).zip(&self.tensors) {
            file.resize(file.len().next_multiple_of(32), 0);
            let count = dims.iter().product::<u64>();
            file.extend((0..count).flat_map(|at| (self.value)(1000 * index + at).to_le_bytes()));
        }
        file.resize(file.len().next_multiple_of(32), 0);
        file
    }

    /// What opening it says.
    fn open(&self) -> Result<DecoderModel, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        DecoderModel::open(&path, None, &registry())
            .map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
    }
}

#[test]
fn the_whole_file_is_a_model() {
    let model = File::new().open().unwrap();
    assert_eq!((model.config.head, model.config.rope_dims, model.config.vocabulary), (4, 4, 5));
    assert_eq!((model.config.rope_theta, model.config.rope_scale), (10_000.0, 1.0));
    assert!(model.vocabulary.is_none());
    let scaled = File::new()
        .set("llama.rope.scaling.type", Value::Text("linear"))
        .set("llama.rope.scaling.factor", Value::F32(4.0))
        .tensor("rope_freqs.weight", &[2])
        .tensor("output.weight", &[8, 5]);
    assert_eq!(scaled.open().unwrap().config.rope_scale, 0.25);
    // A factor without a type is linear; the older key says the same; `none` means none; 0 is no factor.
    for (key, factor, kind, scale) in [
        ("llama.rope.scaling.factor", 4.0, None, 0.25),
        ("llama.rope.scale_linear", 2.0, None, 0.5),
        ("llama.rope.scaling.factor", 4.0, Some("none"), 1.0),
        ("llama.rope.scaling.factor", 0.0, Some("linear"), 1.0),
    ] {
        let file = File::new().set(key, Value::F32(factor));
        let file = match kind {
            Some(kind) => file.set("llama.rope.scaling.type", Value::Text(kind)),
            None => file,
        };
        assert_eq!(file.open().unwrap().config.rope_scale, scale, "{key} {factor} {kind:?}");
    }
    let stretched = File::new()
        .set("llama.rope.scaling.type", Value::Text("yarn"))
        .set("llama.rope.scaling.factor", Value::F32(4.0))
        .set("llama.rope.scaling.original_context_length", Value::U32(8));
    let yarn = Yarn { factor: 4.0, trained: 8, beta_fast: 32.0, beta_slow: 1.0 };
    assert_eq!(stretched.open().unwrap().config.yarn, Some(yarn));
}

#[test]
fn what_is_no_model_is_a_sentence() {
    let file = File::new;
    for (file, sentence) in [
        (
            file().set("general.architecture", Value::Text("gemma3")),
            "FILE: its architecture is `gemma3`; this library knows `llama`",
        ),
        (
            file().without("llama.block_count"),
            "FILE: the metadata has no `llama.block_count`; a whole number that is not negative was expected",
        ),
        (
            file().set("llama.block_count", Value::F32(1.0)),
            "FILE: the metadata `llama.block_count` is 1; a whole number that is not negative was expected",
        ),
        (
            file().set("llama.attention.layer_norm_rms_epsilon", Value::U32(1)),
            "FILE: the metadata `llama.attention.layer_norm_rms_epsilon` is 1; a floating-point number was expected",
        ),
        (
            file().set("llama.attention.head_count", Value::U32(3)),
            "FILE: its width 8 cannot be split evenly among 3 heads",
        ),
        (
            file().set("llama.attention.head_count", Value::U32(0)),
            "FILE: its width 8 cannot be split evenly among 0 heads",
        ),
        (
            file().set("llama.attention.head_count_kv", Value::U32(0)),
            "FILE: its number of key/value heads is 0; 1 to 16777216 was expected",
        ),
        (
            file().set("llama.expert_count", Value::U32(8)),
            "FILE: it is a mixture of 8 experts; this library runs dense models",
        ),
        (
            file().set("llama.rope.scaling.type", Value::Text("longrope")),
            "FILE: its rope scaling is `longrope`; this library runs `none`, `linear` and `yarn`",
        ),
        (
            file().set("llama.rope.scaling.attn_factor", Value::F32(2.0)),
            "FILE: its `llama.rope.scaling.attn_factor` is 2; this library runs 1",
        ),
        (
            file()
                .set("llama.rope.scaling.type", Value::Text("yarn"))
                .set("llama.rope.scaling.factor", Value::F32(0.5)),
            "FILE: its rope scaling `yarn` has the factor 0.5, 16 trained tokens, and the bounds 1 and 32; \
             a factor of at least 1, a token or more, and positive bounds in this order were expected",
        ),
        (
            file()
                .set("llama.rope.scaling.type", Value::Text("yarn"))
                .set("llama.rope.dimension_count", Value::U32(2)),
            "FILE: its rope scaling is `yarn` and 2 of the 4 values of a head turn; this library runs it where all do",
        ),
        (
            file().set("llama.rope.dimension_count", Value::U32(3)),
            "FILE: 3 values of a head turn with the position; an even number of at most 4 was expected",
        ),
        (
            file()
                .set("tokenizer.ggml.model", Value::Text("bert"))
                .set("tokenizer.ggml.tokens", Value::U32(1)),
            "FILE: the metadata `tokenizer.ggml.tokens` is 1; an array of texts was expected",
        ),
        (
            file().without("blk.0.ffn_up.weight"),
            "FILE: there is no tensor `blk.0.ffn_up.weight`; did you mean `blk.0.ffn_down.weight` or `blk.0.ffn_gate.weight` \
             or `blk.0.ffn_norm.weight`?",
        ),
        (
            file().tensor("blk.0.attn_k.weight", &[8, 8]),
            "FILE: tensor `blk.0.attn_k.weight` is f32 [8, 8]; the hyper-parameters want the shape [4, 8]",
        ),
        (
            file().tensor("blk.0.attn_q.bias", &[8]),
            "FILE: the architecture `llama` has no place for the tensor `blk.0.attn_q.bias`",
        ),
        (
            file().without("token_embd.weight"),
            "FILE: it has neither `llama.vocab_size` nor the tensor `token_embd.weight`",
        ),
    ] {
        assert_eq!(file.open().err().as_deref(), Some(sentence));
    }
    // A number of layers that only the file says, and that there are no tensors for.
    let layers = File::new().set("llama.block_count", Value::U32(1 << 24)).open().err().unwrap();
    assert!(layers.starts_with("FILE: there is no tensor `blk.1.attn_norm.weight`"), "{layers}");
}

/// A model whose rows are whole blocks, with a tokenizer of SentencePiece's kind, as files name it.
fn with_tokenizer() -> File {
    use Value::{Bool, F32s, I32s, Text, Texts, U32};
    let mut file = File::new()
        .set("llama.embedding_length", U32(32))
        .set("llama.feed_forward_length", U32(64))
        .set("tokenizer.ggml.model", Text("llama"))
        .set("tokenizer.ggml.tokens", Texts(&["<unk>", "<s>", "</s>", "\u{2581}a", "b"]))
        .set("tokenizer.ggml.scores", F32s(&[0.0, -0.0, -1.5, -1e-40, f32::MAX]))
        .set("tokenizer.ggml.token_type", I32s(&[2, 3, 3, 1, 1]))
        .set("tokenizer.ggml.bos_token_id", U32(1))
        .set("tokenizer.ggml.eos_token_id", U32(2))
        .set("tokenizer.ggml.unknown_token_id", U32(0))
        .set("tokenizer.ggml.add_space_prefix", Bool(false));
    for (_, dims) in &mut file.tensors {
        for dim in dims {
            *dim = match *dim {
                8 => 32,
                4 => 16,
                12 => 64,
                other => other,
            };
        }
    }
    file.value = |at| (at * 37 % 255) as f32 / 512.0 - 0.2;
    file
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
        let array = Value::Other(kind, 5, bytes.collect());
        let model = with_tokenizer().set("tokenizer.ggml.token_type", array).open().unwrap();
        assert_eq!(model.vocabulary.unwrap().kinds, kinds, "type {kind}");
    }
    let floats = Value::F32s(&[1.0; 5]);
    assert_eq!(
        with_tokenizer().set("tokenizer.ggml.token_type", floats).open().err().unwrap(),
        "FILE: the metadata `tokenizer.ggml.token_type` is an array of 5 f32; an array of integers was expected"
    );
}

#[test]
fn tokens_that_are_no_text_are_a_sentence() {
    let tokens = [&b"\x01\0\0\0\0\0\0\0a"[..], b"\x01\0\0\0\0\0\0\0\x80"].concat();
    let file = with_tokenizer().set("tokenizer.ggml.tokens", Value::Other(8, 2, tokens));
    assert_eq!(
        file.open().err().unwrap(),
        "FILE: the metadata `tokenizer.ggml.tokens` is an array of 2 string, not all of which are UTF-8; an array of texts was expected"
    );
}
