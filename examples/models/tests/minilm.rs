//! The sentence encoder, in full precision and quantized.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::path::Path;
use std::process::Command;

use bitquilt::checkpoint::npy;
use bitquilt::quantize::Recipe;
use bitquilt_models::sentence::config::EncoderConfig;
use bitquilt_models::sentence::encoder::{Encoder, cosine, weights};
use bitquilt_models::sentence::tokenizer::SentenceTokenizer;
use common::{fetched, numpy, session};

/// [CLS] the cat sits on the warm windows ##ill [SEP]
const SENTENCE: [u32; 10] = [101, 1996, 4937, 7719, 2006, 1996, 4010, 3645, 8591, 102];

#[test]
fn a_quantized_sentence_means_the_same() {
    let Some(path) = fetched("all-MiniLM-L6-v2.safetensors") else { return };
    let session = session(2);
    let config = EncoderConfig::read(&path.with_file_name("all-MiniLM-L6-v2.config.json")).unwrap();
    let full = weights(&path, &config, session.registry()).unwrap();
    let recipe = Recipe::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../minilm/recipe.toml")).unwrap();
    let mut quantized = full.clone();
    let summary = recipe.apply(&mut quantized, session.registry(), |_, _| {}).unwrap();
    // The first halves of the feed-forward blocks have rows of 384 values.
    assert_eq!(summary.fallbacks.len(), 6);
    let embed = |weights| {
        let mut encoder = Encoder::load(&session, &config, weights).unwrap();
        let embedding = encoder.embed(&SENTENCE).unwrap().to_vec();
        // Other lengths before and after leave no trace.
        encoder.embed(&SENTENCE[..3]).unwrap();
        assert_eq!(encoder.embed(&SENTENCE).unwrap(), embedding);
        embedding
    };
    let (full, quantized) = (embed(&full), embed(&quantized));
    let length = full.iter().map(|value| f64::from(*value).powi(2)).sum::<f64>();
    assert!((length - 1.0).abs() < 1e-5, "{length}");
    let cosine = cosine(&full, &quantized);
    assert!((0.99..0.999_999).contains(&cosine), "{cosine}");
}

#[test]
fn full_precision_is_an_independent_forward_pass() {
    let Some(path) = fetched("all-MiniLM-L6-v2.safetensors") else { return };
    let Some(python) = numpy() else { return };
    let config_path = path.with_file_name("all-MiniLM-L6-v2.config.json");
    let session = session(2);
    let config = EncoderConfig::read(&config_path).unwrap();
    let full = weights(&path, &config, session.registry()).unwrap();
    let mut encoder = Encoder::load(&session, &config, &full).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("embedding.npy");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/minilm_embedding.py");
    let scattered: Vec<u32> = (0..100).map(|index| 1000 + index * index * 31 % 29_000).collect();
    for tokens in [&SENTENCE[..], &SENTENCE[..1], &scattered] {
        let made = Command::new(&python)
            .arg(&script)
            .args([&path, &config_path, &output])
            .args(tokens.iter().map(u32::to_string))
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let expected = npy::read(&output).unwrap();
        let expected: &[f64] = expected.values().unwrap();
        let found = encoder.embed(tokens).unwrap();
        assert_eq!(found.len(), expected.len());
        let apart = found.iter().zip(expected).map(|(found, expected)| (f64::from(*found) - expected).abs());
        let apart = apart.fold(0.0, f64::max);
        assert!(apart < 1e-5, "{apart} with {} tokens", tokens.len());
    }
}

#[test]
fn a_k_encoding_does_not_fit_rows_of_384() {
    let Some(path) = fetched("all-MiniLM-L6-v2.safetensors") else { return };
    let session = session(1);
    let config = EncoderConfig::read(&path.with_file_name("all-MiniLM-L6-v2.config.json")).unwrap();
    let mut weights = weights(&path, &config, session.registry()).unwrap();
    let recipe = Recipe::uniform("q4_k", None).unwrap();
    let error = recipe.apply(&mut weights, session.registry(), |_, _| {}).unwrap_err().to_string();
    assert!(
        error.contains("its rows have 384 values, no multiple of the 256 in a block of `q4_k`"),
        "{error}"
    );
}

#[test]
fn a_sentence_is_encoded_whole_or_refused() {
    let Some(path) = fetched("all-MiniLM-L6-v2.safetensors") else { return };
    let config = EncoderConfig::read(&path.with_file_name("all-MiniLM-L6-v2.config.json")).unwrap();
    let file = path.with_file_name("all-MiniLM-L6-v2.tokenizer.json");
    let tokenizer = SentenceTokenizer::read(&file, &config).unwrap();
    assert_eq!(tokenizer.encode("The cat sits on the warm windowsill.").unwrap().len(), 11);
    assert_eq!(tokenizer.encode("The cat sits on the warm windowsill").unwrap(), SENTENCE);

    // The file itself asks for no more than 128 tokens.
    let told = std::fs::read_to_string(&file).unwrap();
    assert!(told.contains("\"max_length\": 128") || told.contains("\"max_length\":128"));
    let words = |count: usize, last: &str| "cat ".repeat(count) + last;
    for count in [127, 300, 509] {
        let (cat, dog) = (words(count, "cat"), words(count, "dog"));
        let [cat, dog] = [cat, dog].map(|sentence| tokenizer.encode(&sentence).unwrap());
        assert_eq!((cat.len(), dog.len()), (count + 3, count + 3));
        assert_ne!(cat, dog);
    }
    let error = tokenizer.encode(&words(510, "dog")).unwrap_err().to_string();
    assert!(error.starts_with("the sentence \"cat cat "), "{error}");
    assert!(
        error.ends_with("...\" has 513 tokens; the encoder takes at most 512: split it and embed its parts"),
        "{error}"
    );

    // Sentences of different lengths are never padded to be alike.
    assert_eq!(tokenizer.encode("").unwrap().len(), 2);
    assert_eq!(tokenizer.count_unknown(&SENTENCE), 0);
    // A word of more than 100 letters is unknown to WordPiece, and so is a sign that no word has.
    let unknown = tokenizer.encode(&format!("{} \u{1F9FF} cat", "b".repeat(101))).unwrap();
    assert_eq!(tokenizer.count_unknown(&unknown), 2, "{unknown:?}");
}
