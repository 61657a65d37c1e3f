//! From blocks to values.

use crate::declaration::Declaration;
use crate::field::{self, Order};

impl Declaration {
    /// Decodes whole blocks.
    pub(crate) fn decode(&self, blocks: &[u8], dst: &mut [f32]) {
        let blocks = blocks.chunks_exact(self.block_bytes).zip(dst.chunks_exact_mut(self.block_len));
        let has_nibbles = self.codes.bits == 4
            && self.codes.order == Order::Sequential
            && self.group_len().is_multiple_of(2)
            && self.group_len() >= 16;
        if has_nibbles {
            blocks.for_each(|(block, values)| self.decode_nibbles(block, values));
        } else {
            let (mut codes, mut table) = (vec![0; self.block_len], [0f32; 256]);
            blocks.for_each(|(block, values)| self.decode_block(block, &mut codes, &mut table, values));
        }
    }

    /// Whole bytes of 4-bit codes in each group, each code of a value that is computed once.
    fn decode_nibbles(&self, block: &[u8], values: &mut [f32]) {
        let group_len = self.group_len();
        let mut table = [0f32; 16];
        let groups =
            values.chunks_exact_mut(group_len).zip(self.code_bytes(block).chunks_exact(group_len / 2));
        for (group, (values, bytes)) in groups.enumerate() {
            let factors = self.factors(block, group);
            for (value, level) in table.iter_mut().zip(&self.levels) {
                *value = factors.value(*level);
            }
            for (pair, byte) in values.as_chunks_mut::<2>().0.iter_mut().zip(bytes) {
                *pair = [table[usize::from(byte & 15)], table[usize::from(byte >> 4)]];
            }
        }
    }

    /// `codes` and `table` are room for the codes of a block, and for a value of each code.
    fn decode_block(&self, block: &[u8], codes: &mut [u8], table: &mut [f32; 256], values: &mut [f32]) {
        field::unpack(self.code_bytes(block), self.codes.bits, self.codes.order, codes);
        let group_len = self.group_len();
        let groups = values.chunks_exact_mut(group_len).zip(codes.chunks_exact(group_len));
        for (group, (values, codes)) in groups.enumerate() {
            let factors = self.factors(block, group);
            // The values of all codes are computed once where that is less work.
            if self.levels.len() <= group_len {
                for (value, level) in table.iter_mut().zip(&self.levels) {
                    *value = factors.value(*level);
                }
                for (value, code) in values.iter_mut().zip(codes) {
                    *value = table[usize::from(*code)];
                }
            } else if self.is_integer() {
                let first = self.levels[0];
                let wraps = if self.is_signed() { self.levels.len() as f32 / 2.0 } else { f32::INFINITY };
                for (value, code) in values.iter_mut().zip(codes) {
                    let code = f32::from(*code);
                    let level = if code >= wraps { code - 2.0 * wraps } else { code + first };
                    *value = factors.value(level);
                }
            } else {
                for (value, code) in values.iter_mut().zip(codes) {
                    *value = factors.value(self.levels[usize::from(*code)]);
                }
            }
        }
    }
}
