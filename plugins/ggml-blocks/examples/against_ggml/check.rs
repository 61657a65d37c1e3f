//! Whether bytes and decoded values are ggml's.

use std::path::PathBuf;

use bitquilt_ggml_blocks::{Format, Importance, Isa};
use safetensors::{Dtype, SafeTensors};

use crate::ggml::{Ggml, Type};
use crate::rows::{IMPORTANCES, KINDS, Random, importance, row};

/// Rows of all kinds and weights of files, in every format; exits with 1 if anything differs.
pub fn run(ggml: &Ggml, formats: &[&Format], seeds: u64, weights: &[PathBuf]) {
    let mut failed = false;
    for format in formats {
        let mut check = Check { theirs: ggml.format(format), format, rows: 0, aborted: 0, wrong: Vec::new() };
        check.warm_up();
        for seed in 0..seeds {
            check.seed(seed);
        }
        for path in weights {
            check.file(path);
        }
        let Check { rows, aborted, wrong, .. } = check;
        println!("{:8} {rows:>8} rows, {} differ, ggml aborts on {aborted}", format.name, wrong.len());
        for wrong in wrong.iter().take(20) {
            println!("    {wrong}");
        }
        failed |= !wrong.is_empty();
    }
    std::process::exit(i32::from(failed));
}

struct Check<'a> {
    format: &'a Format,
    theirs: Type,
    rows: usize,
    aborted: usize,
    wrong: Vec<String>,
}

impl Check<'_> {
    /// Lets ggml make its tables, once for all children.
    fn warm_up(&self) {
        let mut bytes = vec![0; self.format.row_bytes(256).unwrap()];
        self.theirs.quantize(self.format, &[1.0; 256], 256, Some(&[1.0; 256]), &mut bytes);
    }

    fn seed(&mut self, seed: u64) {
        let random = &mut Random::new(seed);
        for (kind, name) in KINDS.iter().enumerate() {
            // 256 is a multiple of every block but the largest, which are 256 long.
            for blocks in [1, 2, 5] {
                let row = row(random, kind, 256 * blocks);
                self.one(&row, None, &format!("seed {seed}, {name}, {blocks} x 256"));
                for (kind, importance_name) in IMPORTANCES.iter().enumerate() {
                    let weights = importance(random, kind, row.len());
                    self.one(
                        &row,
                        Some(&weights),
                        &format!("seed {seed}, {name}, {blocks} x 256, importance {importance_name}"),
                    );
                }
            }
        }
    }

    /// The f32 matrices of a file, some rows of each.
    fn file(&mut self, path: &PathBuf) {
        let bytes = std::fs::read(path).unwrap();
        let tensors = SafeTensors::deserialize(&bytes).unwrap();
        let random = &mut Random::new(1);
        for (name, tensor) in tensors.iter() {
            let &[rows, columns] = tensor.shape() else { continue };
            if tensor.dtype() != Dtype::F32 || columns % self.format.block_len != 0 {
                continue;
            }
            let values: Vec<f32> =
                tensor.data().as_chunks::<4>().0.iter().map(|&bytes| f32::from_le_bytes(bytes)).collect();
            for row in (0..rows).step_by(rows.div_ceil(24)) {
                let values = &values[row * columns..][..columns];
                let weights = importance(random, 0, columns);
                self.one(values, None, &format!("{name}, row {row}"));
                self.one(values, Some(&weights), &format!("{name}, row {row}, importance"));
            }
        }
    }

    fn one(&mut self, row: &[f32], importance: Option<&[f32]>, what: &str) {
        let format = self.format;
        let without = importance.is_none();
        if without == (format.importance == Importance::Required) && without
            || importance.is_some() && format.importance == Importance::Ignored
        {
            return;
        }
        self.rows += 1;
        let bytes = format.row_bytes(row.len()).unwrap();
        let (mut ours, mut theirs) = (vec![0; bytes], vec![0; bytes]);
        format.quantize(row, row.len(), importance, &mut ours);
        if !self.theirs.try_quantize(format, row, importance, &mut theirs) {
            self.aborted += 1;
            return;
        }
        if let Some(at) = ours.iter().zip(&theirs).position(|(ours, theirs)| ours != theirs) {
            let mut scalar = vec![0; bytes];
            format.quantize_with(Isa::SCALAR, row, row.len(), importance, &mut scalar);
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
