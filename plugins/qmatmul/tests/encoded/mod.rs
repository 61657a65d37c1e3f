//! Weights of the built-in encodings.

use bitquilt_ggml_blocks::{Format, Importance};

/// Rows of `n` values, quantized to a format. Those that require importance are given the same for all columns.
pub fn quantized(format: &Format, rows: &[f32], n: usize) -> Vec<u8> {
    let mut bytes = vec![0; format.row_bytes(n).expect("whole blocks") * (rows.len() / n)];
    let importance = vec![1.0; n];
    let importance = (format.importance == Importance::Required).then_some(&importance[..]);
    format.quantize(rows, n, importance, &mut bytes);
    bytes
}
