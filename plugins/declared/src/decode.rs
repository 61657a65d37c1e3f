//! From blocks to values.

use crate::declaration::Declaration;
use crate::field;

impl Declaration {
    /// Decodes whole blocks.
    pub(crate) fn decode(&self, blocks: &[u8], dst: &mut [f32]) {
        let group_len = self.group_len();
        let mut codes = vec![0; self.block_len];
        let mut table = [0f32; 256];
        let table = &mut table[..self.levels.len()];
        for (block, values) in blocks.chunks_exact(self.block_bytes).zip(dst.chunks_exact_mut(self.block_len))
        {
            field::unpack(self.code_bytes(block), self.codes.bits, self.codes.order, &mut codes);
            let groups = values.chunks_exact_mut(group_len).zip(codes.chunks_exact(group_len));
            for (group, (values, codes)) in groups.enumerate() {
                let factors = self.factors(block, group);
                // The values of all codes are computed once where that is less work.
                if table.len() <= group_len {
                    for (value, level) in table.iter_mut().zip(&self.levels) {
                        *value = factors.value(*level);
                    }
                    for (value, code) in values.iter_mut().zip(codes) {
                        *value = table[usize::from(*code)];
                    }
                } else {
                    for (value, code) in values.iter_mut().zip(codes) {
                        *value = factors.value(self.levels[usize::from(*code)]);
                    }
                }
            }
        }
    }
}
