//! The declared encodings of weights: one for each layout, with a name that says which.

use bitquilt::EncodingSpec;
use bitquilt::declared::{CodeDType, Declaration, DeclarationError, ScaleDType};

/// The shortest block: what has fewer values for each scale takes more for scales than for codes.
pub(crate) const LEAST_BLOCK: usize = 8;

/// The longest block that is wanted: of a scale that more values share than these, each block has a copy.
const LONGEST_BLOCK: usize = 1024;

/// What codes stand for.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Kind {
    /// `(q - 2^(bits-1)) * scale`.
    Symmetric { bits: u32 },
    /// `(q - zero) * scale` with whole zeros from 0 to `2^bits - 1`.
    Zero { bits: u32 },
    /// `(q - zero) * scale` with zeros that are floats.
    FloatZero { bits: u32, dtype: ScaleDType },
    /// `q * scale + min`.
    Min { bits: u32, dtype: ScaleDType },
    /// `values[q] * scale`, with 4-bit codes and a name for the table.
    Table { name: String, values: Vec<f32> },
    /// `q * scale`, with codes that are floats.
    Float(CodeDType),
    /// `q * scale` with codes of 8 bits in two's complement.
    Signed,
    /// `(q - zero) * scale` with codes and zeros of 8 bits in two's complement.
    SignedZero,
}

/// A layout of blocks.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Layout {
    /// What its name begins with: the method.
    pub(crate) prefix: &'static str,
    /// What codes stand for.
    pub(crate) kind: Kind,
    /// How scales are stored.
    pub(crate) scale: ScaleDType,
    /// Values in a block.
    pub(crate) block_len: usize,
}

impl Layout {
    /// The encoding. Its block has the scale first, then the zero or minimum, then the codes.
    pub(crate) fn declare(&self) -> Result<Declaration, DeclarationError> {
        let (shift_bytes, bits) = match &self.kind {
            Kind::Symmetric { bits } => (0, *bits),
            Kind::Zero { bits } => (1, *bits),
            Kind::FloatZero { bits, dtype } | Kind::Min { bits, dtype } => (dtype.size(), *bits),
            Kind::Table { .. } => (0, 4),
            Kind::Float(dtype) => (0, dtype.bits()),
            Kind::Signed => (0, 8),
            Kind::SignedZero => (1, 8),
        };
        let (shift, codes) = (self.scale.size(), self.scale.size() + shift_bytes);
        let block_bytes = codes + (self.block_len * bits as usize).div_ceil(8);
        let builder = Declaration::builder(self.name(), self.block_len, block_bytes)
            .summary(self.summary())
            .scale(0, self.scale);
        let builder = match &self.kind {
            Kind::Float(dtype) => builder.float_codes(codes, *dtype),
            _ => builder.codes(codes, bits),
        };
        let builder = match &self.kind {
            Kind::Symmetric { bits } => builder.offset(1 << (bits - 1)),
            Kind::Zero { bits } => builder.zero(shift, *bits),
            Kind::FloatZero { dtype, .. } => builder.float_zero(shift, *dtype),
            Kind::Min { dtype, .. } => builder.min(shift, *dtype),
            Kind::Table { values, .. } => builder.values(values.clone()),
            Kind::Float(_) => builder,
            Kind::Signed => builder.signed(),
            Kind::SignedZero => builder.signed().zero(shift, 8),
        };
        builder.build()
    }

    /// The name, by which the layout is known: `gptq.int4_g128` has f16 scales, others say which.
    fn name(&self) -> String {
        let (what, shift) = match &self.kind {
            Kind::Symmetric { bits } => (format!("int{bits}"), None),
            Kind::Zero { bits } => (format!("int{bits}z"), None),
            Kind::FloatZero { bits, dtype } => (format!("int{bits}f"), Some(*dtype)),
            Kind::Min { bits, dtype } => (format!("int{bits}m"), Some(*dtype)),
            Kind::Table { name, .. } => (name.clone(), None),
            Kind::Float(dtype) => (dtype.name().to_owned(), None),
            Kind::Signed => ("sint8".to_owned(), None),
            Kind::SignedZero => ("sint8z".to_owned(), None),
        };
        let dtypes = match (self.scale, shift) {
            (ScaleDType::F16, None | Some(ScaleDType::F16)) => String::new(),
            (scale, Some(shift)) if shift != scale => format!("_{}_{}", scale.name(), shift.name()),
            (scale, _) => format!("_{}", scale.name()),
        };
        format!("{}.{what}_g{}{dtypes}", self.prefix, self.block_len)
    }

    fn summary(&self) -> String {
        let what = match &self.kind {
            Kind::Symmetric { bits } => format!("{bits}-bit integers, symmetric"),
            Kind::Zero { bits } => format!("{bits}-bit integers with zero points"),
            Kind::FloatZero { bits, .. } => format!("{bits}-bit integers with floating zeros"),
            Kind::Min { bits, .. } => format!("{bits}-bit integers with biases"),
            Kind::Table { name, .. } => format!("the 16 values of {name}"),
            Kind::Float(dtype) => format!("{} values", dtype.name()),
            Kind::Signed => "8-bit integers with a sign".to_owned(),
            Kind::SignedZero => "8-bit integers with a sign and zero points".to_owned(),
        };
        format!("{what}, a scale for each {}", self.block_len)
    }
}

/// The length of blocks where `run` values in a row share what scales them: all of these, or an equal part. None where that would be
/// too short, or too long for any encoding.
pub(crate) fn block_len(run: usize) -> Option<usize> {
    if run <= LONGEST_BLOCK {
        return Some(run).filter(|run| *run >= LEAST_BLOCK);
    }
    let part = |step: usize| {
        let lengths = (LEAST_BLOCK.max(step)..=LONGEST_BLOCK).rev();
        lengths.into_iter().find(|len| len.is_multiple_of(step) && run.is_multiple_of(*len))
    };
    part(32).or_else(|| part(1)).or_else(|| Some(run).filter(|run| *run <= EncodingSpec::MAX_BLOCK))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_equal_parts() {
        for (run, expected) in [
            (7, None),
            (8, Some(8)),
            (128, Some(128)),
            (1000, Some(1000)),
            (4096, Some(1024)),
            (11008, Some(256)),
            (1025, Some(205)),
            (1031, Some(1031)),
            (1_048_583, None),
        ] {
            assert_eq!(block_len(run), expected, "{run}");
        }
    }

    #[test]
    fn every_layout_can_be_declared_under_a_name_of_its_own() {
        let floats = [ScaleDType::F16, ScaleDType::BF16, ScaleDType::F32];
        let mut kinds = vec![
            Kind::Signed,
            Kind::SignedZero,
            Kind::Table { name: "nf4".to_owned(), values: (0..16).map(|i| i as f32).collect() },
            Kind::Float(CodeDType::F8E4M3),
            Kind::Float(CodeDType::F4E2M1),
        ];
        for bits in 1..=8 {
            kinds.extend([Kind::Symmetric { bits }, Kind::Zero { bits }]);
            for dtype in floats {
                kinds.extend([Kind::FloatZero { bits, dtype }, Kind::Min { bits, dtype }]);
            }
        }
        let mut texts = std::collections::BTreeMap::new();
        for kind in kinds {
            for scale in floats {
                for block_len in [8, 64, 205] {
                    let layout = Layout { prefix: "gptq", kind: kind.clone(), scale, block_len };
                    let declaration = layout.declare().unwrap();
                    let other = texts.insert(declaration.name().to_owned(), declaration.to_text());
                    assert_eq!(other, None, "{layout:?}");
                }
            }
        }
        let layout = Layout {
            prefix: "gptq",
            kind: Kind::Symmetric { bits: 4 },
            scale: ScaleDType::F16,
            block_len: 128,
        };
        assert_eq!(layout.declare().unwrap().name(), "gptq.int4_g128");
    }
}
