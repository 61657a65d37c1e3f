//! Rows of many kinds, the edges among them: digests of their bytes and values against ggml's (`testdata/README.md`).

#![allow(clippy::unwrap_used, reason = "a test may panic")]

#[path = "../examples/against_ggml/digest.rs"]
mod digest;
#[path = "../examples/against_ggml/rows.rs"]
mod rows;

use bitquilt_ggml_blocks::{FORMATS, Isa};

#[test]
fn rows_of_every_kind_are_ggmls() {
    // Elsewhere an emulator may run this, to which each set takes minutes.
    let sets: Vec<Isa> =
        if cfg!(target_arch = "x86_64") { Isa::available().collect() } else { vec![Isa::detect()] };
    sets.into_iter().for_each(compare);
}

/// Compares the bytes and values that the code for an instruction set gives.
fn compare(isa: Isa) {
    let golden = include_str!("../testdata/edges.txt");
    let mut golden = golden.lines();
    let mut compared = 0;
    for format in FORMATS {
        let ours = digest::lines(
            format,
            |row, importance, bytes| {
                format.quantize_with(isa, row, row.len(), importance, bytes);
                true
            },
            |bytes, values| format.dequantize_with(isa, bytes, values),
        );
        for (ours, kind) in ours.iter().zip(rows::KINDS) {
            let golden = golden.next().unwrap();
            for (place, (ours, golden)) in ours.split(' ').zip(golden.split(' ')).enumerate() {
                let importance = place.checked_sub(2).map(|importance| rows::IMPORTANCES[importance]);
                // ggml itself ends the process on some rows.
                if golden != "-" {
                    assert_eq!(ours, golden, "{} with {isa}, {kind}, importance {importance:?}", format.name);
                    compared += 1;
                }
            }
        }
    }
    assert_eq!(golden.next(), None);
    assert!(compared > FORMATS.len() * rows::KINDS.len() * 3, "{compared}");
}
