//! Random values, the same on each run.

use bitquilt_ggml_blocks::{Format, Importance};

/// Rows of `n` values, quantized to a format. Those that require importance are given the same for all columns.
pub fn quantized(format: &Format, rows: &[f32], n: usize) -> Vec<u8> {
    let mut bytes = vec![0; format.row_bytes(n).expect("whole blocks") * (rows.len() / n)];
    let importance = vec![1.0; n];
    let importance = (format.importance == Importance::Required).then_some(&importance[..]);
    format.quantize(rows, n, importance, &mut bytes);
    bytes
}

/// Roughly normal values: sums of `terms` that are uniform from -0.5 to 0.5.
pub fn normal(seed: u64, len: usize, terms: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..len).map(|_| (0..terms).map(|_| uniform()).sum()).collect()
}
