//! GGUF files of small models.

use std::path::Path;

use bitquilt_models::arch::UnknownArchitecture;
use bitquilt_models::architecture::Architecture;
use bitquilt_models::config::{CLASSIFIER, Config, EMBEDDING, OUTPUT_NORM, layer_tensor};
use bitquilt_models::model::DecoderModel;
use bitquilt_tests::gguf::{GgufFile, GgufTensor};

use super::registry;

/// What is said of a file `FILE` whose architecture is none.
pub fn unknown(architecture: &str) -> String {
    format!("FILE: {}", UnknownArchitecture { name: architecture.to_owned() })
}

/// The hyper-parameters of one layer with two heads, and one of keys and values.
pub fn sizes(width: usize, hidden: usize, vocabulary: usize) -> Config {
    Config {
        width,
        hidden,
        layers: 1,
        heads: 2,
        kv_heads: 1,
        head: width / 2,
        vocabulary,
        context: 16,
        eps: 1e-5,
        rope_dims: width / 2,
        rope_theta: 10_000.0,
        rope_scale: 1.0,
        yarn: None,
    }
}

/// The file of a model of these sizes. `weight` makes each of its tensors, whose dimensions are innermost first; one of them is a
/// classifier, if it has one of its own. What llama.cpp takes for granted is left out.
pub fn decoder_file(
    architecture: &dyn Architecture,
    config: &Config,
    classifier: bool,
    weight: &mut dyn FnMut(&str, &[u64]) -> GgufTensor,
) -> GgufFile {
    let name = architecture.name();
    let key = |key: &str| format!("{name}.{key}");
    let mut file = GgufFile::default().set("general.architecture", name);
    for (part, value) in [
        ("block_count", config.layers),
        ("context_length", config.context),
        ("embedding_length", config.width),
        ("feed_forward_length", config.hidden),
        ("attention.head_count", config.heads),
        ("attention.head_count_kv", config.kv_heads),
    ] {
        file = file.set(&key(part), value as u32);
    }
    file = file.set(&key("attention.layer_norm_rms_epsilon"), config.eps);
    if config.query_width() != config.width {
        file = file.set(&key("attention.key_length"), config.head as u32);
        file = file.set(&key("attention.value_length"), config.head as u32);
    }
    if config.rope_theta != 10_000.0 {
        file = file.set(&key("rope.freq_base"), config.rope_theta as f32);
    }
    let mut add = |name: &str, shape: &[usize]| {
        let dims: Vec<u64> = shape.iter().rev().map(|dim| *dim as u64).collect();
        file.tensors.push(weight(name, &dims));
    };
    for layer in 0..config.layers {
        for (part, shape) in architecture.layer_weights(config) {
            add(&layer_tensor(layer, part), &shape);
        }
    }
    add(EMBEDDING, &[config.vocabulary, config.width]);
    add(OUTPUT_NORM, &[config.width]);
    if classifier {
        add(CLASSIFIER, &[config.vocabulary, config.width]);
    }
    file
}

/// A tensor of zeros.
pub fn zeros(name: &str, dims: &[u64]) -> GgufTensor {
    GgufTensor::f32(name, dims, (0..dims.iter().product()).map(|_| 0.0))
}

/// The model of a file, or what is said of it.
pub fn open(file: GgufFile) -> Result<DecoderModel, String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, file.bytes()).unwrap();
    open_at(&path)
}

/// The model at this path, or what is said of it.
pub fn open_at(path: &Path) -> Result<DecoderModel, String> {
    let opened = DecoderModel::open(path, None, &registry());
    opened.map_err(|error| error.to_string().replace(&path.display().to_string(), "FILE"))
}
