//! A table of levels that is learned from weights.

use bitquilt_plugin_api::Rows;
use bitquilt_plugin_api::text::Brief;

use crate::declaration::Declaration;
use crate::encode::Encoder;
use crate::error::DeclarationError;
use crate::float::ScaleDType;

/// Why there is no table.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum FitError {
    /// What was asked for is no declaration.
    #[error(transparent)]
    Declaration(#[from] DeclarationError),
    /// Rows that are no whole number of blocks.
    #[error(
        "rows of {row_len} values are no whole number of blocks of {block_len}; take a block length that divides {row_len}"
    )]
    Rows {
        /// Values in a row.
        row_len: usize,
        /// Values in a block.
        block_len: usize,
    },
    /// An infinity or NaN.
    #[error(
        "value {index} is {value}, and only finite values can be learned from; take another weight, or mend it"
    )]
    NotFinite {
        /// Its place among all values.
        index: usize,
        /// The value.
        value: String,
    },
    /// A weight for each column is expected.
    #[error(
        "the importance vector has {weights} weights for rows of {columns} columns; it needs one for each"
    )]
    Importance {
        /// Its weights.
        weights: usize,
        /// Columns of a row.
        columns: usize,
    },
    /// There is nothing to learn from.
    #[error("all values are zero, or weigh nothing; a table for `{}` is learned from others", Brief(.name))]
    Nothing {
        /// The name of the declaration that was asked for.
        name: String,
    },
}

/// Values in units of a scale are counted from `-REACH` to `REACH`; what is beyond counts at the end.
const REACH: f64 = 2.0;
/// The cells that they are counted in.
const CELLS: usize = 1 << 17;
/// The most rounds of Lloyd's algorithm.
const ROUNDS: usize = 200;
/// How often scales are found for a table, and a table for these scales.
const TURNS: usize = 3;

/// What values fall into a cell: their weight, and their weighted sum.
#[derive(Clone, Copy, Default)]
struct Cell {
    weight: f64,
    sum: f64,
}

/// Learns a table of `2^bits` levels from weights: blocks have an f16 scale at byte 0, and sequential codes after it.
///
/// Each block is divided by its scale, and weighted by the scale's square times the importance of its columns: so the error of a level
/// is that of the values. The scale is the largest magnitude at first, and then what [`crate::DeclaredEncoding`] finds for the table that was
/// learned before; of all these tables the one that leaves least is taken. The levels are those of Lloyd's algorithm (k-means in one
/// dimension) from equal shares of the weight on. Where there are values on both sides of zero, or zeros, zero is a level. The same values
/// give the same table on every machine.
pub fn fit(
    name: &str,
    bits: u32,
    block_len: usize,
    rows: Rows<'_>,
    importance: Option<&[f32]>,
) -> Result<Declaration, FitError> {
    let code_bytes = block_len.saturating_mul(bits as usize).div_ceil(8);
    let summary = format!("{bits}-bit levels learned from weights, a scale for each {block_len}");
    let builder = Declaration::builder(name, block_len, code_bytes.saturating_add(2)).summary(summary);
    let builder = builder.codes(2, bits).scale(0, ScaleDType::F16);
    // What is wrong with the rest is said before anything is learned.
    builder.clone().build()?;
    if !rows.row_len().is_multiple_of(block_len) {
        return Err(FitError::Rows { row_len: rows.row_len(), block_len });
    }
    let values = rows.values();
    if let Some(index) = values.iter().position(|value| !value.is_finite()) {
        return Err(FitError::NotFinite { index, value: values[index].to_string() });
    }
    if let Some(weights) = importance.filter(|weights| weights.len() != rows.row_len()) {
        return Err(FitError::Importance { weights: weights.len(), columns: rows.row_len() });
    }
    let absmax = |block: &[f32]| {
        block.iter().fold(0f32, |most, value| if value.abs() > most { value.abs() } else { most })
    };
    let mut scales: Vec<f32> = values.chunks_exact(block_len).map(absmax).collect();
    let weights = importance.map(relative);
    let mut best: Option<(f64, Declaration)> = None;
    for _ in 0..TURNS {
        let cells = histogram(rows, &scales, weights.as_deref());
        if cells.iter().all(|cell| cell.weight == 0.0) {
            break;
        }
        let declaration = builder.clone().values(levels(&cells, 1 << bits)).build()?;
        let left = learn_scales(&declaration, rows, importance, &mut scales);
        match &best {
            Some((least, _)) if left >= *least => break,
            _ => best = Some((left, declaration)),
        }
    }
    best.map(|(_, declaration)| declaration).ok_or_else(|| FitError::Nothing { name: name.to_owned() })
}

/// Weights as parts of the largest; what is no weight weighs nothing.
fn relative(weights: &[f32]) -> Vec<f64> {
    let weight = |weight: &f32| if *weight > 0.0 { f64::from(weight.min(f32::MAX)) } else { 0.0 };
    let largest = weights.iter().map(weight).fold(0.0, f64::max);
    weights.iter().map(|value| if largest > 0.0 { weight(value) / largest } else { 0.0 }).collect()
}

/// Finds the scales of blocks by encoding them, and says what error is left.
fn learn_scales(
    declaration: &Declaration,
    rows: Rows<'_>,
    importance: Option<&[f32]>,
    scales: &mut [f32],
) -> f64 {
    let mut bytes = vec![0; scales.len() * declaration.block_bytes];
    Encoder::new(declaration).encode(rows, importance, &mut bytes);
    for (scale, block) in scales.iter_mut().zip(bytes.chunks_exact(declaration.block_bytes)) {
        *scale = declaration.factors(block, 0).scale;
    }
    let mut decoded = vec![0.0; rows.values().len()];
    declaration.decode(&bytes, &mut decoded);
    let weights = importance.map(relative);
    let errors = rows.values().iter().zip(&decoded).enumerate().map(|(index, (value, back))| {
        let error = f64::from(*value) - f64::from(*back);
        error * error * weights.as_ref().map_or(1.0, |weights| weights[index % rows.row_len()])
    });
    errors.sum()
}

/// Counts values that are divided by the scales of their blocks.
fn histogram(rows: Rows<'_>, scales: &[f32], weights: Option<&[f64]>) -> Vec<Cell> {
    let mut cells = vec![Cell::default(); CELLS];
    let block_len = rows.values().len() / scales.len().max(1);
    // In parts of the largest, so that no square is lost or infinite.
    let largest = scales.iter().map(|scale| f64::from(scale.abs())).fold(0.0, f64::max);
    for (index, (block, scale)) in rows.values().chunks_exact(block_len).zip(scales).enumerate() {
        let column = index * block_len % rows.row_len();
        let scale = f64::from(*scale);
        if scale == 0.0 {
            continue;
        }
        let share = (scale / largest) * (scale / largest);
        for (at, value) in block.iter().enumerate() {
            let value = f64::from(*value) / scale;
            let weight = share * weights.map_or(1.0, |weights| weights[column + at]);
            let cell = &mut cells[cell_of(value).min(CELLS - 1)];
            cell.weight += weight;
            cell.sum += weight * value;
        }
    }
    cells
}

fn cell_of(value: f64) -> usize {
    // What is negative is in the first.
    ((value / REACH + 1.0) * 0.5 * CELLS as f64) as usize
}

/// The centers of `count` clusters in rising order, in parts of the largest magnitude.
fn levels(cells: &[Cell], count: usize) -> Vec<f32> {
    let total: f64 = cells.iter().map(|cell| cell.weight).sum();
    // From equal shares of the weight on.
    let mut centers = vec![1.0; count];
    let (mut passed, mut next) = (0.0, 0);
    for (index, cell) in cells.iter().enumerate() {
        passed += cell.weight;
        while next < count && passed >= total * (next as f64 + 0.5) / count as f64 {
            centers[next] = position(index);
            next += 1;
        }
    }
    lloyd(cells, &mut centers, None);
    let zero = (0..count).min_by(|a, b| centers[*a].abs().total_cmp(&centers[*b].abs()));
    if let Some(zero) = zero.filter(|_| centers[0] <= 0.0 && centers[count - 1] >= 0.0 && count > 2) {
        centers[zero] = 0.0;
        lloyd(cells, &mut centers, Some(zero));
    }
    let largest = centers.iter().fold(0f64, |most, center| most.max(center.abs())).max(f64::MIN_POSITIVE);
    centers.into_iter().map(|center| (center / largest) as f32).collect()
}

/// Moves centers until none moves, all but one that is `fixed`.
fn lloyd(cells: &[Cell], centers: &mut [f64], fixed: Option<usize>) {
    for _ in 0..ROUNDS {
        if !step(cells, centers, fixed) {
            return;
        }
    }
}

/// The middle of a cell.
fn position(index: usize) -> f64 {
    ((index as f64 + 0.5) / CELLS as f64 * 2.0 - 1.0) * REACH
}

/// Moves each center to the mean of the cells that are nearest to it; whether one has moved.
fn step(cells: &[Cell], centers: &mut [f64], fixed: Option<usize>) -> bool {
    let (mut moved, mut begin) = (false, 0);
    for index in 0..centers.len() {
        let end = match centers.get(index + 1) {
            Some(next) => cell_of(f64::midpoint(centers[index], *next)).clamp(begin, CELLS),
            None => CELLS,
        };
        let (weight, sum) = cells[begin..end]
            .iter()
            .fold((0.0, 0.0), |(weight, sum), cell| (weight + cell.weight, sum + cell.sum));
        begin = end;
        if weight > 0.0 && Some(index) != fixed && sum / weight != centers[index] {
            centers[index] = sum / weight;
            moved = true;
        }
    }
    moved
}
