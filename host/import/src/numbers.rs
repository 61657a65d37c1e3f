//! Numbers as tensors store them.

use bitquilt::declared::ScaleDType;
use bitquilt::{DType, Tensor};

use crate::weight::ReadCodes;

/// The dtype of scales that a tensor's dtype is.
pub(crate) fn scale_dtype(dtype: DType) -> Option<ScaleDType> {
    match dtype {
        DType::F32 => Some(ScaleDType::F32),
        DType::F16 => Some(ScaleDType::F16),
        DType::BF16 => Some(ScaleDType::BF16),
        _ => None,
    }
}

/// The floats of a tensor, as bits.
pub(crate) struct Floats {
    tensor: Tensor,
    dtype: ScaleDType,
}

impl Floats {
    /// A tensor's bytes as floats of this dtype.
    pub(crate) fn new(tensor: Tensor, dtype: ScaleDType) -> Self {
        Self { tensor, dtype }
    }

    /// How they are stored.
    pub(crate) fn dtype(&self) -> ScaleDType {
        self.dtype
    }

    /// The bits of one.
    pub(crate) fn bits(&self, index: usize) -> u32 {
        let size = self.dtype.size();
        let bytes = &self.tensor.bytes()[index * size..][..size];
        bytes.iter().rev().fold(0, |bits, byte| bits << 8 | u32::from(*byte))
    }
}

/// The 32-bit words of a tensor of i32 or u32 values.
pub(crate) struct Words(Tensor);

impl Words {
    /// The words of a tensor, whose dtype has been checked.
    pub(crate) fn new(tensor: Tensor) -> Self {
        Self(tensor)
    }

    /// All of them.
    pub(crate) fn all(&self) -> &[u32] {
        match self.0.dtype() {
            Some(DType::U32) => self.0.values().unwrap_or_default(),
            _ => bytemuck::cast_slice(self.0.values::<i32>().unwrap_or_default()),
        }
    }

    /// Reads codes of which each row is a stream of bits in so many words.
    pub(crate) fn along_rows(self, words: usize, columns: usize, bits: u32) -> ReadCodes {
        Box::new(move |range, dst| {
            for (row, dst) in range.zip(dst.chunks_exact_mut(columns)) {
                let line = &self.all()[row * words..][..words];
                for (column, code) in dst.iter_mut().enumerate() {
                    *code = code_in(|word| line[word], column, bits);
                }
            }
        })
    }
}

/// Code `index` of a stream of so many bits each, the lowest first, in 32-bit words. A word after the last is 0.
#[inline]
pub(crate) fn code_in(word: impl Fn(usize) -> u32, index: usize, bits: u32) -> u8 {
    let at = index * bits as usize;
    let (first, shift) = (at / 32, at % 32);
    let low = u64::from(word(first));
    let high = if shift + bits as usize > 32 { u64::from(word(first + 1)) } else { 0 };
    ((low | high << 32) >> shift) as u8 & mask(bits)
}

/// The largest code of so many bits.
pub(crate) fn mask(bits: u32) -> u8 {
    (0xff_u32 >> (8 - bits)) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_may_lie_in_two_words() {
        for bits in 1..=8u32 {
            let codes: Vec<u8> = (0..64u32).map(|i| (i * 167 + 13) as u8 & mask(bits)).collect();
            let mut words = vec![0u32; 2 * bits as usize];
            for (index, code) in codes.iter().enumerate() {
                for bit in 0..bits as usize {
                    let place = index * bits as usize + bit;
                    words[place / 32] |= u32::from(code >> bit & 1) << (place % 32);
                }
            }
            let read: Vec<u8> = (0..64).map(|index| code_in(|word| words[word], index, bits)).collect();
            assert_eq!(read, codes, "{bits} bits");
        }
    }

    #[test]
    fn floats_are_their_bits() {
        let tensor = Tensor::from_bytes(DType::BF16, [2], &[0x80, 0x3f, 0x00, 0xc0]).unwrap();
        let floats = Floats::new(tensor, ScaleDType::BF16);
        assert_eq!((floats.bits(0), floats.bits(1)), (0x3f80, 0xc000));
    }
}
