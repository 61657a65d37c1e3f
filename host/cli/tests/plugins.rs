//! The command on plugins: what it says of a file, what it finds in one, and the crates that it writes.

#![allow(clippy::unwrap_used)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use bitquilt::{DType, Graph, InferenceSession, Tensor, TensorType, dim};
use bitquilt_tests::workplace::{Workplace, said};
use common::workplace;
use serde_json::Value;

/// This repository.
const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

fn library(name: &str) -> String {
    use std::env::consts::{DLL_PREFIX, DLL_SUFFIX};
    format!("{DLL_PREFIX}{name}{DLL_SUFFIX}")
}

/// The library that cargo has built of `examples/custom-encoding`.
fn example() -> String {
    let path = std::env::current_exe().unwrap().with_file_name(library("acme_int3"));
    path.to_str().unwrap().to_owned()
}

/// Builds a plugin of C in the directory, and answers its name.
fn c_plugin(here: &Workplace, source: &str) -> String {
    let library = library("plugin");
    here.write("plugin.c", source);
    let mut command = Command::new("cc");
    command
        .args(["-std=c11", "-fPIC", "-shared", "-I"])
        .arg(Path::new(ROOT).join("plugins/c-bridge/include"));
    command.arg(here.path("plugin.c")).arg("-o").arg(here.path(&library));
    assert!(command.status().unwrap().success());
    library
}

#[test]
fn an_inspected_file_says_what_it_is_and_registers() {
    let here = workplace();
    let said = here.succeeds(&["plugin", "inspect", &example()]);
    for part in
        ["64-bit ELF for", "a plugin, by `export_plugin!`", "plugin-api  1.", "libc.so", "may be loaded"]
    {
        assert!(said.contains(part), "no {part:?} in {said}");
    }
    assert!(!said.contains("acme.int3"), "nothing of it runs: {said}");
    let said = here.succeeds(&["plugin", "inspect", "--load", &example()]);
    for part in
        ["plugin      acme-int3 0.1.0", "encoding acme.int3", "3.500 bits", "op       acme.weighted_sum"]
    {
        assert!(said.contains(part), "no {part:?} in {said}");
    }

    let report = here.json(&["plugin", "inspect", &example()]);
    assert_eq!(report["architecture"], std::env::consts::ARCH);
    assert_eq!(report["entry"], "export_plugin!");
    assert_eq!((&report["refused"], &report["plugin"]), (&Value::Null, &Value::Null));
    let report = here.json(&["plugin", "inspect", "--load", &example()]);
    assert_eq!(report["plugin"]["encodings"][0]["name"], "acme.int3");
    assert_eq!(report["plugin"]["ops"][0], "acme.weighted_sum");
}

#[test]
fn a_file_that_is_no_plugin_is_inspected_too_and_not_loaded() {
    let here = workplace();
    let path = library("text");
    here.write(&path, "no library");
    let said = here.succeeds(&["plugin", "inspect", &path]);
    assert!(said.contains("refused: it is text, not"), "{said}");
    let output = here.run(&["plugin", "inspect", "--load", &path]);
    assert_eq!(output.status.code(), Some(1));
    assert!(self::said(&output).contains("it is text, not"));
    assert!(here.fails(&["plugin", "inspect", "no_such_file.so"]).contains("there is no such file"));
}

#[test]
fn a_directory_that_is_named_is_there() {
    let here = workplace();
    let said = here.fails(&["--plugin-dir", "plugins", "plugin", "list"]);
    assert!(said.contains("there is no such directory"), "{said}");
    assert!(here.succeeds(&["--plugin-dir", "plugins", "plugin", "paths"]).contains("does not exist"));
    fs::create_dir(here.path("plugins")).unwrap();
    here.succeeds(&["--plugin-dir", "plugins", "plugin", "list"]);
    // Named twice, it is searched once: nothing is said to be there twice.
    fs::copy(example(), here.path("plugins").join(library("acme_int3"))).unwrap();
    let listed = here.json(&["--plugin-dir", "plugins", "--plugin-dir", "plugins/.", "plugin", "list"]);
    assert_eq!(listed["refused"], serde_json::json!([]));
    let named = |plugin: &&Value| plugin["name"] == "acme-int3";
    assert_eq!(listed["plugins"].as_array().unwrap().iter().filter(named).count(), 1);
}

#[test]
fn a_checked_plugin_passes_line_by_line() {
    let here = workplace();
    let said = here.succeeds(&["plugin", "check", &example()]);
    let mut lines: Vec<&str> = said.lines().collect();
    let last = lines.pop().unwrap();
    // Kernels for instruction sets that this machine has no use for are not run.
    let is_fine = |line: &str| line.starts_with("pass  ") || line.starts_with("skip  kernel qmatmul/");
    assert!(lines.iter().all(|line| is_fine(line)), "{said}");
    assert!(lines.iter().any(|line| line.starts_with("pass  kernel qmatmul/")), "{said}");
    assert!(last.starts_with("acme-int3 0.1.0: ") && last.contains(" passed, 0 failed, "), "{last}");
    let report = here.json(&["plugin", "check", &example()]);
    assert_eq!((&report["plugin"], &report["failed"]), (&"acme-int3".into(), &0.into()));
    assert_eq!(report["findings"].as_array().unwrap().len(), lines.len());
    assert_eq!(report["findings"][0]["subject"], "the plugin");
    assert_eq!(report["findings"][1]["subject"], "encoding acme.int3");
    assert_eq!(report["findings"][0]["verdict"], "pass");
}

#[test]
fn a_check_that_fails_is_named_and_is_the_exit_code() {
    let here = workplace();
    let path = c_plugin(
        &here,
        r#"
        #include <stdlib.h>
        #include <string.h>
        #include "bitquilt.h"
        static int32_t quantize(void *user, const float *values, size_t rows, size_t row_len, const float *importance,
                                uint8_t *dst, bitquilt_error *error) {
            (void)user, (void)importance, (void)error;
            memcpy(dst, values, rows * row_len * 4);
            return BITQUILT_OK;
        }
        static int32_t dequantize(void *user, const uint8_t *blocks, size_t count, float *dst, bitquilt_error *error) {
            (void)user, (void)error;
            if (blocks[0] == 0x2a && blocks[1] == 0x2a) abort();
            memcpy(dst, blocks, count * 16);
            return BITQUILT_OK;
        }
        static const bitquilt_encoding raw = {.size = sizeof raw, .name = "test.raw", .version = 1, .block_len = 4,
                                              .block_bytes = 16, .quantize = quantize, .dequantize = dequantize};
        BITQUILT_EXPORT const bitquilt_plugin bitquilt_c_plugin = {
            .magic = BITQUILT_MAGIC, .api = BITQUILT_C_API, .size = sizeof(bitquilt_plugin), .name = "test-c",
            .version = "1.0.0", .encoding_count = 1, .encodings = (const bitquilt_encoding *const[]){&raw}};
        "#,
    );
    let output = here.run(&["plugin", "check", "--time", "1", "--memory", "1024", &path]);
    let said = text(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{said}");
    let failed: Vec<&str> = said.lines().filter(|line| line.starts_with("FAIL")).collect();
    assert_eq!(failed.len(), 1, "{said}");
    for part in ["test.raw", "panics", "SIGABRT", "at: dequantize, blocks of bytes 0x2a"] {
        assert!(failed[0].contains(part), "no {part:?} in {said}");
    }
    assert!(said.ends_with("test-c 1.0.0: 11 passed, 1 failed, 0 skipped\n"), "{said}");
    assert!(here.fails(&["plugin", "check", "no_such_file.so"]).contains("there is no such file"));
}

#[test]
#[cfg(target_os = "linux")]
fn a_child_that_hangs_ends_with_the_command() {
    use std::time::{Duration, Instant};

    let here = workplace();
    let number = here.path("number");
    let path = c_plugin(
        &here,
        &r#"
        #define _POSIX_C_SOURCE 200809L
        #include <stdio.h>
        #include <unistd.h>
        #include "bitquilt.h"
        static int32_t quantize(void *user, const float *values, size_t rows, size_t row_len, const float *importance,
                                uint8_t *dst, bitquilt_error *error) {
            FILE *file = fopen("NUMBER", "w");
            fprintf(file, "%ld\n", (long)getpid());
            fclose(file);
            for (;;) pause();
        }
        static int32_t dequantize(void *user, const uint8_t *blocks, size_t count, float *dst, bitquilt_error *error) {
            return BITQUILT_FAILED;
        }
        static const bitquilt_encoding raw = {.size = sizeof raw, .name = "test.raw", .version = 1, .block_len = 4,
                                              .block_bytes = 16, .quantize = quantize, .dequantize = dequantize};
        BITQUILT_EXPORT const bitquilt_plugin bitquilt_c_plugin = {
            .magic = BITQUILT_MAGIC, .api = BITQUILT_C_API, .size = sizeof(bitquilt_plugin), .name = "test-c",
            .version = "1.0.0", .encoding_count = 1, .encodings = (const bitquilt_encoding *const[]){&raw}};
        "#
        .replace("NUMBER", number.to_str().unwrap()),
    );
    let mut command = here.command(&["plugin", "check", "--time", "600", &path]);
    let mut check = command.stdout(Stdio::null()).spawn().unwrap();
    let wait_for = |what: &str, done: &dyn Fn() -> bool| {
        let begin = Instant::now();
        while !done() {
            assert!(begin.elapsed() < Duration::from_secs(60), "{what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    };
    let said = || fs::read_to_string(&number).unwrap_or_default();
    wait_for("the plugin is not called", &|| said().ends_with('\n'));
    check.kill().unwrap();
    check.wait().unwrap();
    let stat = format!("/proc/{}/stat", said().trim());
    // It is gone, or waits for whoever inherited it to notice.
    let is_gone = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
    wait_for("the child runs on", &is_gone);
}

#[test]
fn a_new_crate_is_refused_where_it_cannot_be() {
    let here = workplace();
    for (name, problem) in [
        ("", "is empty"),
        ("3bits", "does not begin with a letter"),
        ("Acme", "does not begin with a letter"),
        ("acme int3", "has other characters"),
        ("acme.int3", "has other characters"),
        ("../acme", "does not begin with a letter"),
        ("na\u{ef}ve", "has other characters"),
        ("acme-", "with nothing after it"),
        ("match", "is a word of Rust's"),
        ("bitquilt-int3", "is bitquilt's own"),
        (&"n".repeat(49), "is too long"),
    ] {
        let said = here.fails(&["plugin", "new", "crate", "--name", name]);
        assert!(said.contains(problem) && said.contains("give one with --name"), "{name}: {said}");
    }
    fs::create_dir(here.path("full")).unwrap();
    here.write("full/mine.txt", "mine");
    assert!(here.fails(&["plugin", "new", "full", "--name", "acme-int3"]).contains("is not empty"));
    assert!(
        here.fails(&["plugin", "new", "full/mine.txt", "--name", "acme-int3"]).contains("name a directory")
    );
    assert_eq!(fs::read_dir(here.path("full")).unwrap().count(), 1);
    let said = here.fails(&["plugin", "new", "crate", "--name", "acme-int3", "--plugin-api", "."]);
    assert!(said.contains("Cargo.toml"), "{said}");
    let other = format!("{ROOT}/host");
    let said = here.fails(&["plugin", "new", "crate", "--name", "acme-int3", "--plugin-api", &other]);
    assert!(said.contains("the crate there is not bitquilt-plugin-api"), "{said}");
    here.write("Cargo.toml", "#".repeat(2 << 20));
    let said = here.fails(&["plugin", "new", "crate", "--name", "acme-int3", "--plugin-api", "."]);
    assert!(said.contains("has more than 1048576 bytes"), "{said}");
}

#[test]
fn a_new_crate_depends_on_the_interface_that_the_command_was_built_with() {
    let here = workplace();
    let path = here.path("acme-int5");
    here.succeeds(&["plugin", "new", "acme-int5"]);
    let manifest = fs::read_to_string(path.join("Cargo.toml")).unwrap();
    assert!(manifest.contains("name = \"acme-int5\""), "{manifest}");
    assert!(manifest.contains("bitquilt-plugin-api = { version = \"1."), "{manifest}");
    let api = fs::canonicalize(Path::new(ROOT).join("plugin-api")).unwrap();
    for path in [api.clone(), api.join("kit")] {
        assert_eq!(manifest.matches(&format!("path = {path:?}")).count(), 1, "{manifest}");
    }
    let files = walk(&path);
    assert!(files.iter().all(|file| !fs::read_to_string(file).unwrap().contains("{{")), "{files:?}");
    assert_eq!(files.len(), 6, "{files:?}");
}

fn walk(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files.extend(walk(&path)) } else { files.push(path) }
    }
    files
}

/// Runs cargo on a crate outside the workspace, with the workspace's lock file and a target folder that such crates share, and answers
/// what it says. Nothing is fetched.
fn cargo(crate_directory: &Path, arguments: &[&str]) -> String {
    fs::copy(Path::new(ROOT).join("Cargo.lock"), crate_directory.join("Cargo.lock")).unwrap();
    let output = Command::new(env!("CARGO"))
        .current_dir(crate_directory)
        .args(arguments)
        .args(["--offline", "--target-dir"])
        .arg(own_target())
        .args([
            "--config",
            "profile.dev.debug=false",
            "--config",
            "profile.dev.package.abi_stable.opt-level=1",
        ])
        .output()
        .unwrap();
    let said = text(&output.stdout) + &text(&output.stderr);
    assert!(output.status.success(), "cargo {arguments:?}: {said}");
    assert!(!said.contains("warning:"), "cargo {arguments:?}: {said}");
    said
}

fn own_target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("own-crates")
}

/// The library that cargo has built, in the directory `plugins`.
fn installed(here: &Workplace, name: &str) -> String {
    fs::create_dir(here.path("plugins")).unwrap();
    let path = format!("plugins/{}", library(name));
    fs::copy(own_target().join("debug").join(library(name)), here.path(&path)).unwrap();
    path
}

#[test]
fn a_new_crate_passes_its_test_and_every_check_and_is_formatted() {
    let here = workplace();
    let path = here.path("deep/in/acme-int5");
    let said = here.succeeds(&["plugin", "new", "deep/in/acme-int5", "--name", "acme-int5", "--kernel"]);
    assert!(said.contains("cargo test"), "{said}");
    let said = cargo(&path, &["test"]);
    assert!(said.contains("1 passed"), "{said}");
    cargo(&path, &["build"]);
    let plugin = installed(&here, "acme_int5");
    let report = here.json(&["plugin", "check", &plugin]);
    assert_eq!(report["failed"], 0, "{report}");
    let findings = report["findings"].as_array().unwrap();
    // Kernels for instruction sets that this machine has no use for are not run.
    let mut skipped = findings.iter().filter(|finding| finding["verdict"] == "skip");
    let is_kernel = |finding: &Value| finding["subject"].as_str().unwrap().starts_with("kernel qmatmul/");
    assert!(skipped.all(is_kernel), "{report}");
    assert!(findings.iter().any(|finding| finding["subject"] == "encoding acme.int5"), "{report}");
    let formatted =
        Command::new("rustfmt").args(["--edition", "2024", "--check"]).arg(path.join("src/lib.rs")).output();
    // Where there is no rustfmt nothing is said of it.
    if let Ok(output) = formatted {
        assert!(output.status.success(), "{}", text(&output.stdout));
    }
}

#[test]
fn a_copy_of_the_custom_encoding_builds_loads_and_runs_outside_the_workspace() {
    let here = workplace();
    let copy = here.path("my-int3");
    fs::create_dir_all(copy.join("src")).unwrap();
    let example = Path::new(ROOT).join("examples/custom-encoding");
    for file in walk(&example.join("src")) {
        fs::copy(&file, copy.join("src").join(file.file_name().unwrap())).unwrap();
    }
    let api = fs::canonicalize(Path::new(ROOT).join("plugin-api")).unwrap();
    let manifest = fs::read_to_string(example.join("Cargo.toml")).unwrap();
    assert_eq!(manifest.matches("../../plugin-api").count(), 2, "{manifest}");
    let kernels = fs::canonicalize(Path::new(ROOT).join("plugins/kernels")).unwrap();
    let manifest = manifest.replace("../../plugin-api", api.to_str().unwrap());
    let manifest = manifest.replace("../../plugins/kernels", kernels.to_str().unwrap());
    fs::write(copy.join("Cargo.toml"), manifest).unwrap();
    cargo(&copy, &["build"]);
    installed(&here, "acme_int3");

    let session = InferenceSession::builder().plugin_dir(here.path("plugins")).build().unwrap();
    assert_eq!(session.refusals(), []);
    let inputs =
        [TensorType::dense(DType::I64, [dim("bags"), dim(2)]), TensorType::f32([dim("bags"), dim(2)])];
    let mut graph = Graph::new(session.registry(), inputs).unwrap();
    let values: Vec<f32> = (0..4 * 32).map(|index| ((index / 32 + 1) * (index % 2)) as f32).collect();
    let table = graph.quantize("acme.int3", &Tensor::new([4, 32], &values).unwrap()).unwrap();
    let sums = graph.op("acme.weighted_sum", [table, graph.input(0), graph.input(1)]).unwrap();
    graph.output(sums).unwrap();
    let product = graph.qmatmul(sums, table).unwrap();
    graph.output(product).unwrap();
    let ids = Tensor::new([1, 2], [0i64, 3]).unwrap();
    let weights = Tensor::new([1, 2], [2f32, 1.0]).unwrap();
    let results = session.load(&graph).unwrap().execute([("input0", &ids), ("input1", &weights)]).unwrap();
    let sums = results.get::<f32>("output0").unwrap();
    // 2 times the first row, of zeros and ones, and once the last, of zeros and fours.
    for (index, sum) in sums.iter().enumerate() {
        assert!((sum - (index % 2) as f32 * 6.0).abs() < 0.01, "{index}: {sum}");
    }
    let product = results.get::<f32>("output1").unwrap();
    for (row, dot) in product.iter().enumerate() {
        let expected = 16.0 * 6.0 * (row + 1) as f32;
        assert!((dot - expected).abs() < 0.01 * expected, "{row}: {dot}");
    }
}
