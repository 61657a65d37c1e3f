//! Tokens are llama.cpp's.
#![allow(clippy::unwrap_used, reason = "tests may")]

use std::path::{Path, PathBuf};

use bitquilt::checkpoint::Checkpoint;
use bitquilt_models::files::gguf;
use bitquilt_models::tokenizer::Tokenizer;
use bitquilt_models::vocabulary::{Merges, Vocabulary};
use serde_json::Value;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

fn vocabulary(path: &Path) -> Vocabulary {
    let mut file = Checkpoint::open(path).unwrap();
    gguf::vocabulary(file.metadata_mut()).unwrap().unwrap()
}

/// Compares all texts with what llama.cpp made of them.
fn check(name: &str, vocabulary: &Vocabulary) {
    let tokens: Value = serde_json::from_str(&std::fs::read_to_string(data("tokens.json")).unwrap()).unwrap();
    let tokenizer = Tokenizer::new(vocabulary).unwrap();
    let texts = tokens["texts"].as_array().unwrap();
    let expected = tokens["ids"][name].as_array().unwrap();
    assert_eq!(texts.len(), expected.len());
    for (text, expected) in texts.iter().zip(expected) {
        let text = text.as_str().unwrap();
        let found = tokenizer.encode(text, true).unwrap();
        assert_eq!(serde_json::json!(found), *expected, "{name}: {text:?}");
        if !text.contains("<|") && !text.contains("<s>") {
            assert_eq!(tokenizer.decode(&found), text, "{name}");
        }
    }
}

#[test]
fn smollm2() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/SmolLM2-135M-Instruct.Q4_1.gguf");
    if !path.is_file() {
        return eprintln!("skipped: {} is not there; tests/fetch_models.sh fetches it", path.display());
    }
    let vocabulary = vocabulary(&path);
    check("smollm2", &vocabulary);
    let tokenizer = Tokenizer::new(&vocabulary).unwrap();
    let stops: Vec<u32> = (0..49_152).filter(|token| tokenizer.is_stop(*token)).collect();
    assert_eq!(stops, [0, 2]);
}

#[test]
fn every_pre_tokenizer() {
    for name in ["gpt-2", "smollm", "llama-bpe", "qwen2"] {
        let mut vocabulary = vocabulary(&data("bytes_vocabulary.gguf"));
        let Merges::Listed { pre_tokenizer, .. } = &mut vocabulary.merges else { panic!("it has merges") };
        *pre_tokenizer = name.to_owned();
        vocabulary.add_bos = name == "llama-bpe";
        check(name, &vocabulary);
    }
}

#[test]
fn scores() {
    check("scored", &vocabulary(&data("scored_vocabulary.gguf")));
}

/// Of each vocabulary llama.cpp has texts in a file `.inp`, apart by a line, and a line of tokens for each in `.out`.
#[test]
fn the_vocabularies_that_llama_cpp_comes_with() {
    let Some(folder) = std::env::var_os("BITQUILT_LLAMA_CPP_MODELS") else {
        return eprintln!("skipped: name llama.cpp's folder `models` in BITQUILT_LLAMA_CPP_MODELS");
    };
    for name in
        ["llama-spm", "phi-3", "gpt-2", "mpt", "command-r", "refact", "starcoder", "llama-bpe", "qwen2"]
    {
        let path = Path::new(&folder).join(format!("ggml-vocab-{name}.gguf"));
        let tokenizer = Tokenizer::new(&vocabulary(&path)).unwrap();
        let texts = std::fs::read_to_string(path.with_extension("gguf.inp")).unwrap();
        let tokens = std::fs::read_to_string(path.with_extension("gguf.out")).unwrap();
        let texts: Vec<&str> = texts.split("\n__ggml_vocab_test__\n").collect();
        let tokens: Vec<&str> = tokens.split('\n').collect();
        assert!(texts.len() > 40 && texts.len() == tokens.len(), "{name}");
        for (text, tokens) in texts.iter().zip(tokens) {
            let expected: Vec<u32> = tokens.split_whitespace().map(|token| token.parse().unwrap()).collect();
            let found = tokenizer.encode(text, false).unwrap();
            assert_eq!(found, expected, "{name}: {text:?}");
            assert_eq!(tokenizer.decode(&found), *text, "{name}");
        }
    }
}

#[test]
fn what_is_not_known_is_a_sentence() {
    let mut vocabulary = vocabulary(&data("bytes_vocabulary.gguf"));
    vocabulary.merges = Merges::Listed { merges: Vec::new(), pre_tokenizer: "chatglm-bpe".to_owned() };
    let sentence = |vocabulary: &Vocabulary| Tokenizer::new(vocabulary).err().map(|error| error.to_string());
    assert_eq!(
        sentence(&vocabulary).unwrap(),
        "tokenizer: its pre-tokenizer is `chatglm-bpe`; this library knows gpt-2, smollm, llama-bpe and qwen2"
    );
    let merges = |merges: &[&str]| Merges::Listed {
        merges: merges.iter().map(|merge| (*merge).to_owned()).collect(),
        pre_tokenizer: "smollm".to_owned(),
    };
    vocabulary.merges = merges(&["ab"]);
    assert_eq!(sentence(&vocabulary).unwrap(), "tokenizer: the merge \"ab\" is no pair separated by a space");
    vocabulary.merges = merges(&["a unknownpiece"]);
    assert!(sentence(&vocabulary).unwrap().contains("unknownpiece"));
}

#[test]
fn a_vocabulary_that_is_too_much_is_a_sentence() {
    let mut long = vocabulary(&data("scored_vocabulary.gguf"));
    long.tokens[300] = "a".repeat(1_000_000);
    assert_eq!(
        long.check().unwrap_err(),
        "the tokenizer's token 300 has 1000000 bytes; at most 1024 were expected"
    );
    // Each of 1024 tokens is joined of every two whose lengths sum up to its own.
    let mut joined = vocabulary(&data("scored_vocabulary.gguf"));
    joined.tokens = (1..=1024).map(|length| "a".repeat(length)).collect();
    joined.merges = Merges::Scored { scores: vec![0.0; 1024] };
    (joined.kinds, joined.bos, joined.eos, joined.unknown, joined.stops) =
        (Vec::new(), None, None, None, Vec::new());
    joined.check().unwrap();
    let error = Tokenizer::new(&joined).err().unwrap().to_string();
    assert!(error.contains("are joined of each other in too many ways"), "{error}");
}

#[test]
fn text_without_a_token_is_an_error_or_counted_and_never_left_out() {
    let mut listed = vocabulary(&data("bytes_vocabulary.gguf"));
    let tokenizer = Tokenizer::new(&listed).unwrap();
    assert_eq!(tokenizer.count_unknown(&tokenizer.encode("a \u{e9}\u{1f600}", true).unwrap()), 0);
    // GPT-2 writes the byte 0xA9, the second of U+00E9, as itself.
    let without = listed.tokens.iter().position(|token| token == "\u{a9}").unwrap();
    listed.tokens[without] = "<nothing>".to_owned();
    let tokenizer = Tokenizer::new(&listed).unwrap();
    assert!(tokenizer.encode("ae", false).is_ok());
    assert_eq!(
        tokenizer.encode("ab \u{e9}", false).unwrap_err().to_string(),
        "tokenizer: the character 'é' at byte 3 of the text has no token in the model's vocabulary, and would be left out"
    );

    let mut scored = vocabulary(&data("scored_vocabulary.gguf"));
    scored.tokens.iter_mut().filter(|token| token.starts_with("<0x")).for_each(|token| token.push('.'));
    let unknown = scored.unknown;
    assert!(unknown.is_some());
    let tokenizer = Tokenizer::new(&scored).unwrap();
    assert_eq!(tokenizer.count_unknown(&tokenizer.encode("\u{1f600} \u{1f600}", true).unwrap()), 2);
    scored.unknown = None;
    let tokenizer = Tokenizer::new(&scored).unwrap();
    let error = tokenizer.encode("\u{1f600}", true).unwrap_err().to_string();
    assert!(error.contains("at byte 0 of the text has no token"), "{error}");
}

/// Not timed: a way that is quadratic takes many minutes.
#[test]
fn a_long_text_takes_no_more_than_its_length() {
    const BYTES: usize = 1 << 18;
    let texts = ["a", " ", "a1", "a ", "\u{1f600}", "the cat "];
    for name in ["gpt-2", "smollm", "llama-bpe", "qwen2", "scored"] {
        let mut vocabulary = match name {
            "scored" => vocabulary(&data("scored_vocabulary.gguf")),
            _ => vocabulary(&data("bytes_vocabulary.gguf")),
        };
        if let Merges::Listed { pre_tokenizer, .. } = &mut vocabulary.merges {
            *pre_tokenizer = name.to_owned();
        }
        let tokenizer = Tokenizer::new(&vocabulary).unwrap();
        for text in texts {
            let text = text.repeat(BYTES / text.len());
            let tokens = tokenizer.encode(&text, false).unwrap();
            assert!(
                tokenizer.decode(&tokens) == text,
                "{name}: {:?}...",
                &text.chars().take(8).collect::<String>()
            );
        }
    }
}
