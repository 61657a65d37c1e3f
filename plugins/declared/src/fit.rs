//! A table of levels that is learned from weights.

use bitquilt_plugin_api::Rows;
use bitquilt_plugin_api::text::Brief;

use crate::declaration::Declaration;
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

/// The cells of the histogram that the table is learned from, over -1 to 1.
const CELLS: usize = 1 << 16;
/// The most rounds of Lloyd's algorithm.
const ROUNDS: usize = 200;

/// What values fall into a cell: their weight, and their weighted sum.
#[derive(Clone, Copy, Default)]
struct Cell {
    weight: f64,
    sum: f64,
}

/// Learns a table of `2^bits` levels from weights: blocks have an f16 scale at byte 0, and sequential codes after it.
///
/// Each block is divided by its largest magnitude, and weighted by it, squared, times the importance of its columns: so the error of
/// a level is that of the values. The levels are those of Lloyd's algorithm (k-means in one dimension) from equal shares of the weight
/// on; the level nearest to zero becomes zero, so that zeros stay zeros. The same values give the same table on every machine.
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
    let cells = histogram(rows, block_len, importance);
    if cells.iter().all(|cell| cell.weight == 0.0) {
        return Err(FitError::Nothing { name: name.to_owned() });
    }
    Ok(builder.values(levels(&cells, 1 << bits)).build()?)
}

/// Values of blocks that are divided by their largest magnitude.
fn histogram(rows: Rows<'_>, block_len: usize, importance: Option<&[f32]>) -> Vec<Cell> {
    let mut cells = vec![Cell::default(); CELLS];
    // Squares are of values near 1, so that none is lost or infinite.
    let largest =
        rows.values().iter().fold(0f32, |most, value| if value.abs() > most { value.abs() } else { most });
    let heaviest = importance
        .into_iter()
        .flatten()
        .fold(0f32, |most, weight| if *weight > most { *weight } else { most });
    for (index, block) in rows.values().chunks_exact(block_len).enumerate() {
        let column = index * block_len % rows.row_len();
        let most = block.iter().fold(0f32, |most, value| if value.abs() > most { value.abs() } else { most });
        if most == 0.0 {
            continue;
        }
        let scale = f64::from(most) / f64::from(largest);
        for (at, value) in block.iter().enumerate() {
            let weight = match importance {
                None => 1.0,
                Some(weights) if weights[column + at] > 0.0 => {
                    f64::from(weights[column + at].min(f32::MAX)) / f64::from(heaviest.min(f32::MAX))
                }
                Some(_) => 0.0,
            };
            let (value, weight) = (f64::from(*value) / f64::from(most), weight * scale * scale);
            let cell = &mut cells[(((value + 1.0) * 0.5 * CELLS as f64) as usize).min(CELLS - 1)];
            cell.weight += weight;
            cell.sum += weight * value;
        }
    }
    cells
}

/// The centers of `count` clusters, in rising order and all different.
fn levels(cells: &[Cell], count: usize) -> Vec<f32> {
    let total: f64 = cells.iter().map(|cell| cell.weight).sum();
    // From equal shares of the weight on.
    let mut centers = vec![0f64; count];
    let (mut passed, mut next) = (0.0, 0);
    for (index, cell) in cells.iter().enumerate() {
        passed += cell.weight;
        while next < count && passed >= total * (next as f64 + 0.5) / count as f64 {
            centers[next] = position(index);
            next += 1;
        }
    }
    centers[next..].fill(1.0);
    for _ in 0..ROUNDS {
        if !step(cells, &mut centers) {
            break;
        }
    }
    // Zero is a level.
    let nearest = (0..count).min_by(|a, b| centers[*a].abs().total_cmp(&centers[*b].abs())).unwrap_or(0);
    if count > 2 {
        centers[nearest] = 0.0;
    }
    centers.sort_by(f64::total_cmp);
    centers.into_iter().map(|center| center as f32).collect()
}

/// The middle of a cell.
fn position(index: usize) -> f64 {
    (index as f64 + 0.5) / CELLS as f64 * 2.0 - 1.0
}

/// Moves each center to the mean of the cells that are nearest to it; whether one has moved.
fn step(cells: &[Cell], centers: &mut [f64]) -> bool {
    let (mut moved, mut begin) = (false, 0);
    for index in 0..centers.len() {
        let end = match centers.get(index + 1) {
            Some(next) => {
                let border = f64::midpoint(centers[index], *next);
                ((border + 1.0) * 0.5 * CELLS as f64).clamp(begin as f64, CELLS as f64) as usize
            }
            None => CELLS,
        };
        let (weight, sum) = cells[begin..end]
            .iter()
            .fold((0.0, 0.0), |(weight, sum), cell| (weight + cell.weight, sum + cell.sum));
        begin = end;
        if weight > 0.0 && sum / weight != centers[index] {
            centers[index] = sum / weight;
            moved = true;
        }
    }
    moved
}
