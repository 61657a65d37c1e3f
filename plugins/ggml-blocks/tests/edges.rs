//! Rows of many kinds, the edges among them: digests of their bytes and values against ggml's (`testdata/README.md`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../examples/against_ggml/digest.rs"]
mod digest;
#[path = "../examples/against_ggml/rows.rs"]
mod rows;

use bitquilt_ggml_blocks::{FORMATS, Format, Isa};

#[test]
fn rows_of_every_kind_are_ggmls() {
    // An emulator takes minutes for each instruction set.
    let emulated = std::env::var_os("BITQUILT_EMULATED").is_some();
    let sets: Vec<Isa> = if emulated { vec![Isa::detect()] } else { Isa::available().collect() };
    let golden: Vec<&str> = include_str!("../testdata/edges.txt").lines().collect();
    assert_eq!(golden.len(), FORMATS.len() * rows::KINDS.len());
    let compared: usize = std::thread::scope(|scope| {
        let of_formats = FORMATS.iter().zip(golden.chunks(rows::KINDS.len()));
        let threads = of_formats.map(|(format, golden)| {
            let sets = &sets;
            scope.spawn(move || sets.iter().map(|&isa| compare(isa, format, golden)).sum::<usize>())
        });
        let threads: Vec<_> = threads.collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    assert!(compared > sets.len() * golden.len() * 3, "{compared}");
}

/// Compares the bytes and values that the code for an instruction set gives; answers with how many digests it compared.
fn compare(isa: Isa, format: &Format, golden: &[&str]) -> usize {
    let mut compared = 0;
    let ours = digest::lines(
        format,
        |row, importance, bytes| {
            format.quantize_with(isa, row, row.len(), importance, bytes);
            true
        },
        |bytes, values| format.dequantize_with(isa, bytes, values),
    );
    for ((ours, golden), kind) in ours.iter().zip(golden).zip(rows::KINDS) {
        for (place, (ours, golden)) in ours.split(' ').zip(golden.split(' ')).enumerate() {
            let importance = place.checked_sub(2).map(|importance| rows::IMPORTANCES[importance]);
            // ggml itself ends the process on some rows.
            if golden != "-" {
                assert_eq!(ours, golden, "{} with {isa}, {kind}, importance {importance:?}", format.name);
                compared += 1;
            }
        }
    }
    compared
}
