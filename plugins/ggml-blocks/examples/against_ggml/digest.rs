//! Digests of what a format makes of each kind of row, so that bytes can be compared without having them.

use bitquilt_ggml_blocks::{Format, Importance};

use crate::rows::{IMPORTANCES, KINDS, Random, importance, row};

/// Lengths of the rows, in 256 values.
const LENGTHS: [usize; 3] = [1, 2, 5];

/// For each kind of row a line: the format, then a digest without importance and one for each kind of importance.
///
/// A digest is of the bytes and of the values that they decode to; it is `-` where the format does not take that
/// importance, or `quantize` answers false for one of the rows.
pub fn lines(
    format: &Format,
    quantize: impl Fn(&[f32], Option<&[f32]>, &mut [u8]) -> bool,
    dequantize: impl Fn(&[u8], &mut [f32]),
) -> Vec<String> {
    let digest = |rows: &[Vec<f32>], weights: Option<&[Vec<f32>]>| {
        if match format.importance {
            Importance::Ignored => weights.is_some(),
            Importance::Optional => false,
            Importance::Required => weights.is_none(),
        } {
            return "-".to_owned();
        }
        let mut hash = Fnv::new();
        for (i, row) in rows.iter().enumerate() {
            let mut bytes = vec![0; row.len() / format.block_len * format.block_bytes];
            if !quantize(row, weights.map(|weights| &weights[i][..]), &mut bytes) {
                return "-".to_owned();
            }
            let mut values = vec![0.0f32; row.len()];
            dequantize(&bytes, &mut values);
            bytes.iter().for_each(|&byte| hash.add(byte));
            // Which NaN comes out of an operation is not defined.
            let bits = values.iter().map(|x| if x.is_nan() { f32::NAN.to_bits() } else { x.to_bits() });
            bits.flat_map(u32::to_le_bytes).for_each(|byte| hash.add(byte));
        }
        format!("{:08x}", hash.0 as u32)
    };
    let line = |kind: usize| {
        let random = &mut Random::new(1 + kind as u64);
        let rows = LENGTHS.map(|length| row(random, kind, 256 * length));
        let mut digests = vec![digest(&rows, None)];
        for kind in 0..IMPORTANCES.len() {
            let weights = LENGTHS.map(|length| importance(random, kind, 256 * length));
            digests.push(digest(&rows, Some(&weights)));
        }
        format!("{} {}", format.name, digests.join(" "))
    };
    (0..KINDS.len()).map(line).collect()
}

/// FNV-1a, of 64 bits.
struct Fnv(u64);

impl Fnv {
    fn new() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }

    fn add(&mut self, byte: u8) {
        self.0 = (self.0 ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
}
