//! The 6-bit scales of `q3_k`, `q4_k` and `q5_k`, as ggml packs them into 12 bytes.

/// The scales and minima, eight of each, of a block of `q4_k` or `q5_k`.
///
/// The first four of each are the lower 6 bits of a byte; the others have their lower 4 bits in the last bytes,
/// and their upper 2 in the first ones'.
pub(crate) fn scales_and_mins(packed: &[u8]) -> [(u8, u8); 8] {
    std::array::from_fn(|j| {
        if j < 4 {
            (packed[j] & 63, packed[j + 4] & 63)
        } else {
            (packed[j + 4] & 15 | packed[j - 4] >> 6 << 4, packed[j + 4] >> 4 | packed[j] >> 6 << 4)
        }
    })
}

/// The 16 signed scales of a block of `q3_k`: 4 lower bits in the first eight bytes, 2 upper in the last four.
pub(crate) fn signed_scales(packed: &[u8]) -> [i8; 16] {
    std::array::from_fn(|j| {
        let low = packed[j % 8] >> (j / 8 * 4) & 15;
        let high = packed[8 + j % 4] >> (j / 4 * 2) & 3;
        (low | high << 4) as i8 - 32
    })
}
