//! A weight on its way from the tensors of a layer to blocks.

use std::ops::Range;

use bitquilt::declared::StoredFactors;

use crate::layout::{LEAST_BLOCK, Layout, block_len};
use crate::problem::Problem;

/// Reads the codes of rows into a place for them, row by row, in the order that columns have in the source.
pub(crate) type ReadCodes = Box<dyn Fn(Range<usize>, &mut [u8]) + Send + Sync>;

/// The stored numbers of the group that a row and a column of the source belong to.
pub(crate) type ReadFactors = Box<dyn Fn(usize, usize) -> StoredFactors + Send + Sync>;

/// A weight as a method stores it.
pub(crate) struct Weight {
    /// The tensors of the source that it takes the place of.
    pub(crate) parts: Vec<String>,
    /// Its shape; the last dimension is that of its rows.
    pub(crate) shape: Vec<usize>,
    /// How its blocks are laid out.
    pub(crate) layout: Layout,
    /// For each column that is written, that of the source, where they are in another order.
    pub(crate) permutation: Option<Vec<usize>>,
    /// Its codes.
    pub(crate) codes: ReadCodes,
    /// Its scales, zeros and minima.
    pub(crate) factors: ReadFactors,
}

impl Weight {
    /// Values in a row.
    pub(crate) fn columns(&self) -> usize {
        self.shape.last().copied().unwrap_or_default()
    }

    /// Number of rows.
    pub(crate) fn rows(&self) -> usize {
        self.shape[..self.shape.len().saturating_sub(1)].iter().product()
    }

    /// The column of the source for one that is written.
    pub(crate) fn source_column(&self, column: usize) -> usize {
        self.permutation.as_ref().map_or(column, |permutation| permutation[column])
    }
}

/// The length of blocks for rows of `columns` values of which each `group` in a row share what scales them, the last group perhaps
/// fewer.
pub(crate) fn blocks_of(group: usize, columns: usize) -> Result<usize, Problem> {
    let run = gcd(group, columns);
    block_len(run).ok_or(Problem::Groups { group, columns, least: LEAST_BLOCK })
}

/// The greatest common divisor; that of 0 and another is the other.
pub(crate) fn gcd(a: usize, b: usize) -> usize {
    if b == 0 { a } else { gcd(b, a % b) }
}
