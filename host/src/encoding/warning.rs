//! What quantizing did to a tensor that its owner should know.

use std::fmt::{self, Display, Formatter};

use crate::tensor::Tensor;

/// A tensor that was encoded, and what was lost.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// The tensor: of the same logical shape, its bytes `u8 [.., bytes a row]`.
    pub tensor: Tensor,
    /// What is not as the caller may think; mostly nothing.
    pub warnings: Vec<QuantizeWarning>,
}

/// What a caller of a quantization should know though it succeeded. It is displayed as a sentence about a tensor.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum QuantizeWarning {
    /// Rows whose error exceeds them (the norm of the difference, that of the row), or whose norm once decoded is less than half or
    /// more than twice what it was: the encoding has no scale as small or as large as their values need.
    RowsLost {
        /// The encoding's name.
        encoding: String,
        /// Which rows, over all outer dimensions.
        rows: Indices,
        /// The number of rows of the tensor.
        row_count: usize,
        /// The row with the largest error, as a part of its norm.
        worst: RowLoss,
    },
    /// Blocks of columns whose importance is zero throughout. It says nothing about them, so the columns of each such block count alike.
    ImportanceZero {
        /// The encoding's name.
        encoding: String,
        /// Which blocks of a row.
        blocks: Indices,
        /// Columns in a block.
        block_len: usize,
    },
}

/// What is left of a row. Norms are Euclidean.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct RowLoss {
    /// The row's index, over all outer dimensions.
    pub row: usize,
    /// The norm of its values.
    pub norm: f64,
    /// The norm of what they decode to.
    pub decoded_norm: f64,
    /// The norm of the difference.
    pub error: f64,
}

/// Indices of rows or blocks: how many, from which to which.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indices {
    /// The first.
    pub first: usize,
    /// The last.
    pub last: usize,
    /// How many there are; fewer than from the first to the last where there are gaps.
    pub count: usize,
}

impl Indices {
    /// One index alone.
    pub(crate) fn one(index: usize) -> Self {
        Self { first: index, last: index, count: 1 }
    }

    /// These indices, or a set with them; `more` comes after.
    pub(crate) fn join(before: Option<Self>, more: Self) -> Self {
        before.map_or(more, |Self { first, count, .. }| Self {
            first,
            last: more.last,
            count: count + more.count,
        })
    }

    /// As `row 7`, `rows 0 to 3` or `3 rows (7 is the first)`.
    fn named(&self, noun: &str) -> String {
        match (self.count, self.last - self.first + 1) {
            (1, _) => format!("{noun} {}", self.first),
            (count, span) if count == span => format!("{noun}s {} to {}", self.first, self.last),
            (count, _) => format!("{count} {noun}s ({} is the first)", self.first),
        }
    }
}

impl RowLoss {
    /// The error as a part of the norm.
    pub(crate) fn relative_error(&self) -> f64 {
        if self.norm == 0.0 { f64::INFINITY } else { self.error / self.norm }
    }
}

impl Display for QuantizeWarning {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::RowsLost { encoding, rows, row_count, worst } => {
                let RowLoss { row, norm, decoded_norm, error } = *worst;
                write!(
                    f,
                    "`{encoding}` loses {} of {row_count}: row {row} has a norm of {}, decoded one of {}, and the error is {}; scale the \
                     tensor, or choose an encoding that is finer or has a wider range, such as bf16",
                    rows.named("row"),
                    Short(norm),
                    Short(decoded_norm),
                    Short(error)
                )
            }
            Self::ImportanceZero { encoding, blocks, block_len } => {
                let (it, columns) = match blocks.count {
                    1 => (
                        "it",
                        format!(
                            "columns {} to {}",
                            blocks.first * block_len,
                            (blocks.first + 1) * block_len - 1
                        ),
                    ),
                    _ => ("each", format!("each of {block_len} columns")),
                };
                write!(
                    f,
                    "the importance is zero throughout {} of `{encoding}`, {columns}; the columns of {it} count alike",
                    blocks.named("block")
                )
            }
        }
    }
}

/// A number in few digits.
struct Short(f64);

impl Display for Short {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            0.0 => f.write_str("0"),
            number @ 0.01..1e4 => write!(f, "{number:.2}"),
            number => write!(f, "{number:.1e}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sentences_are_of_any_count() {
        let all: [usize; 6] = [0, 1, 2, 3, 7, 9];
        let join = |of: &[usize]| {
            of.iter().fold(None, |set, index| Some(Indices::join(set, Indices::one(*index)))).unwrap()
        };
        let named = |of: &[usize]| join(of).named("row");
        assert_eq!(named(&[7]), "row 7");
        assert_eq!(named(&all[..4]), "rows 0 to 3");
        assert_eq!(named(&all[3..]), "3 rows (3 is the first)");
        let worst = RowLoss { row: 7, norm: 1.234e-7, decoded_norm: 0.0, error: 1.234e-7 };
        let warning = |of: &[usize]| QuantizeWarning::RowsLost {
            encoding: "q4_0".to_owned(),
            rows: join(of),
            row_count: 12,
            worst,
        };
        assert_eq!(
            warning(&all).to_string(),
            "`q4_0` loses 6 rows (0 is the first) of 12: row 7 has a norm of 1.2e-7, decoded one of 0, and the error is 1.2e-7; scale the \
             tensor, or choose an encoding that is finer or has a wider range, such as bf16"
        );
        let warning = |of: &[usize]| {
            let (encoding, blocks, block_len) = ("q4_k".to_owned(), join(of), 256);
            QuantizeWarning::ImportanceZero { encoding, blocks, block_len }.to_string()
        };
        assert_eq!(
            warning(&[1]),
            "the importance is zero throughout block 1 of `q4_k`, columns 256 to 511; the columns of it count alike"
        );
        assert_eq!(
            warning(&all[..2]),
            "the importance is zero throughout blocks 0 to 1 of `q4_k`, each of 256 columns; the columns of each count alike"
        );
    }
}
