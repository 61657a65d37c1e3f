//! Real models; `tests/fetch_models.sh` fetches them.

use std::collections::BTreeMap;

use bitquilt_plugin_api::DType;

use super::*;
use crate::checkpoint::metadata::Value;

fn model(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models").join(name);
    if path.is_file() {
        return Some(path);
    }
    eprintln!("skipped: models/{name} is not there; tests/fetch_models.sh fetches it");
    None
}

#[test]
fn smollm2_is_read_whole() {
    let Some(path) = model("SmolLM2-135M-Instruct.Q4_1.gguf") else { return };
    let checkpoint = Checkpoint::open(&path).unwrap();
    let header = checkpoint.metadata();
    assert_eq!(checkpoint.format(), Format::new("GGUF", Some(3)));
    assert_eq!(header.text("general.architecture"), Some("llama"));
    assert_eq!(header.get("llama.embedding_length").and_then(Value::as_u64), Some(576));
    let tokens = header.get("tokenizer.ggml.tokens").and_then(Value::as_array).unwrap();
    assert_eq!(tokens.as_strings().map(<[String]>::len), Some(49152));

    let mut counts = BTreeMap::new();
    for (_, stored) in checkpoint.tensors() {
        *counts.entry(stored.element().to_string()).or_insert(0) += 1;
    }
    let expected = [("f32", 61), ("q4_1", 210), ("q8_0", 1)];
    assert_eq!(counts, expected.map(|(element, count)| (element.to_owned(), count)).into());

    let registry = registry([EncodingSpec::new("q4_1", 32, 20), EncodingSpec::new("q8_0", 32, 34)]);
    let tensors = checkpoint.load(&registry).unwrap();
    assert_eq!(tensors.len(), 272);
    assert_eq!(tensors.require("token_embd.weight").unwrap().tensor_type().to_string(), "q8_0 [49152, 576]");
    let gate = tensors.require("blk.0.ffn_gate.weight").unwrap();
    assert_eq!(gate.tensor_type().to_string(), "q4_1 [1536, 576]");
    assert!(tensors.values::<f32>("output_norm.weight").unwrap().iter().all(|value| value.is_finite()));

    let (_directory, saved) = file(b"");
    save(&tensors, &saved).unwrap();
    assert_eq!(load(&saved, &registry).unwrap(), tensors);
}

#[test]
fn minilm_is_read_whole() {
    let Some(path) = model("all-MiniLM-L6-v2.safetensors") else { return };
    let tensors = load(&path, &Registry::default()).unwrap();
    let table = tensors.require("embeddings.word_embeddings.weight").unwrap();
    assert_eq!(table.tensor_type().to_string(), "f32 [30522, 384]");
    let weights = tensors.iter().filter(|(_, tensor)| tensor.dtype() == Some(DType::F32));
    for (name, _) in weights {
        assert!(tensors.values::<f32>(name).unwrap().iter().all(|value| value.is_finite()), "{name}");
    }
}
