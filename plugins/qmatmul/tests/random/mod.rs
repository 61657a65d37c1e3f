//! Random values, the same on each run.

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
