//! The command on files, names and numbers that are made to do harm: what it says, and that nothing is lost.

#![allow(clippy::unwrap_used, reason = "a test may panic")]
#![cfg(unix)]

mod common;

use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

use bitquilt::Tensor;
use bitquilt::checkpoint::npy;
use bitquilt_tests::workplace::{Workplace, said};
use common::workplace;

/// A directory with a graph `y = qmatmul(x, w)`, an `x` for it, a checkpoint, a pipe, and a link to the graph.
fn workplace_with_graph() -> Workplace {
    let here = workplace();
    save_graph(&here, "graph", ["x", "y"]);
    npy::write(&Tensor::full([2, 32], 0.5f32), here.path("x.npy")).unwrap();
    here.save("weights", [("w", Tensor::full([2, 32], 0.5f32))]);
    symlink("graph", here.path("link")).unwrap();
    let made = Command::new("mkfifo").arg(here.path("pipe")).status().unwrap();
    assert!(made.success());
    here
}

fn save_graph(here: &Workplace, name: &str, ends: [&str; 2]) {
    here.save_product(name, ends, "q4_0", &Tensor::full([3, 32], 0.25f32));
}

#[test]
fn what_is_no_file_or_would_be_lost_is_a_sentence() {
    let here = workplace_with_graph();
    let run = ["run", "graph", "--input", "x=x.npy"];
    for (arguments, sentence) in [
        (&["run", "graph", "--input", "x=pipe"][..], "pipe is a pipe; a regular file was expected"),
        (&["run", "graph", "--input", "x=/dev/zero"], "/dev/zero is a device; a regular file was expected"),
        (&["run", "pipe"], "pipe is a pipe; a regular file was expected"),
        (&["explain", "/dev/zero"], "/dev/zero is a device; a regular file was expected"),
        (&["inspect", "pipe"], "pipe is a pipe; a regular file was expected"),
        (&["inspect", "."], ". is a directory; a regular file was expected"),
        (&["quantize", "pipe", "out", "-e", "q4_0"], "pipe is a pipe; a regular file was expected"),
        (&["dequantize", "/dev/zero", "out"], "/dev/zero is a device; a regular file was expected"),
        (
            &["quantize", "weights", "out", "-e", "q4_0", "--importance", "pipe"],
            "pipe is a pipe; a regular file was expected",
        ),
        (&["quantize", "weights", ".", "-e", "q4_0"], ". is a directory; name a file"),
        (
            &["quantize", "weights", "no/out", "-e", "q4_0"],
            "cannot write no/out: No such file or directory (os error 2)",
        ),
        (
            &["quantize", "weights", "pipe", "-e", "q4_0"],
            "cannot write pipe: nobody reads this pipe; start what reads it first",
        ),
        (&["run", "graph"], "the input `x` was given 0 times; give each input once"),
        (
            &[&run[..], &["--input", "x=x.npy"]].concat(),
            "the input `x` was given 2 times; give each input once",
        ),
        (&[&run[..], &["--input", "z=x.npy"]].concat(), "the graph has no input `z`; it has `x`"),
        (
            &[&run[..], &["--output", "y=graph"]].concat(),
            "--output y: graph is the file of the graph, which would be lost; name another",
        ),
        (
            &[&run[..], &["--output", "y=link"]].concat(),
            "--output y: link is the file of the graph, which would be lost; name another",
        ),
        (
            &[&run[..], &["--output", "y=new", "--output", "z=./new"]].concat(),
            "--output z: ./new is the file of --output y, which would be lost; name another",
        ),
        (
            &[&run[..], &["--output", "y=new", "--trace", "new"]].concat(),
            "--trace: new is the file of --output y, which would be lost; name another",
        ),
        (
            &[&run[..], &["--trace", "x.npy"]].concat(),
            "--trace: x.npy is the file of the input `x`, which would be lost; name another",
        ),
        (&[&run[..], &["--output", "y=."]].concat(), ". is a directory; name a file"),
        (
            &[&run[..], &["--output", "y=pipe"]].concat(),
            "cannot write pipe: nobody reads this pipe; start what reads it first",
        ),
        (
            &["explain", "graph", "--bind", "columns=3"],
            "graph: the graph has no symbol `columns`; it has rows",
        ),
        (
            &["explain", "graph", "--bind", "rows=3", "--bind", "columns=3"],
            "graph: the graph has no symbol `columns`; it has rows",
        ),
        (
            &["explain", "graph", "--bind", "rows=3", "--bind", "rows=4"],
            "--bind: the symbol `rows` has two values; give it one",
        ),
        (
            &["bench", "qmatmul", "--encoding", "q4_0", "--n", "1", "--k", "32", "--cold-mb", "100"],
            "--cold-mb 100 takes 91023 graphs with a weight [1, 32], at most 4096 are made; choose larger weights, or less",
        ),
    ] {
        assert_eq!(here.fails(arguments), sentence, "{arguments:?}");
    }
}

#[test]
fn what_is_no_argument_is_a_sentence() {
    let here = workplace_with_graph();
    let glob = format!("{{{}}}", vec!["layer.weight"; 8000].join(","));
    for (arguments, sentence) in [
        (&["run", "graph", "--input", "x="][..], "write NAME=FILE.npy"),
        (&["run", "graph", "--input", "=x.npy"], "write NAME=FILE.npy"),
        (&["run", "graph", "--output", "y"], "write NAME=FILE.npy"),
        (&["explain", "graph", "--bind", "rows"], "write SYMBOL=N, such as seq=5"),
        (&["explain", "graph", "--bind", "rows=-1"], "`-1` is no whole number that this machine counts"),
        (&["explain", "graph", "--bind", "rows="], "`` is no whole number that this machine counts"),
        (&["explain", "graph", "--bind", "rows=99999999999999999999"], "is no whole number"),
        (&["quantize", "weights", "out", "-e", "q4_0", "--only", &glob], "more characters)"),
        (&["quantize", "weights", "out", "-e", "q4_0", "--only", "\u{1b}[a"], r"\u{1b}[a"),
    ] {
        let said = here.refuses(2, arguments);
        assert!(said.contains(sentence) && !said.contains('\u{1b}'), "{arguments:?}: {said}");
    }
}

#[test]
fn long_and_wild_names_are_shown_in_brief() {
    let here = workplace_with_graph();
    let name = format!("\u{1b}[31m\n{}", "n".repeat(1 << 17));
    save_graph(&here, "wild", [&name, &name]);
    for arguments in [&["explain", "wild"][..], &["explain", "wild", "--bind", "rows=3"]] {
        let plan = here.succeeds(arguments);
        assert!(plan.len() < 5000 && plan.contains(r"\u{1b}[31m\nnnn") && !plan.contains('\u{1b}'), "{plan}");
    }
    let said = here.fails(&["run", "wild"]);
    assert!(said.contains("nnn") && !said.contains('\u{1b}'), "{said}");
    let said = here.fails(&["run", "graph", "--input", "x=x.npy", "--output", "\u{1b}[31m=y.npy"]);
    assert_eq!(said, r"the graph has no output `\u{1b}[31m`; it has `y`");

    let wild = format!("\u{1b}[31m{}", "y".repeat(1000));
    save_graph(&here, "wilder", ["x", &wild]);
    let printed = here.succeeds(&["run", "wilder", "--input", "x=x.npy", "--profile"]);
    assert!(
        printed.starts_with(r"\u{1b}[31myyy") && printed.contains("… (1005 characters): f32"),
        "{printed}"
    );
}

#[test]
fn an_output_goes_where_its_link_leads() {
    let here = workplace_with_graph();
    let prints = |arguments: &[&str]| {
        let output = here.run(arguments);
        assert!(output.status.success(), "{arguments:?}: {}", said(&output));
        output.stdout
    };
    let run =
        |output: &str| prints(&["run", "graph", "--input", "x=x.npy", "--output", &format!("y={output}")]);
    assert!(run("y.npy").is_empty());
    let expected = here.read("y.npy");

    symlink("later.npy", here.path("dangling")).unwrap();
    assert!(run("dangling").is_empty());
    assert_eq!(here.read("later.npy"), expected);

    // What `/dev/stdout` is on Linux, in a folder where nothing can come to harm.
    if cfg!(target_os = "linux") {
        symlink("/proc/self/fd/1", here.path("stdout")).unwrap();
        assert_eq!(run("stdout"), expected);
        assert_eq!(fs::read_link(here.path("stdout")).unwrap().to_str(), Some("/proc/self/fd/1"));
    }
    if cfg!(target_os = "linux") {
        here.succeeds(&["quantize", "weights", "out", "-e", "q4_0"]);
        let piped = prints(&["quantize", "weights", "stdout", "-e", "q4_0"]);
        assert_eq!(piped, here.read("out"), "and no word more");
    }
    // An input's own file may take the output.
    fs::copy(here.path("x.npy"), here.path("state.npy")).unwrap();
    here.succeeds(&["run", "graph", "--input", "x=state.npy", "--output", "y=state.npy"]);
    assert_eq!(here.read("state.npy"), expected);
}
