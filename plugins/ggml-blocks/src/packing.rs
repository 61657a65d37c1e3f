//! Fields of 4, 2 and 1 bits: how levels are laid into bytes.

/// The byte at `i` holds `levels[i]` and, above it, `levels[N + i]`; only their low four bits count.
#[inline(always)]
pub(crate) fn nibbles<const N: usize>(levels: &[u8]) -> [u8; N] {
    let (low, high) = levels.split_at(N);
    core::array::from_fn(|i| (low[i] & 15) | (high[i] << 4))
}

/// The values of the low nibbles, then of the high ones: the inverse of [`nibbles`], one value at a time.
#[inline(always)]
pub(crate) fn decode_nibbles<const N: usize>(bytes: &[u8; N], dst: &mut [f32], value: impl Fn(u8) -> f32) {
    let (low, high) = dst.split_at_mut(N);
    for ((low, high), &byte) in low.iter_mut().zip(high).zip(bytes) {
        *low = value(byte & 15);
        *high = value(byte >> 4);
    }
}

/// The byte at `i` of each 32 holds `levels[32 * k + i]` of its 128 levels in bits `2 * k` and `2 * k + 1`; only their
/// low two bits count.
#[inline(always)]
pub(crate) fn pairs(levels: &[u8; 256]) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (bytes, levels) in bytes.chunks_exact_mut(32).zip(levels.chunks_exact(128)) {
        for (i, byte) in bytes.iter_mut().enumerate() {
            *byte = (0..4).fold(0, |byte, k| byte | ((levels[32 * k + i] & 3) << (2 * k)));
        }
    }
    bytes
}

/// The inverse of [`pairs`].
#[inline(always)]
pub(crate) fn unpack_pairs(bytes: &[u8; 64]) -> [u8; 256] {
    let mut levels = [0; 256];
    for (bytes, levels) in bytes.chunks_exact(32).zip(levels.chunks_exact_mut(128)) {
        for (k, levels) in levels.chunks_exact_mut(32).enumerate() {
            for (level, &byte) in levels.iter_mut().zip(bytes) {
                *level = (byte >> (2 * k)) & 3;
            }
        }
    }
    levels
}

/// Bit `k` of the byte at `i` is bit `BIT` of `levels[32 * k + i]`.
#[inline(always)]
pub(crate) fn planes<const BIT: u32>(levels: &[u8; 256]) -> [u8; 32] {
    core::array::from_fn(|i| (0..8).fold(0, |byte, k| byte | (((levels[32 * k + i] >> BIT) & 1) << k)))
}

/// Bit `i` of the little-endian integer is bit 4 of `levels[i]`.
#[inline(always)]
pub(crate) fn fifth_bits(levels: &[u8; 32]) -> [u8; 4] {
    let bits =
        levels.iter().enumerate().fold(0u32, |bits, (i, &level)| bits | (u32::from(level >> 4 & 1) << i));
    bits.to_le_bytes()
}

/// The levels of 32 values with four bits in `qs` and the fifth in `qh`.
#[inline(always)]
pub(crate) fn join_fifth_bits(qs: &[u8; 16], qh: [u8; 4]) -> [u8; 32] {
    let bits = u32::from_le_bytes(qh);
    core::array::from_fn(|i| {
        let low = if i < 16 { qs[i] & 15 } else { qs[i - 16] >> 4 };
        low | (((bits >> i & 1) << 4) as u8)
    })
}
