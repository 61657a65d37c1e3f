//! What of a checkpoint the command shows and carries over, whatever there is in it.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use std::fs;

use bitquilt::checkpoint::Checkpoint;
use bitquilt::checkpoint::metadata::{Array, Value};
use bitquilt_tests::gguf::{GgufFile, GgufTensor, GgufValue, text};
use bitquilt_tests::workplace::Workplace;
use common::workplace;

/// The bytes of a matrix [2, 256].
fn matrix() -> Vec<u8> {
    (0..512).flat_map(|index| ((index * 37 % 255) as f32 / 64.0 - 2.0).to_le_bytes()).collect()
}

/// A GGUF file of a matrix.
fn file(name: &str) -> GgufFile {
    let matrix = GgufTensor::new(name, [256, 2], 0, matrix());
    GgufFile::default().set("general.architecture", "llama").tensor(matrix)
}

#[test]
fn types_that_nobody_knows_are_listed_and_carried_over() {
    let here = workplace();
    let new: Vec<u8> = (1..=64).collect();
    here.write("in.gguf", file("w").tensor(GgufTensor::new("new", [32], 137, &new[..])).bytes());
    let shown = here.succeeds(&["inspect", "in.gguf"]);
    assert!(shown.contains("ggml.137") && shown.contains("64 bytes  new\n"), "{shown}");
    here.succeeds(&["quantize", "in.gguf", "out", "-e", "q4_k"]);
    here.succeeds(&["dequantize", "out", "back"]);
    for name in ["in.gguf", "out", "back"] {
        let json = here.json(&["inspect", name]);
        let tensor = &json["tensors"][0];
        assert_eq!(tensor["element"], "ggml.137", "{name}");
        assert_eq!((&tensor["opaque"], &tensor["shape"]), (&true.into(), &serde_json::json!([32])));
        let checkpoint = Checkpoint::open(here.path(name)).unwrap();
        assert_eq!(checkpoint.as_stored("new").unwrap().bytes(), new, "{name}");
    }
    let said = here.fails(&["quantize", "in.gguf", "more", "-e", "q4_k", "--only", "new"]);
    assert!(said.contains("of the 1 tensors that match `new` none is among the weights"), "{said}");
}

#[test]
fn a_float_of_8_bits_beside_a_weight_is_carried_over() {
    let here = workplace();
    let header = r#"{"w":{"dtype":"F32","shape":[2,256],"data_offsets":[0,2048]},"scale":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[2048,2052]},"other":{"dtype":"F8_E8M0","shape":[1],"data_offsets":[2052,2053]}}"#;
    let length = (header.len() as u64).to_le_bytes();
    here.write("in", [&length[..], header.as_bytes(), &matrix(), b"\x38\x40\x48\xff", b"\x7f"].concat());
    here.succeeds(&["quantize", "in", "out", "-e", "q4_k", "--only", "w"]);
    let shown = here.succeeds(&["inspect", "out"]);
    for line in ["F8_E8M0: 1 tensors, 1 bytes", "f8_e4m3: 1 tensors, 4 bytes", "q4_k: 1 tensors, 288 bytes"] {
        assert!(shown.contains(line), "{shown}");
    }
    let out = Checkpoint::open(here.path("out")).unwrap();
    assert_eq!(out.as_stored("scale").unwrap().bytes(), b"\x38\x40\x48\xff");
    assert_eq!(out.as_stored("other").unwrap().bytes(), b"\x7f");
}

#[test]
fn metadata_keeps_its_types_and_arrays() {
    let here = workplace();
    let tokens: Vec<u8> = (0..100).flat_map(|index| text(format!("token \u{1b}[31m {index}"))).collect();
    let file = file("w")
        .set("general.quantization_version", 2u32)
        .set("llama.block_count", 30u32)
        .set("llama.rope.freq_base", 1e-5f32)
        .set("big", GgufValue::new(10, u64::MAX.to_le_bytes()))
        .set("nan", f32::NAN)
        .set("no text", GgufValue::new(8, text(b"a\x80\nb")))
        .set("odd", GgufValue::new(7, [2]))
        .set("yes", true)
        .set("tokenizer.ggml.tokens", GgufValue::array(8, 100, tokens))
        .set("tokenizer.ggml.token_type", GgufValue::array(4, 2, [1u32, 3].map(u32::to_le_bytes).concat()))
        .set("mixed", GgufValue::array(8, 2, [text(b"\x80"), text("a")].concat()));
    here.write("in.gguf", file.bytes());
    here.succeeds(&["quantize", "in.gguf", "out", "-e", "q8_0"]);
    for name in ["in.gguf", "out"] {
        let shown = here.succeeds(&["inspect", name]);
        for line in [
            "  llama.block_count = 30\n",
            "  llama.rope.freq_base = 0.00001\n",
            "  no text = a\\x80\\nb\n",
            "  odd = 2 (no boolean)\n",
            "  tokenizer.ggml.token_type = u32[2] [1, 3]\n",
            "  mixed = string[2] [\"\\x80\", \"a\"]\n",
            "  tokenizer.ggml.tokens = string[100] [\"token \\u{1b}[31m 0\", ",
            "\"token \\u{1b}[31m 7\", ..]\n",
        ] {
            assert!(shown.contains(line), "{line:?} in {shown}");
        }
        let metadata = &here.json(&["inspect", name])["metadata"];
        assert_eq!(
            *metadata,
            serde_json::json!({
                "general.architecture": "llama", "general.quantization_version": 2, "llama.block_count": 30, "llama.rope.freq_base": 1e-5, "big": u64::MAX,
                "nan": "NaN", "no text": "a\\x80\nb", "odd": "2 (no boolean)", "yes": true,
                "tokenizer.ggml.tokens": {
                    "type": "string", "length": 100,
                    "first": (0..8).map(|index| format!("token \u{1b}[31m {index}")).collect::<Vec<_>>(),
                },
                "tokenizer.ggml.token_type": {"type": "u32", "length": 2, "first": [1, 3]},
                "mixed": {"type": "string", "length": 2, "first": ["\\x80", "a"]},
            }),
            "{name}"
        );
    }
    let (original, out) = (here.path("in.gguf"), here.path("out"));
    let (original, out) = (Checkpoint::open(original).unwrap(), Checkpoint::open(out).unwrap());
    for (key, value) in original.metadata().iter() {
        match (value, out.metadata().get(key).unwrap()) {
            (Value::F32(expected), Value::F32(found)) => {
                assert_eq!(expected.to_bits(), found.to_bits(), "{key}")
            }
            (expected, found) => assert_eq!(expected, found, "{key}"),
        }
    }
    let Some(Value::Array(Array::String(texts))) = out.metadata().get("tokenizer.ggml.tokens") else {
        panic!()
    };
    assert_eq!(texts.len(), 100);
}

/// What a GGUF file says of the types of its tensors is true of what is made of it, or not said.
#[test]
fn metadata_of_types_fits_the_types() {
    let here = workplace();
    here.write("in.gguf", file("w").set("general.file_type", 0u32).bytes());
    let encoded = GgufTensor::new("w", [32, 1], 8, [0; 34]);
    let encoded = GgufFile::default().set("general.architecture", "llama").tensor(encoded);
    here.write("encoded.gguf", encoded.set("general.file_type", 7u32).bytes());
    here.succeeds(&["dequantize", "encoded.gguf", "decoded.gguf"]);
    let types = |name: &str| {
        let metadata = &here.json(&["inspect", name])["metadata"];
        ["general.file_type", "general.quantization_version"].map(|key| metadata[key].as_u64())
    };
    for (command, name, expected) in [
        (&["quantize", "-e", "q8_0"][..], "q8_0.gguf", [None, Some(2)]),
        (&["quantize", "-e", "q8_0"], "q8_0.safetensors", [None, Some(2)]),
        (&["quantize", "-e", "f32"], "f32.gguf", [Some(0), None]),
        (&["convert"], "same.gguf", [Some(0), None]),
        (&["convert", "--to", "f16"], "f16.gguf", [None, None]),
    ] {
        here.succeeds(&[command, &["in.gguf", name]].concat());
        assert_eq!(types(name), expected, "{name}");
    }
    assert_eq!((types("encoded.gguf"), types("decoded.gguf")), ([Some(7), None], [None, None]));
}

#[test]
fn a_model_in_several_files_is_quantized_whole() {
    let here = workplace();
    let names = ["set-00001-of-00002.gguf", "set-00002-of-00002.gguf"];
    for (index, name) in names.into_iter().enumerate() {
        let file = file(&format!("blk.{index}.w"))
            .set("split.no", GgufValue::new(2, (index as u16).to_le_bytes()))
            .set("split.count", GgufValue::new(2, 2u16.to_le_bytes()))
            .set("split.tensors.count", GgufValue::new(5, 2i32.to_le_bytes()));
        here.write(name, file.bytes());
    }
    let said = here.succeeds(&["quantize", names[1], "out", "-e", "q4_k"]);
    assert!(said.starts_with("out: of 2 tensors 2 are q4_k\n"), "{said}");
    // Nothing says any more that there are several.
    let out = Checkpoint::open(here.path("out")).unwrap();
    let keys: Vec<&str> = out.metadata().iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["general.architecture", "general.quantization_version"]);
    let shown = here.succeeds(&["inspect", names[0]]);
    assert!(
        shown.contains("GGUF version 3, 2 files") && shown.contains("blk.1.w  (set-00002-of-00002.gguf)"),
        "{shown}"
    );
    assert_eq!(here.json(&["inspect", names[0]])["tensors"][1]["file"], names[1]);
    // One of the files is not written over, from whichever the model is opened.
    let before = here.read(names[1]);
    // Under a name that does not end in .gguf the file is the same.
    fs::create_dir(here.path("other")).unwrap();
    #[cfg(unix)]
    std::os::unix::fs::symlink(here.path(names[1]), here.path("other/link")).unwrap();
    #[cfg(unix)]
    assert_eq!(
        here.fails(&["quantize", names[0], "other/link", "-e", "q4_k"]),
        "other/link is one of the files that make the model; name a file of its own for what is written"
    );
    assert_eq!(here.read(names[1]), before);

    fs::remove_file(here.path(names[1])).unwrap();
    let said = "set-00002-of-00002.gguf is not there, which set-00001-of-00002.gguf belongs with: 2 files make the model; put all of \
                them into one directory";
    for command in [&["inspect", names[0]][..], &["quantize", names[0], "more", "-e", "q4_k"]] {
        assert_eq!(here.fails(command), said);
    }
}

#[test]
fn what_is_listed_of_many_tensors_is_written_as_it_is_made() {
    let here = workplace();
    let count = 20_000;
    let tensors: Vec<String> = (0..count)
        .map(|index| format!(r#""layer.{index}":{{"dtype":"U8","shape":[0],"data_offsets":[0,0]}}"#))
        .collect();
    let header = format!("{{{}}}", tensors.join(","));
    here.write("in", [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat());
    assert_eq!(here.json(&["inspect", "in"])["tensors"].as_array().unwrap().len(), count);
    assert_eq!(here.succeeds(&["inspect", "in"]).lines().count(), count + 2);
}

/// Headers alone are read: what a file of 100 GB has is shown where there are not as many bytes of disk or memory.
#[test]
#[cfg(target_os = "linux")]
fn a_file_that_is_larger_than_the_machine_is_inspected() {
    let here = workplace();
    let header = r#"{"w":{"dtype":"F32","shape":[25000000000],"data_offsets":[0,100000000000]}}"#;
    let bytes = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat();
    here.write("large.safetensors", &bytes);
    let file = fs::File::options().write(true).open(here.path("large.safetensors")).unwrap();
    if file.set_len(bytes.len() as u64 + 100_000_000_000).is_err() {
        eprintln!("skipped: the file system has no files of 100 GB");
        return;
    }
    assert!(here.succeeds(&["inspect", "large.safetensors"]).contains("100000000000 bytes  w"));
}

/// A safetensors file of `count` f32 matrices of `bytes` zeros each, which take no room on the disk; none where files cannot be so.
#[cfg(target_os = "linux")]
fn sparse_model(here: &Workplace, name: &str, count: usize, bytes: usize) -> Option<()> {
    let tensor = |index: usize| {
        let (begin, rows) = (index * bytes, bytes / 4 / 4096);
        format!(
            r#""w{index:02}":{{"dtype":"F32","shape":[{rows},4096],"data_offsets":[{begin},{}]}}"#,
            begin + bytes
        )
    };
    let header = format!("{{{}}}", (0..count).map(tensor).collect::<Vec<_>>().join(","));
    here.write(name, [&(header.len() as u64).to_le_bytes()[..], header.as_bytes()].concat());
    let file = fs::File::options().write(true).open(here.path(name)).unwrap();
    file.set_len((8 + header.len() + count * bytes) as u64).ok()
}

/// The most memory of its own that a process had, in bytes, until it ended well.
#[cfg(target_os = "linux")]
fn most_memory(child: &mut std::process::Child) -> u64 {
    let status = format!("/proc/{}/status", child.id());
    let mut most = 0;
    loop {
        if let Some(ended) = child.try_wait().unwrap() {
            assert!(ended.success());
            return most;
        }
        let status = fs::read_to_string(&status).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"));
        let kilobytes = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        most = most.max(1024 * kilobytes.unwrap_or_default());
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
}

/// Memory is bounded by the largest tensor, not by the model: its pages and what becomes of it.
#[test]
#[cfg(target_os = "linux")]
fn a_model_of_1_gb_is_quantized_in_150_mb() {
    let here = workplace();
    if sparse_model(&here, "model.safetensors", 16, 1 << 26).is_none() {
        eprintln!("skipped: the file system has no files of 1 GB");
        return;
    }
    for arguments in [
        &["quantize", "model.safetensors", "out.gguf", "-e", "q4_0"][..],
        &["convert", "out.gguf", "out.safetensors", "--split", "100M"],
    ] {
        let mut child = here.command(arguments).stdout(std::process::Stdio::null()).spawn().unwrap();
        let most = most_memory(&mut child);
        assert!(most < 150_000_000, "{arguments:?}: {most} bytes");
    }
}
