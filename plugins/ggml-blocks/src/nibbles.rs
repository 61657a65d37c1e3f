//! Two values to a byte: the first half of the values in the low nibbles, the second half in the high ones.

/// The byte at `i` holds `levels[i]` and, above it, `levels[N + i]`; only their low four bits count.
#[inline(always)]
pub(crate) fn pack<const N: usize>(levels: &[u8]) -> [u8; N] {
    let (low, high) = levels.split_at(N);
    core::array::from_fn(|i| (low[i] & 15) | (high[i] << 4))
}

/// The values of the low nibbles, then of the high ones: the inverse of [`pack`], one value at a time.
#[inline(always)]
pub(crate) fn decode<const N: usize>(bytes: &[u8; N], dst: &mut [f32], value: impl Fn(u8) -> f32) {
    let (low, high) = dst.split_at_mut(N);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = value(byte & 15);
        *high = value(byte >> 4);
    }
}
