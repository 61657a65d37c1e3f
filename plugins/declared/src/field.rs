//! Where the entries of a field lie in a block, and how codes are packed.

use crate::float::ScaleDType;

/// How codes follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// One little-endian stream of bits: code i begins at bit `i * bits`.
    Sequential,
    /// 4-bit codes: byte i has code i in its low bits, and code `i + block_len / 2` in its high ones.
    Halves,
}

impl Order {
    /// Its name in a declaration.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sequential => "sequential",
            Self::Halves => "halves",
        }
    }
}

/// How an entry is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// As a float.
    Float(ScaleDType),
    /// As a whole number of so many bits, from 1 to 8.
    Bits(u32),
}

impl Stored {
    /// The value of stored bits.
    #[inline]
    pub(crate) fn value(self, raw: u32) -> f32 {
        match self {
            Self::Float(dtype) => dtype.value(raw),
            Self::Bits(_) => raw as f32,
        }
    }
}

/// Entries one after the other from a byte of the block on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entries {
    pub(crate) at: usize,
    pub(crate) stored: Stored,
}

impl Entries {
    /// The dtype, where they are floats.
    pub(crate) fn dtype(self) -> Option<ScaleDType> {
        match self.stored {
            Stored::Float(dtype) => Some(dtype),
            Stored::Bits(_) => None,
        }
    }

    /// Bytes of so many entries.
    pub(crate) fn bytes(self, count: usize) -> usize {
        match self.stored {
            Stored::Float(dtype) => count * dtype.size(),
            Stored::Bits(bits) => (count * bits as usize).div_ceil(8),
        }
    }

    /// The stored bits of an entry.
    #[inline]
    pub(crate) fn raw(self, block: &[u8], index: usize) -> u32 {
        match self.stored {
            Stored::Float(dtype) => {
                let bytes = &block[self.at + index * dtype.size()..][..dtype.size()];
                bytes.iter().rev().fold(0, |raw, byte| raw << 8 | u32::from(*byte))
            }
            Stored::Bits(bits) => bits_at(&block[self.at..], index, bits),
        }
    }

    /// The value of an entry.
    #[inline]
    pub(crate) fn value(self, block: &[u8], index: usize) -> f32 {
        self.stored.value(self.raw(block, index))
    }

    /// Writes the bits of an entry over zeros.
    pub(crate) fn put(self, block: &mut [u8], index: usize, raw: u32) {
        match self.stored {
            Stored::Float(dtype) => {
                let size = dtype.size();
                block[self.at + index * size..][..size].copy_from_slice(&raw.to_le_bytes()[..size]);
            }
            Stored::Bits(bits) => put_bits(&mut block[self.at..], index, bits, raw & ((1 << bits) - 1)),
        }
    }
}

/// Entry `index` of a little-endian stream of `bits` bits each, at most 8.
fn bits_at(bytes: &[u8], index: usize, bits: u32) -> u32 {
    let (at, shift) = (index * bits as usize / 8, index * bits as usize % 8);
    let high = bytes.get(at + 1).map_or(0, |byte| u32::from(*byte) << 8);
    (u32::from(bytes[at]) | high) >> shift & ((1 << bits) - 1)
}

/// Writes an entry of such a stream over zeros.
fn put_bits(bytes: &mut [u8], index: usize, bits: u32, raw: u32) {
    let (at, shift) = (index * bits as usize / 8, index * bits as usize % 8);
    let [low, high, ..] = (raw << shift).to_le_bytes();
    bytes[at] |= low;
    if high != 0 {
        bytes[at + 1] |= high;
    }
}

/// Unpacks as many codes as there is room for; `bytes` are those of exactly these codes.
pub(crate) fn unpack(bytes: &[u8], bits: u32, order: Order, codes: &mut [u8]) {
    match (order, bits) {
        (Order::Halves, _) => {
            let (low, high) = codes.split_at_mut(bytes.len());
            for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
                (*low, *high) = (byte & 15, byte >> 4);
            }
        }
        (_, 1) => sequential::<1>(bytes, codes),
        (_, 2) => sequential::<2>(bytes, codes),
        (_, 3) => sequential::<3>(bytes, codes),
        (_, 4) => sequential::<4>(bytes, codes),
        (_, 5) => sequential::<5>(bytes, codes),
        (_, 6) => sequential::<6>(bytes, codes),
        (_, 7) => sequential::<7>(bytes, codes),
        _ => codes.copy_from_slice(bytes),
    }
}

/// 8 codes are `BITS` bytes.
fn sequential<const BITS: usize>(bytes: &[u8], codes: &mut [u8]) {
    let (chunks, last) = codes.as_chunks_mut::<8>();
    for (index, codes) in chunks.iter_mut().enumerate() {
        let bytes = &bytes[index * BITS..];
        let word = match bytes.first_chunk::<8>() {
            Some(bytes) => u64::from_le_bytes(*bytes),
            // The last bytes of all.
            None => bytes.iter().rev().fold(0, |word, byte| word << 8 | u64::from(*byte)),
        };
        *codes = spread::<BITS>(word).to_le_bytes();
    }
    let tail = &bytes[chunks.len() * BITS..];
    for (index, code) in last.iter_mut().enumerate() {
        *code = bits_at(tail, index, BITS as u32) as u8;
    }
}

/// The first 8 codes of `BITS` bits each, one in each byte: halves are moved apart, then quarters, then eighths.
#[inline(always)]
fn spread<const BITS: usize>(word: u64) -> u64 {
    let ones = |bits: usize| (1u64 << bits) - 1;
    let word = (word & ones(4 * BITS)) | word >> (4 * BITS) << 32;
    let pairs = ones(2 * BITS) * 0x0000_0001_0000_0001;
    let word = (word & pairs) | (word >> (2 * BITS) & pairs) << 16;
    let each = ones(BITS) * 0x0001_0001_0001_0001;
    (word & each) | (word >> BITS & each) << 8
}

/// Packs codes over zeros: the inverse of [`unpack`].
pub(crate) fn pack(codes: &[u8], bits: u32, order: Order, bytes: &mut [u8]) {
    match (order, bits) {
        (Order::Halves, _) => {
            let (low, high) = codes.split_at(bytes.len());
            for ((byte, low), high) in bytes.iter_mut().zip(low).zip(high) {
                *byte = low | high << 4;
            }
        }
        (_, 8) => bytes.copy_from_slice(codes),
        _ => {
            for (codes, bytes) in codes.chunks(8).zip(bytes.chunks_mut(bits as usize)) {
                let mut word = 0u64;
                for (index, code) in codes.iter().enumerate() {
                    word |= u64::from(*code) << (index * bits as usize);
                }
                bytes.copy_from_slice(&word.to_le_bytes()[..bytes.len()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_entries_of_every_width_come_back() {
        for bits in 1..=8u32 {
            for count in [1, 2, 7, 8, 9, 31, 64, 100] {
                let codes: Vec<u8> =
                    (0..count).map(|i| (i * 167 + 13) as u8 & (0xff >> (8 - bits))).collect();
                let len = (count * bits as usize).div_ceil(8);
                let (mut packed, mut put) = (vec![0; len], vec![0; len + 3]);
                pack(&codes, bits, Order::Sequential, &mut packed);
                let entries = Entries { at: 3, stored: Stored::Bits(bits) };
                assert_eq!(entries.bytes(count), len);
                for (index, code) in codes.iter().enumerate() {
                    entries.put(&mut put, index, u32::from(*code));
                }
                assert_eq!(packed, put[3..], "{bits} bits, {count}");
                // The definition, bit by bit.
                for (index, code) in codes.iter().enumerate() {
                    for bit in 0..bits as usize {
                        let place = index * bits as usize + bit;
                        let expected = u32::from(*code) >> bit & 1;
                        assert_eq!(u32::from(packed[place / 8] >> (place % 8) & 1), expected);
                    }
                    assert_eq!(entries.raw(&put, index), u32::from(*code));
                }
                let mut unpacked = vec![0xff; count];
                unpack(&packed, bits, Order::Sequential, &mut unpacked);
                assert_eq!(unpacked, codes, "{bits} bits, {count}");
            }
        }
    }

    #[test]
    fn halves_are_nibbles() {
        let (mut bytes, mut codes) = ([0; 2], [0; 4]);
        pack(&[1, 2, 3, 4], 4, Order::Halves, &mut bytes);
        assert_eq!(bytes, [0x31, 0x42]);
        unpack(&bytes, 4, Order::Halves, &mut codes);
        assert_eq!(codes, [1, 2, 3, 4]);
    }

    #[test]
    fn floats_lie_dense() {
        for (dtype, raw) in [(ScaleDType::F32, 0x0403_0201), (ScaleDType::F16, 0x0201), (ScaleDType::E8M0, 1)]
        {
            let entries = Entries { at: 1, stored: Stored::Float(dtype) };
            let mut block = vec![0; 1 + entries.bytes(2)];
            entries.put(&mut block, 1, raw);
            assert_eq!((entries.raw(&block, 0), entries.raw(&block, 1)), (0, raw));
            assert_eq!(block[1 + dtype.size()..], [1, 2, 3, 4][..dtype.size()]);
        }
    }
}
