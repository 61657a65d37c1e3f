//! The vectors beside `FORMAT.md`, from which an implementation elsewhere can be tested.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use bitquilt_declared::Declaration;
use common::{KINDS, Random, dequantize, quantize, text};

const UPDATE: &str = "BITQUILT_BLESS=1 cargo test -p bitquilt-declared --test golden";

/// The kinds with vectors.
const NAMES: [&str; 17] = [
    "nf4",
    "fp4",
    "int3",
    "int4",
    "int4.zero",
    "mlx4.bf16",
    "gptq",
    "hqq4.zero",
    "onnx8",
    "ternary",
    "int5",
    "bit",
    "fp8.f32",
    "fp8.bf16",
    "mxfp4",
    "nvfp4",
    "kquant.min",
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("golden")
}

/// Bits of values in hexadecimal; NaN is one word whatever its bits.
fn hex_values(values: &[f32]) -> String {
    let words = values
        .iter()
        .map(|value| if value.is_nan() { "nan".to_owned() } else { format!("{:08x}", value.to_bits()) });
    words.collect::<Vec<String>>().join(" ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// What is kept of a declaration: blocks that an encoder made of values, and blocks of any bytes.
fn vectors(declaration: &Declaration) -> String {
    let mut text =
        format!("# Blocks of {} and their values; FORMAT.md says how to read them.\n", declaration.name());
    let mut random = Random(declaration.block_len() as u64);
    for scale in [1.0, 0.01] {
        let input: Vec<f32> = (0..declaration.block_len()).map(|_| scale * random.normal()).collect();
        let block = quantize(declaration, &input, None);
        let values = hex_values(&dequantize(declaration, &block));
        let _ = writeln!(text, "input {}\nblock {}\nvalues {values}", hex_values(&input), hex(&block));
    }
    for _ in 0..2 {
        let block: Vec<u8> = (0..declaration.block_bytes()).map(|_| random.bits() as u8).collect();
        let _ =
            writeln!(text, "block {}\nvalues {}", hex(&block), hex_values(&dequantize(declaration, &block)));
    }
    text
}

#[test]
fn vectors_are_as_they_are_kept() {
    for name in NAMES {
        let kind = KINDS.iter().find(|kind| kind.0 == name).unwrap();
        let declaration = Declaration::parse(&text(*kind)).unwrap();
        let (canonical, vectors) = (declaration.to_text(), vectors(&declaration));
        for (file, today) in
            [(format!("{name}.encoding.toml"), canonical), (format!("{name}.vectors.txt"), vectors)]
        {
            let path = folder().join(&file);
            if std::env::var_os("BITQUILT_BLESS").is_some() {
                fs::write(&path, &today).unwrap();
            }
            let kept = fs::read_to_string(&path)
                .unwrap_or_else(|error| panic!("{file}: {error}; this writes it: {UPDATE}"));
            assert!(
                kept.replace("\r\n", "\n") == today,
                "{file} is not what is made today; if that is meant: {UPDATE}"
            );
        }
    }
}

/// Reads the files as a stranger would.
#[test]
fn files_are_what_the_page_says() {
    let mut files = 0;
    for entry in fs::read_dir(folder()).unwrap() {
        let path = entry.unwrap().path();
        let Some(name) = path.file_name().unwrap().to_str().unwrap().strip_suffix(".encoding.toml") else {
            continue;
        };
        assert!(NAMES.contains(&name), "{name} is no longer made");
        let declaration = Declaration::parse(&fs::read_to_string(&path).unwrap()).unwrap();
        let vectors = fs::read_to_string(folder().join(format!("{name}.vectors.txt"))).unwrap();
        let (mut block, mut input, mut blocks) = (Vec::new(), None, 0);
        for line in vectors.lines().filter(|line| !line.starts_with('#')) {
            let (key, rest) = line.split_once(' ').unwrap();
            let values = || -> Vec<f32> {
                let value = |word: &str| {
                    if word == "nan" {
                        f32::NAN
                    } else {
                        f32::from_bits(u32::from_str_radix(word, 16).unwrap())
                    }
                };
                rest.split(' ').map(value).collect()
            };
            match key {
                "input" => input = Some(values()),
                "block" => {
                    block = (0..rest.len())
                        .step_by(2)
                        .map(|at| u8::from_str_radix(&rest[at..at + 2], 16).unwrap())
                        .collect();
                    if let Some(input) = input.take() {
                        assert_eq!(quantize(&declaration, &input, None), block, "{name}");
                    }
                }
                "values" => {
                    blocks += 1;
                    let found = dequantize(&declaration, &block);
                    for (found, expected) in found.iter().zip(values()) {
                        assert!(
                            found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan(),
                            "{name}"
                        );
                    }
                    assert_eq!(found.len(), values().len());
                }
                _ => panic!("{name}: {key}"),
            }
        }
        assert_eq!(blocks, 4, "{name}");
        files += 1;
    }
    assert_eq!(files, NAMES.len());
}
