//! `bitquilt bench qmatmul`: what it prints for small products.

#![allow(clippy::unwrap_used)]

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_bitquilt"));
    command.args(["--no-probe", "bench", "qmatmul", "--n", "48", "--k", "256", "--seconds", "0.01"]);
    command
        .args(arguments)
        .env_remove("BITQUILT_PLUGIN_PATH")
        .env("XDG_DATA_HOME", env!("CARGO_TARGET_TMPDIR"));
    command.output().unwrap()
}

fn succeeds(arguments: &[&str]) -> String {
    let output = bench(arguments);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn there_is_a_row_for_each_combination() {
    let printed = succeeds(&[
        "--encoding",
        "q4_0,tq1_0,f32",
        "--m",
        "1,5",
        "--threads",
        "1,2",
        "--precision",
        "fast,exact",
        "--json",
    ]);
    let rows: Vec<Value> = serde_json::from_str(&printed).unwrap();
    let cases: Vec<String> = rows
        .iter()
        .map(|row| {
            let cell = |name: &str| row[name].to_string().replace('"', "");
            ["encoding", "precision", "m", "threads"].map(cell).join(" ")
        })
        .collect();
    let mut expected = Vec::new();
    for threads in [1, 2] {
        for encoding in ["q4_0", "tq1_0"] {
            for precision in ["fast", "exact"] {
                expected.extend([1, 5].map(|m| format!("{encoding} {precision} {m} {threads}")));
            }
        }
        expected.extend([1, 5].map(|m| format!("f32 exact {m} {threads}")));
    }
    assert_eq!(cases, expected);
    for row in &rows {
        let number = |name: &str| row[name].as_f64().unwrap();
        assert!(number("min_us") > 0.0 && number("median_us") >= number("min_us"), "{row}");
        for (name, work) in [("gflops", 2.0 * number("m") * 48.0 * 256.0), ("gb_s", number("weight_bytes"))] {
            let expected = work / number("median_us") / 1e3;
            assert!((number(name) / expected - 1.0).abs() < 1e-6, "{name} {row}");
        }
        assert!(number("read_gb_s") > 0.0 && number("peak_gflops") > 0.0, "{row}");
        assert!(number("roofline_share") > 0.0 && number("prepared_bytes") > 0.0, "{row}");
    }
    let bytes = |encoding: &str| {
        rows.iter().find(|row| row["encoding"] == encoding).unwrap()["weight_bytes"].as_u64().unwrap()
    };
    assert_eq!([bytes("q4_0"), bytes("tq1_0"), bytes("f32")], [48 * 256 / 32 * 18, 48 * 54, 48 * 256 * 4]);
}

#[test]
fn tables_and_csv_have_the_same_columns() {
    let table = succeeds(&["--encoding", "q8_0", "--m", "1", "--threads", "1"]);
    let csv = succeeds(&["--encoding", "q8_0", "--m", "1", "--threads", "1", "--cold-mb", "1", "--csv"]);
    let (mut table, mut csv) = (table.lines(), csv.lines());
    let columns: Vec<&str> = csv.next().unwrap().split(',').collect();
    assert_eq!(table.next().unwrap().split_whitespace().collect::<Vec<_>>(), columns);
    assert_eq!(csv.next().unwrap().split(',').count(), columns.len());
    assert_eq!(table.next().unwrap().split_whitespace().count(), columns.len());
    assert_eq!((table.next(), csv.next()), (None, None));
}

#[test]
fn the_instruction_set_can_be_forced() {
    let printed = succeeds(&["--encoding", "q4_0", "--m", "2", "--isa", "scalar", "--threads", "1", "--csv"]);
    assert!(printed.trim_end().ends_with(",scalar"), "{printed}");
}

/// An instruction set of another architecture.
const FOREIGN: &str = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };

#[test]
fn what_cannot_be_measured_is_said_in_a_sentence() {
    for (arguments, code, sentence) in [
        (&["--encoding", "q4_9"][..], 1, "q4_9"),
        (&["--encoding", "q4_0", "--k", "33"][..], 1, "33"),
        (&["--encoding", "q4_0", "--n", "99999999999"][..], 1, "a weight [99999999999, 4096] is more than"),
        (
            &["--encoding", "q4_0", "--n", "32", "--k", "9999999999999"][..],
            1,
            "is more than this machine's memory",
        ),
        (&["--encoding", "q4_0", "--n", "32", "--k", "32", "--m", "99999999999"][..], 1, ""),
        (&["--cold-mb", "99999999999999"][..], 1, "--cold-mb 99999999999999 is more than"),
        (&["--seconds", "nan"][..], 2, "write a number from 0 to 3600"),
        (&["--m", "0"][..], 2, "write numbers above 0"),
        (&["--isa", "sse"][..], 2, "there is no instruction set `sse`; there are scalar, avx2,"),
        (&["--isa", FOREIGN][..], 2, "this machine does not have the instruction set"),
        (&["--json", "--csv"][..], 2, "cannot be used with"),
    ] {
        let arguments: Vec<&str> = arguments.to_vec();
        let output = if arguments.iter().any(|argument| ["--n", "--k", "--seconds"].contains(argument)) {
            let mut command = Command::new(env!("CARGO_BIN_EXE_bitquilt"));
            command.args(["--no-probe", "bench", "qmatmul"]).args(&arguments).output().unwrap()
        } else {
            bench(&arguments)
        };
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
        assert!(said.contains(sentence) && output.stdout.is_empty(), "{arguments:?}: {said}");
    }
}
