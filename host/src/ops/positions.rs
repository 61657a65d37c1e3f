//! Positions in a sequence: given one by one, or as the first of a run.

use bitquilt_plugin_api::{DType, Dim, ElementView, Result, TensorView};

use super::check::Input;

/// The positions of the rows of a tensor: i64 or i32.
#[derive(Clone, Copy)]
pub(super) enum Positions<'a> {
    /// Row `i` of a sequence is at this position plus `i`.
    From(i64),
    /// That of each row; of each row of every sequence, where there are several.
    I32(&'a [i32]),
    /// As above.
    I64(&'a [i64]),
}

impl<'a> Positions<'a> {
    /// Whether `input` can be the positions of `rows`, the dimensions that count them: a scalar, or one number for each row.
    pub(super) fn check(input: &Input<'_>, rows: &[Dim]) -> Result<()> {
        input.dtype(&[DType::I64, DType::I32])?;
        if rows.ends_with(input.shape()) {
            return Ok(());
        }
        let each = rows.last().map(|count| format!(", or [{count}], that of each"));
        Err(input.refuse(format_args!("a scalar, the first row's position{}", each.unwrap_or_default())))
    }

    /// The positions that an input holds.
    pub(super) fn of(view: TensorView<'a>) -> Result<Self> {
        let scalar = view.shape().is_empty();
        Ok(match view.element() {
            ElementView::Dense(DType::I32) if scalar => Self::From(view.values::<i32>()?[0].into()),
            ElementView::Dense(DType::I32) => Self::I32(view.values()?),
            _ if scalar => Self::From(view.values::<i64>()?[0]),
            _ => Self::I64(view.values()?),
        })
    }

    /// The position of a row, in sequences of `count` rows each.
    pub(super) fn at(&self, row: usize, count: usize) -> i64 {
        match self {
            // A tensor has less than 2^63 rows.
            Self::From(first) => first.saturating_add((row % count.max(1)) as i64),
            Self::I32(positions) => positions[row % positions.len()].into(),
            Self::I64(positions) => positions[row % positions.len()],
        }
    }
}
