//! `bitquilt bench qmatmul`: what it prints for small products.

#![allow(clippy::unwrap_used)]

mod common;

use common::workplace;

const BENCH: [&str; 3] = ["--no-probe", "bench", "qmatmul"];

/// The command on small products.
fn small<'a>(arguments: &[&'a str]) -> Vec<&'a str> {
    [&BENCH[..], &["--n", "48", "--k", "256", "--seconds", "0.01"], arguments].concat()
}

#[test]
fn there_is_a_row_for_each_combination() {
    let printed = workplace().json(&small(&[
        "--encoding",
        "q4_0,tq1_0,f32",
        "--m",
        "1,5",
        "--threads",
        "1,2",
        "--precision",
        "fast,exact",
    ]));
    let rows = printed.as_array().unwrap();
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
    for row in rows {
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
    let here = workplace();
    let one = small(&["--encoding", "q8_0", "--m", "1", "--threads", "1"]);
    let (table, csv) =
        (here.succeeds(&one), here.succeeds(&[&one[..], &["--cold-mb", "1", "--csv"]].concat()));
    let (mut table, mut csv) = (table.lines(), csv.lines());
    let columns: Vec<&str> = csv.next().unwrap().split(',').collect();
    assert_eq!(table.next().unwrap().split_whitespace().collect::<Vec<_>>(), columns);
    assert_eq!(csv.next().unwrap().split(',').count(), columns.len());
    assert_eq!(table.next().unwrap().split_whitespace().count(), columns.len());
    assert_eq!((table.next(), csv.next()), (None, None));
}

#[test]
fn the_instruction_set_can_be_forced() {
    let arguments = small(&["--encoding", "q4_0", "--m", "2", "--isa", "scalar", "--threads", "1", "--csv"]);
    let printed = workplace().succeeds(&arguments);
    assert!(printed.trim_end().ends_with(",scalar"), "{printed}");
}

/// An instruction set of another architecture.
const FOREIGN: &str = if cfg!(target_arch = "aarch64") { "avx2" } else { "neon" };

#[test]
fn what_cannot_be_measured_is_said_in_a_sentence() {
    let here = workplace();
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
        // What the small products are given may be given once.
        let is_own = arguments.iter().any(|argument| ["--n", "--k", "--seconds"].contains(argument));
        let arguments = if is_own { [&BENCH, arguments].concat() } else { small(arguments) };
        let said = here.refuses(code, &arguments);
        assert!(said.contains(sentence), "{arguments:?}: {said}");
    }
}
