//! How many rows of a weight are decoded at a time.

/// Bytes of decoded weights that a worker holds, so that they stay in its cache; a single row may have more.
const TILE_BYTES: usize = 256 << 10;
/// Rows of a tile, at most.
const TILE_ROWS: usize = 32;
/// Tiles that a weight is cut into at least, as far as it has rows, so that all threads have work.
const TILES: usize = 32;
/// Rows of a tile are a multiple of it where they can be, since kernels take several rows at once.
const ROW_STEP: usize = 4;

/// Rows of a weight `[p, n]` that are decoded at a time. It depends on the shape alone, never on threads.
pub(crate) fn tile_rows(p: usize, n: usize) -> usize {
    let fitting = TILE_BYTES / n.max(1).saturating_mul(size_of::<f32>());
    let rows = fitting.min(p.div_ceil(TILES).next_multiple_of(ROW_STEP)).min(TILE_ROWS);
    if rows > ROW_STEP { rows - rows % ROW_STEP } else { rows.max(1) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tile_has_a_row_at_least_and_fits_where_a_row_does() {
        for (p, n, rows) in [
            (1, 32, 4),
            (576, 576, 20),
            (4096, 4096, 16),
            (1 << 20, 64, 32),
            (4096, 11008, 4),
            (64, 1 << 20, 1),
            (0, 0, 1),
            (0, usize::MAX, 1),
        ] {
            assert_eq!(tile_rows(p, n), rows, "[{p}, {n}]");
        }
    }
}
