//! Every instruction set of this machine against the scalar reference, bit for bit.

use bitquilt_ggml_blocks::{FORMATS, Format, Importance, Isa};

/// A small generator: the rows are the same in every run.
struct Random(u64);

impl Random {
    fn bits(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// From 0 to 1.
    fn unit(&mut self) -> f32 {
        (self.bits() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Near a standard normal distribution.
    fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }

    fn row(&mut self, kind: usize, len: usize) -> Vec<f32> {
        let scale = 10f32.powf(6.0 * self.unit() - 4.0);
        (0..len)
            .map(|i| match kind {
                0 => self.normal() * scale,
                1 => self.normal().powi(3) * scale,
                2 => self.normal() / (self.normal().abs() + 1e-3),
                3 => self.normal() * 1e-38,
                4 => self.normal() * 1e-41,
                5 => self.normal() * 3e37,
                6 => {
                    if self.unit() < 0.05 {
                        self.normal()
                    } else {
                        0.0
                    }
                }
                7 => (i as f32 / len as f32 - 0.3) * scale,
                8 => [0.0, -0.0, scale, -scale][(self.bits() % 4) as usize],
                9 => self.unit() * scale,
                10 => -self.unit() * scale,
                11 => self.normal() * 1e-15,
                12 => [scale, -0.0, self.normal()][i / 32 % 3],
                13 => 1.0 + self.normal() * 1e-6,
                _ => Some(f32::from_bits(self.bits() as u32)).filter(|x| x.is_finite()).unwrap_or(1.0),
            })
            .collect()
    }
}

const KINDS: usize = 15;

/// A value's bits. Which NaN comes out of an operation is not defined: all are one.
fn bits(value: f32) -> u32 {
    if value.is_nan() { f32::NAN.to_bits() } else { value.to_bits() }
}

/// Encoded by `isa`, and decoded by it, as bits.
fn round_trip(isa: Isa, format: &Format, row: &[f32], importance: Option<&[f32]>) -> (Vec<u8>, Vec<u32>) {
    let mut bytes = vec![0; format.row_bytes(row.len()).expect("whole blocks")];
    format.quantize_with(isa, row, row.len(), importance, &mut bytes);
    let mut values = vec![0.0; row.len()];
    format.dequantize_with(isa, &bytes, &mut values);
    (bytes, values.into_iter().map(bits).collect())
}

#[test]
fn every_instruction_set_writes_the_same_bits() {
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    // Whole and partial groups of lanes.
    for blocks in [1, 2, 3, 4, 5, 9, 17] {
        for kind in 0..KINDS {
            for format in FORMATS {
                let row = random.row(kind, blocks * format.block_len.max(32));
                let importance: Vec<f32> = row.iter().map(|_| random.unit() * 3.0).collect();
                let plain = (format.importance != Importance::Required).then_some(None);
                for importance in plain.into_iter().chain([Some(&importance[..])]) {
                    let expected = round_trip(Isa::Scalar, format, &row, importance);
                    for isa in Isa::available() {
                        let got = round_trip(isa, format, &row, importance);
                        assert!(got == expected, "{} {isa:?}: {blocks} blocks of kind {kind}", format.name);
                    }
                }
            }
        }
    }
}

#[test]
fn every_instruction_set_reads_the_same_values() {
    let mut random = Random(0x1234_5678_9abc_def1);
    for format in FORMATS {
        for blocks in [1, 2, 7, 33] {
            let bytes: Vec<u8> = (0..blocks * format.block_bytes).map(|_| random.bits() as u8).collect();
            let decode = |isa| {
                let mut values = vec![0.0f32; blocks * format.block_len];
                format.dequantize_with(isa, &bytes, &mut values);
                values.into_iter().map(bits).collect::<Vec<_>>()
            };
            for isa in Isa::available() {
                assert!(decode(isa) == decode(Isa::Scalar), "{} {isa:?}: {blocks} blocks", format.name);
            }
        }
    }
}
