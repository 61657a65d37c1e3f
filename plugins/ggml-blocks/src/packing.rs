//! Fields of 4, 2 and 1 bits: how levels are laid into bytes.

/// The byte at `i` holds `levels[i]` and, above it, `levels[N + i]`; only their low four bits count.
#[inline(always)]
pub(crate) fn nibbles<const N: usize>(levels: &[u8]) -> [u8; N] {
    let (low, high) = levels.split_at(N);
    core::array::from_fn(|i| (low[i] & 15) | (high[i] << 4))
}

/// The low nibbles, then the high ones: the inverse of [`nibbles`].
#[inline(always)]
pub(crate) fn unpack_nibbles<const N: usize>(bytes: &[u8; N]) -> [[u8; N]; 2] {
    [bytes.map(|byte| byte & 15), bytes.map(|byte| byte >> 4)]
}

/// The byte at `i` of each 32 holds `levels[32 * k + i]` of its 128 levels in bits `2 * k` and `2 * k + 1`; only their
/// low two bits count.
#[inline(always)]
pub(crate) fn pairs(levels: &[u8; 256]) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (bytes, levels) in bytes.as_chunks_mut::<32>().0.iter_mut().zip(levels.as_chunks::<128>().0) {
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
    for (bytes, levels) in bytes.as_chunks::<32>().0.iter().zip(levels.as_chunks_mut::<128>().0) {
        for (k, levels) in levels.as_chunks_mut::<32>().0.iter_mut().enumerate() {
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
    let mut levels = [0; 32];
    levels.copy_from_slice(unpack_nibbles(qs).as_flattened());
    for (i, level) in (0u32..).zip(&mut levels) {
        *level |= (((bits >> i) & 1) << 4) as u8;
    }
    levels
}
