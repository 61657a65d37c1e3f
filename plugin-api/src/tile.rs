//! Matrices that tasks write in parts.

use std::marker::PhantomData;
use std::ops::Range;

/// A row-major matrix that is written in tiles, by several tasks at once.
/// [`Executor::try_par_tiles_mut`](crate::Executor::try_par_tiles_mut) cuts one into tiles of one size, safely.
#[derive(Debug)]
pub struct Tiles<'a, T> {
    values: *mut T,
    rows: usize,
    row_len: usize,
    borrow: PhantomData<&'a mut [T]>,
}

// SAFETY: no value is reached but through tiles, and who makes one vouches that no two of them overlap.
unsafe impl<T: Send> Sync for Tiles<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Send for Tiles<'_, T> {}

impl<'a, T> Tiles<'a, T> {
    /// A matrix of rows of `row_len` values.
    ///
    /// # Panics
    /// If the values are no whole number of rows.
    pub fn new(values: &'a mut [T], row_len: usize) -> Self {
        assert!(values.len().checked_rem(row_len).is_none_or(|rest| rest == 0), "whole rows");
        let rows = values.len().checked_div(row_len).unwrap_or(0);
        Self { values: values.as_mut_ptr(), rows, row_len, borrow: PhantomData }
    }

    /// The number of rows.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Some columns of some rows.
    ///
    /// # Safety
    /// While it lives there is no other tile with one of its values.
    ///
    /// # Panics
    /// If the matrix has no such rows or columns.
    pub unsafe fn tile(&self, rows: Range<usize>, columns: Range<usize>) -> Tile<'a, T> {
        assert!(
            rows.end <= self.rows && columns.end <= self.row_len,
            "a matrix has the rows and columns of a tile"
        );
        Tile { values: self.values, row_len: self.row_len, rows, columns, borrow: PhantomData }
    }
}

/// A part of a row-major matrix, some columns of some rows, which one task writes: what lies beside it in each row is another's.
#[derive(Debug)]
pub struct Tile<'a, T> {
    values: *mut T,
    row_len: usize,
    rows: Range<usize>,
    columns: Range<usize>,
    borrow: PhantomData<&'a mut T>,
}

impl<T> Tile<'_, T> {
    /// Its rows of the matrix.
    pub fn rows(&self) -> Range<usize> {
        self.rows.clone()
    }

    /// Its columns of the matrix.
    pub fn columns(&self) -> Range<usize> {
        self.columns.clone()
    }

    /// Its first value, for instructions that write it. A row of it is as long as [`Self::columns`], and the next begins
    /// [`Self::row_len`] values further on.
    pub fn as_mut_ptr(&mut self) -> *mut T {
        // SAFETY: the matrix has the tile's first value, or the tile has none and this is within or right behind the matrix.
        unsafe { self.values.add(self.rows.start * self.row_len + self.columns.start) }
    }

    /// The number of values in a row of the matrix.
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// Its columns of a row of the matrix.
    ///
    /// # Panics
    /// If the row is not in the tile.
    #[inline(always)]
    pub fn row(&mut self, row: usize) -> &mut [T] {
        self.part(row, self.columns.clone())
    }

    /// Some columns of a row, both counted in the matrix.
    ///
    /// # Panics
    /// If they are not in the tile.
    #[inline(always)]
    pub fn part(&mut self, row: usize, columns: Range<usize>) -> &mut [T] {
        assert!(
            self.rows.contains(&row)
                && self.columns.start <= columns.start
                && columns.start <= columns.end
                && columns.end <= self.columns.end,
            "a tile has what is written"
        );
        // SAFETY: the matrix has these values, in this order, and they are this tile's alone.
        unsafe {
            std::slice::from_raw_parts_mut(self.values.add(row * self.row_len + columns.start), columns.len())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_writes_its_own_values_alone() {
        let mut values = [0; 12];
        let tiles = Tiles::new(&mut values, 4);
        // SAFETY: there is no other tile.
        let mut tile = unsafe { tiles.tile(1..3, 1..3) };
        assert_eq!((tiles.rows(), tile.rows(), tile.columns()), (3, 1..3, 1..3));
        tile.row(1).fill(1);
        tile.part(2, 2..3).fill(2);
        assert_eq!(values, [0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 2, 0]);
        assert_eq!(Tiles::<u8>::new(&mut [], 0).rows(), 0);
    }

    #[test]
    fn a_tile_does_not_reach_beyond_itself() {
        for (row, columns) in [(0, 1..2), (3, 1..2), (1, 0..2), (1, 2..4)] {
            let refused = std::panic::catch_unwind(|| {
                let mut values = [0; 12];
                let tiles = Tiles::new(&mut values, 4);
                // SAFETY: there is no other tile.
                unsafe { tiles.tile(1..3, 1..3) }.part(row, columns).fill(1);
            });
            assert!(refused.is_err());
        }
    }
}
