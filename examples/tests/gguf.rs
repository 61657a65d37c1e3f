//! GGUF files whose hyper-parameters or weights are no model: sentences, not panics.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use bitquilt_examples::tinystories::model::Llama;
use bitquilt_examples::tinystories::yarn::Yarn;
use common::registry;

/// A metadata value.
#[derive(Clone)]
enum Value {
    U32(u32),
    F32(f32),
    Text(&'static str),
}

/// A file to be: metadata, and tensors of zeros with the dimensions innermost first.
#[derive(Clone)]
struct File {
    metadata: Vec<(&'static str, Value)>,
    tensors: Vec<(String, Vec<u64>)>,
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
        Self { metadata, tensors: layer.into_iter().chain(others).collect() }
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
        let mut file = b"GGUF\x03\0\0\0".to_vec();
        file.extend((self.tensors.len() as u64).to_le_bytes());
        file.extend((self.metadata.len() as u64).to_le_bytes());
        for (key, value) in &self.metadata {
            file.extend(text(key));
            file.extend(match value {
                Value::U32(value) => [4u32.to_le_bytes(), value.to_le_bytes()].concat(),
                Value::F32(value) => [6u32.to_le_bytes(), value.to_le_bytes()].concat(),
                Value::Text(value) => [&8u32.to_le_bytes()[..], &text(value)].concat(),
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
        file.resize(file.len().next_multiple_of(32) + offset as usize, 0);
        file
    }

    /// What opening it says.
    fn open(&self) -> Result<Llama, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.gguf");
        std::fs::write(&path, self.bytes()).unwrap();
        Llama::open(&path, None, &registry())
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
            "FILE: its architecture is `gemma3`; this example runs `llama`",
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
            "FILE: it is a mixture of 8 experts; this example runs dense models",
        ),
        (
            file().set("llama.rope.scaling.type", Value::Text("longrope")),
            "FILE: its rope scaling is `longrope`; this example runs `none`, `linear` and `yarn`",
        ),
        (
            file().set("llama.rope.scaling.attn_factor", Value::F32(2.0)),
            "FILE: its `llama.rope.scaling.attn_factor` is 2; this example runs 1",
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
            "FILE: its rope scaling is `yarn` and 2 of the 4 values of a head turn; this example runs it where all do",
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
            "FILE: the graph of this example has no place for the tensor `blk.0.attn_q.bias`",
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
