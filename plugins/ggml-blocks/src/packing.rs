//! Fields of 4, 2 and 1 bits: how levels are laid into bytes.

use crate::lanes::Lanes;

/// The byte at `i` holds `levels[i]` and, above it, `levels[N + i]`; only their low four bits count.
#[inline(always)]
pub(crate) fn nibbles<const N: usize>(levels: &[i8]) -> [u8; N] {
    let (low, high) = levels.split_at(N);
    let mut bytes = [0; N];
    for ((byte, &low), &high) in bytes.iter_mut().zip(low).zip(high) {
        *byte = (low as u8 & 15) | ((high as u8) << 4);
    }
    bytes
}

/// The low nibbles, then the high ones: the inverse of [`nibbles`].
#[inline(always)]
pub(crate) fn unpack_nibbles<const N: usize>(bytes: &[u8; N]) -> [[i8; N]; 2] {
    let mut levels = [[0; N]; 2];
    for i in 0..N {
        levels[0][i] = (bytes[i] & 15) as i8;
        levels[1][i] = (bytes[i] >> 4) as i8;
    }
    levels
}

/// [`unpack_nibbles`] of 32 values, in one array.
#[inline(always)]
pub(crate) fn unpack_32(bytes: &[u8; 16]) -> [i8; 32] {
    let mut levels = [0; 32];
    levels.copy_from_slice(unpack_nibbles(bytes).as_flattened());
    levels
}

/// The byte at `i` of each 32 holds `levels[32 * k + i]` of its 128 levels in bits `2 * k` and `2 * k + 1`; only their
/// low two bits count.
#[inline(always)]
pub(crate) fn pairs(levels: &[i8; 256]) -> [u8; 64] {
    let mut bytes = [0; 64];
    for (bytes, levels) in bytes.as_chunks_mut::<32>().0.iter_mut().zip(levels.as_chunks::<128>().0) {
        for (k, levels) in levels.as_chunks::<32>().0.iter().enumerate() {
            for (byte, &level) in bytes.iter_mut().zip(levels) {
                *byte |= (level as u8 & 3) << (2 * k);
            }
        }
    }
    bytes
}

/// The inverse of [`pairs`].
#[inline(always)]
pub(crate) fn unpack_pairs(bytes: &[u8; 64]) -> [i8; 256] {
    let mut levels = [0; 256];
    for (bytes, levels) in bytes.as_chunks::<32>().0.iter().zip(levels.as_chunks_mut::<128>().0) {
        for (k, levels) in levels.as_chunks_mut::<32>().0.iter_mut().enumerate() {
            for (levels, bytes) in levels.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<8>().0) {
                *levels = signed((u64::from_ne_bytes(*bytes) >> (2 * k)) & each(3));
            }
        }
    }
    levels
}

/// `byte` in each byte.
const fn each(byte: u8) -> u64 {
    u64::from_ne_bytes([byte; 8])
}

#[inline(always)]
fn signed(bytes: u64) -> [i8; 8] {
    bytemuck::cast(bytes)
}

/// Bit `k` of the byte at `i` is bit `BIT` of `levels[32 * k + i]`.
#[inline(always)]
pub(crate) fn plane<const BIT: u32>(levels: &[i8; 256]) -> [u8; 32] {
    let mut bytes = [0; 32];
    for (k, levels) in levels.as_chunks::<32>().0.iter().enumerate() {
        for (byte, &level) in bytes.iter_mut().zip(levels) {
            *byte |= ((level as u8 >> BIT) & 1) << k;
        }
    }
    bytes
}

/// Puts back the bits that [`plane`] took, into levels that lack them.
#[inline(always)]
pub(crate) fn join_plane<const BIT: u32>(levels: &mut [i8; 256], bytes: &[u8; 32]) {
    for (k, levels) in levels.as_chunks_mut::<32>().0.iter_mut().enumerate() {
        for (levels, bytes) in levels.as_chunks_mut::<8>().0.iter_mut().zip(bytes.as_chunks::<8>().0) {
            let bits = ((u64::from_ne_bytes(*bytes) >> k) & each(1)) << BIT;
            *levels = signed(bytemuck::cast::<_, u64>(*levels) | bits);
        }
    }
}

/// Bit `i` of the little-endian integer is bit 4 of `levels[i]`.
#[inline(always)]
pub(crate) fn fifth_bits<V: Lanes>(levels: &[i8; 32]) -> [u8; 4] {
    let mut signs = *levels;
    for sign in &mut signs {
        *sign <<= 3;
    }
    V::sign_bits(signs).to_le_bytes()
}

/// The levels of 32 values with four bits in `qs` and the fifth in `qh`.
#[inline(always)]
pub(crate) fn join_fifth_bits(qs: &[u8; 16], qh: [u8; 4]) -> [i8; 32] {
    let mut levels = unpack_32(qs);
    let mut spread = [0; 32];
    for (spread, &byte) in spread.as_chunks_mut::<8>().0.iter_mut().zip(&qh) {
        *spread = [byte; 8];
    }
    for (i, (level, byte)) in levels.iter_mut().zip(spread).enumerate() {
        *level |= if byte & (1 << (i % 8)) == 0 { 0 } else { 16 };
    }
    levels
}

/// `level + shift` for each level, which does not overflow.
#[inline(always)]
pub(crate) fn shifted<const N: usize>(mut levels: [i8; N], shift: i8) -> [i8; N] {
    for level in &mut levels {
        *level = level.wrapping_add(shift);
    }
    levels
}

/// The smaller of each level and `top`.
#[inline(always)]
pub(crate) fn at_most<const N: usize>(mut levels: [i8; N], top: i8) -> [i8; N] {
    for level in &mut levels {
        *level = (*level).min(top);
    }
    levels
}
