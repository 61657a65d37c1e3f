//! Whether bytes and decoded values are ggml's.

use std::path::PathBuf;

use bitquilt_ggml_blocks::{Format, Importance, Isa};
use safetensors::{Dtype, SafeTensors};

use crate::ggml::{Ggml, Type};
use crate::rows::{IMPORTANCES, KINDS, Random, importance, row};

/// Rows of all kinds, then weights of files, in every format; exits with 1 if anything differs.
pub fn run(ggml: &Ggml, formats: &[&Format], seeds: u64, weights: &[PathBuf]) {
    let mut differ = 0;
    for format in formats {
        differ += Check::run(ggml, format, "rows", |check| (0..seeds).for_each(|seed| check.seed(seed)));
    }
    // Not before: a child process of a small one is made sooner.
    let files: Vec<Vec<u8>> = weights.iter().map(|path| std::fs::read(path).unwrap()).collect();
    for format in formats {
        differ += Check::run(ggml, format, "rows of weights", |check| {
            files.iter().for_each(|file| check.file(file))
        });
    }
    std::process::exit(i32::from(differ > 0));
}

struct Check<'a> {
    format: &'a Format,
    theirs: Type,
    rows: usize,
    aborted: usize,
    wrong: Vec<String>,
}

impl<'a> Check<'a> {
    /// Checks and prints what was found; the number of rows that differ.
    fn run(ggml: &Ggml, format: &'a Format, what: &str, rows: impl FnOnce(&mut Self)) -> usize {
        let theirs = ggml.format(format);
        let mut check = Self { theirs, format, rows: 0, aborted: 0, wrong: Vec::new() };
        theirs.warm_up(format);
        rows(&mut check);
        let Self { rows, aborted, wrong, .. } = check;
        if rows > 0 {
            println!("{:8} {rows:>6} {what}: {} differ, ggml aborts on {aborted}", format.name, wrong.len());
        }
        wrong.iter().take(20).for_each(|wrong| println!("    {wrong}"));
        wrong.len()
    }

    fn seed(&mut self, seed: u64) {
        let random = &mut Random::new(seed);
        for (kind, name) in KINDS.iter().enumerate() {
            // 256 is a multiple of every block but the largest, which are 256 long.
            for blocks in [1, 2, 5] {
                let row = row(random, kind, 256 * blocks);
                self.one(&row, None, true, &format!("seed {seed}, {name}, {blocks} x 256"));
                for (kind, importance_name) in IMPORTANCES.iter().enumerate() {
                    let weights = importance(random, kind, row.len());
                    self.one(
                        &row,
                        Some(&weights),
                        true,
                        &format!("seed {seed}, {name}, {blocks} x 256, importance {importance_name}"),
                    );
                }
            }
        }
    }

    /// The f32 matrices of a file, some rows of each.
    fn file(&mut self, file: &[u8]) {
        let tensors = SafeTensors::deserialize(file).unwrap();
        let random = &mut Random::new(1);
        for (name, tensor) in tensors.iter() {
            let &[rows, columns] = tensor.shape() else { continue };
            if tensor.dtype() != Dtype::F32 || columns % self.format.block_len != 0 {
                continue;
            }
            for row in (0..rows).step_by(rows.div_ceil(12)) {
                let bytes = tensor.data()[row * columns * 4..][..columns * 4].as_chunks::<4>().0;
                let values: &[f32] =
                    &bytes.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect::<Vec<_>>();
                let weights = importance(random, 0, columns);
                self.one(values, None, false, &format!("{name}, row {row}"));
                self.one(values, Some(&weights), false, &format!("{name}, row {row}, importance"));
            }
        }
    }

    fn one(&mut self, row: &[f32], importance: Option<&[f32]>, may_abort: bool, what: &str) {
        let format = self.format;
        if match format.importance {
            Importance::Ignored => importance.is_some(),
            Importance::Optional => false,
            Importance::Required => importance.is_none(),
        } {
            return;
        }
        self.rows += 1;
        let bytes = format.row_bytes(row.len()).unwrap();
        let (mut ours, mut theirs) = (vec![0; bytes], vec![0; bytes]);
        format.quantize(row, row.len(), importance, &mut ours);
        if !may_abort {
            self.theirs.quantize(format, row, row.len(), importance, &mut theirs);
        } else if !self.theirs.try_quantize(format, row, importance, &mut theirs) {
            self.aborted += 1;
            return;
        }
        if let Some(at) = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs) {
            let mut scalar = vec![0; bytes];
            format.quantize_with(Isa::Scalar, row, row.len(), importance, &mut scalar);
            let lanes = if scalar == ours { "" } else { " (the scalar reference differs, too)" };
            self.wrong.push(format!(
                "{what}: byte {} of block {}: {:#04x}, ggml has {:#04x}{lanes}",
                at % format.block_bytes,
                at / format.block_bytes,
                ours[at],
                theirs[at]
            ));
            return;
        }
        let (mut ours, mut values) = (vec![0.0; row.len()], vec![0.0; row.len()]);
        format.dequantize(&theirs, &mut ours);
        self.theirs.dequantize(&theirs, &mut values);
        let same = |a: f32, b: f32| a.to_bits() == b.to_bits() || a.is_nan() && b.is_nan();
        if let Some(at) = ours.iter().zip(&values).position(|(&ours, &theirs)| !same(ours, theirs)) {
            self.wrong
                .push(format!("{what}: value {at} decodes to {:e}, with ggml to {:e}", ours[at], values[at]));
        }
    }
}
