//! Tables that are learned from weights.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use bitquilt_declared::{Declaration, FitError, fit};
use bitquilt_plugin_api::Rows;
use common::{Random, dequantize, distributions, kinds, quantize};

fn error(declaration: &Declaration, values: &[f32], weights: Option<&[f32]>) -> f64 {
    let decoded = dequantize(declaration, &quantize(declaration, values, weights));
    let items = values.iter().zip(&decoded).enumerate();
    let term = |(index, (a, b)): (usize, (&f32, &f32))| {
        (f64::from(*a) - f64::from(*b)).powi(2)
            * weights.map_or(1.0, |weights| f64::from(weights[index % weights.len()]))
    };
    items.map(term).sum()
}

#[test]
fn a_learned_table_is_better_than_one_for_other_values() {
    let nf4 = &kinds()[0];
    for (what, values) in distributions(64 * 256) {
        if what == "zeros" {
            continue;
        }
        let rows = Rows::new(&values, 256).unwrap();
        let learned = fit("my.fit", 4, 64, rows, None).unwrap();
        assert_eq!((learned.block_bytes(), learned.bits(), learned.levels().len()), (34, 4, 16));
        assert!(learned.levels().iter().all(|level| level.abs() <= 1.0), "{what}");
        assert_eq!(fit("my.fit", 4, 64, rows, None).unwrap(), learned, "{what}");
        let (ours, theirs) = (error(&learned, &values, None), error(nf4, &values, None));
        let has_both = values.iter().any(|value| *value < 0.0) && values.iter().any(|value| *value > 0.0);
        assert!(!has_both || learned.levels().contains(&0.0), "{what}");
        assert!(ours <= theirs, "{what}: {ours} is more than {theirs}");
    }
}

#[test]
fn tables_of_every_width_are_learned() {
    let (_, values) = &distributions(64 * 64)[0];
    let mut before = f64::INFINITY;
    for bits in 1..=8 {
        let learned = fit("my.fit", bits, 32, Rows::new(values, 64).unwrap(), None).unwrap();
        let left = error(&learned, values, None);
        assert!(left < before, "{bits} bits");
        before = left;
    }
}

#[test]
fn importance_is_learned_from() {
    // Every eighth column has other values than the rest.
    let mut random = Random(3);
    let mut value = |index: usize| {
        if index.is_multiple_of(8) { [-0.9, 0.2, 0.3][random.below(3)] } else { random.normal() }
    };
    let values = &(0..64 * 512).map(&mut value).collect::<Vec<f32>>();
    let weights: Vec<f32> = (0..512).map(|column| if column % 8 == 0 { 100.0 } else { 0.01 }).collect();
    let rows = Rows::new(values, 512).unwrap();
    let (plain, weighted) =
        (fit("a", 3, 64, rows, None).unwrap(), fit("a", 3, 64, rows, Some(&weights)).unwrap());
    let (before, after) = (error(&plain, values, Some(&weights)), error(&weighted, values, Some(&weights)));
    assert!(after < 0.5 * before, "{after} is not much less than {before}");
}

#[test]
fn what_cannot_be_learned_from_is_refused() {
    let (ones, zeros, odd) = ([1.0f32; 64], [0.0f32; 64], [1.0f32, f32::NAN]);
    let of = |name, bits, block_len, values, row_len, weights| {
        fit(name, bits, block_len, Rows::new(values, row_len).unwrap(), weights).unwrap_err().to_string()
    };
    for (found, said) in [
        (
            of("a", 4, 32, &ones, 16, None),
            "rows of 16 values are no whole number of blocks of 32; take a block length that divides 16",
        ),
        (
            of("a", 4, 2, &odd, 2, None),
            "value 1 is NaN, and only finite values can be learned from; take another weight, or mend it",
        ),
        (
            of("a", 4, 2, &ones, 2, Some(&ones[..3])),
            "the importance vector has 3 weights for rows of 2 columns; it needs one for each",
        ),
        (
            of("a", 4, 32, &zeros, 64, None),
            "all values are zero, or weigh nothing; a table for `a` is learned from others",
        ),
        (
            of("a", 4, 32, &ones, 64, Some(&zeros)),
            "all values are zero, or weigh nothing; a table for `a` is learned from others",
        ),
        (of("a", 9, 32, &ones, 64, None), "`codes.bits`: it is 9, and must be from 1 to 8"),
        (of("a", 4, 0, &ones, 64, None), "`block_len`: it is 0, and must be from 1 to 1048576"),
        (
            of("4", 4, 32, &ones, 64, None),
            "`name`: \"4\" does not begin with a letter; a name has 1 to 64 of a-z A-Z 0-9 _ - . and begins with a letter",
        ),
    ] {
        assert_eq!(found, said);
    }
    let error = fit("a", 4, 32, Rows::new(&ones, 16).unwrap(), None).unwrap_err();
    assert_eq!(error, FitError::Rows { row_len: 16, block_len: 32 });
}
