//! llama2.c's files, against the forward pass of `tests/make_llama2c.py`.
#![allow(clippy::unwrap_used, reason = "tests may")]

mod common;

use std::path::Path;
use std::process::Command;

use bitquilt::checkpoint::npy;
use bitquilt::quantize::Recipe;
use bitquilt::{Element, Tensor};
use bitquilt_models::model::DecoderModel;
use bitquilt_models::tokenizer::Tokenizer;
use common::{all_logits, data, distance, numpy, options, registry, runner, session};

/// Compares a made model with the logits beside it, then quantizes it, saves it and loads it again; the bytes of that file.
fn check(directory: &Path) -> u64 {
    let session = session(2);
    let tokens = npy::read(directory.join("tokens.npy")).unwrap();
    let tokens: &[i32] = tokens.values().unwrap();
    let expected = npy::read(directory.join("logits.npy")).unwrap();
    let mut model = DecoderModel::open(&directory.join("model.bin"), None, session.registry()).unwrap();
    let options = options(tokens.len(), "exact");
    let found = all_logits(&mut runner(&session, &model, &options), tokens);
    assert!(distance(&found, expected.values().unwrap()) < 1e-3);

    let summary =
        Recipe::uniform("q4_0", None).unwrap().apply(&mut model.weights, session.registry(), |_, _| {});
    assert!(summary.unwrap().fallbacks.is_empty());
    let quantized = all_logits(&mut runner(&session, &model, &options), tokens);
    assert_ne!(quantized, found);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("quantized.safetensors");
    model.save(&path).unwrap();
    let again = DecoderModel::open(&path, None, session.registry()).unwrap();
    assert_eq!((&again.config, &again.vocabulary), (&model.config, &model.vocabulary));
    assert_eq!(again.weights, model.weights);
    assert_eq!(all_logits(&mut runner(&session, &again, &options), tokens), quantized);
    std::fs::metadata(&path).unwrap().len()
}

#[test]
fn a_small_model() {
    check(&data("llama2c"));
}

#[test]
fn fifteen_million_parameters() {
    let Some(python) = numpy() else { return };
    let folder = tempfile::tempdir().unwrap();
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/make_llama2c.py");
    let made = Command::new(&python).arg(script).arg(folder.path()).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let bytes = check(folder.path());
    assert!(bytes <= 10_000_000, "{bytes} bytes");
}

#[test]
fn the_tokenizer_does_what_llama2_c_does() {
    let model = DecoderModel::open(&data("llama2c/model.bin"), None, &registry()).unwrap();
    let vocabulary = model.vocabulary.unwrap();
    let tokenizer = Tokenizer::new(&vocabulary).unwrap();
    let id = |token: &str| vocabulary.tokens.iter().position(|known| known == token).unwrap() as u32;
    // A space is put before the text; what is no token falls back to its bytes, which begin at 3.
    let tokens = tokenizer.encode("zq\u{e9}", true).unwrap();
    assert_eq!(tokens, [1, id("\u{2581}"), id("z"), id("q"), 3 + 0xC3, 3 + 0xA9]);
    for text in ["the sea is near", "  two  spaces", "na\u{ef}ve \u{1f600}\n", ""] {
        assert_eq!(tokenizer.decode(&tokenizer.encode(text, true).unwrap()), text);
    }
    assert!(tokenizer.is_stop(1) && tokenizer.is_stop(2) && !tokenizer.is_stop(0));
}

#[test]
fn matrices_without_an_encoding_stay_f32() {
    let model = DecoderModel::open(&data("llama2c/model.bin"), None, &registry()).unwrap();
    let f32 = Element::Dense(bitquilt::DType::F32);
    assert!(model.weights.iter().all(|(_, tensor): (&str, &Tensor)| tensor.element() == f32));
    assert!(model.weights.contains("output.weight"));
}

#[test]
fn what_is_no_checkpoint_is_a_sentence() {
    let whole = std::fs::read(data("llama2c/model.bin")).unwrap();
    let tokens = std::fs::read(data("llama2c/tokenizer.bin")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    let open = |bytes: &[u8]| {
        std::fs::write(&path, bytes).unwrap();
        let error = DecoderModel::open(&path, None, &registry()).err().expect("it is refused").to_string();
        error.replace(&path.display().to_string(), "FILE")
    };
    let number = |index: usize, value: i32| {
        let mut bytes = whole.clone();
        bytes[4 * index..][..4].copy_from_slice(&value.to_le_bytes());
        bytes
    };
    assert_eq!(open(&whole[..20]), "FILE: a llama2.c checkpoint begins with 28 bytes of numbers; it has 20");
    let cut = open(&whole[..whole.len() - 1]);
    assert!(cut.contains("it was cut, or is damaged"), "{cut}");
    let longer = open(&[&whole[..], &[0]].concat());
    assert!(longer.ends_with("is it a llama2.c checkpoint of another version?"), "{longer}");
    for (index, value, part) in [
        (0, 0, "its width is 0"),
        (0, 33, "the width cannot be split among the heads"),
        (1, -5, "its feed-forward size is 0"),
        (2, i32::MAX, "its number of layers is 2147483647"),
        (3, 0, "the width cannot be split among the heads"),
        (4, 3, "its 4 heads cannot share 3 key/value heads evenly"),
        (5, i32::MIN, "its vocabulary is 2147483648"),
        (6, 1 << 24, "it was cut, or is damaged"),
    ] {
        let sentence = open(&number(index, value));
        assert!(sentence.contains(part), "{sentence}");
    }

    std::fs::write(&path, &whole).unwrap();
    let tokenizer = folder.path().join("other.bin");
    for (bytes, part) in [
        (
            tokens[..tokens.len() - 1].to_vec(),
            "it ends in token 299 of 300; it was cut, or is another model's",
        ),
        (tokens[..3].to_vec(), "it ends in token 0 of 300"),
        ([&tokens[..], &[0]].concat(), "it has more than the 300 tokens of the model"),
    ] {
        std::fs::write(&tokenizer, bytes).unwrap();
        let error = DecoderModel::open(&path, Some(&tokenizer), &registry()).err().expect("it is refused");
        assert!(error.to_string().contains(part), "{error}");
    }
}
