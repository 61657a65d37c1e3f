//! `qmatmul` for every encoding: decode a tile of the weight, multiply it with all of `x`, go on to the next.

use bitquilt_plugin_api::{
    Error, Kernel, KernelKey, KernelProvider, PrepareContext, Prepared, Result, RunContext, Scratch,
    Selector, Shapes, bytemuck,
};

use bitquilt_kernels::{F32Kernel, Isa, QMATMUL};

/// Serves every encoding, by the encoding's own decoder. Either precision is the same to it: `x` is never quantized.
pub(crate) struct Generic;

impl KernelProvider for Generic {
    fn key(&self) -> KernelKey {
        KernelKey::new(QMATMUL, Selector::AnyEncoding, "generic")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let isa = Isa::of_option(cx.option("isa").as_deref()).map_err(Error::invalid)?;
        let kernel = F32Kernel::of(isa);
        let note = format!("decodes tiles, multiplies in f32 ({})", kernel.isa());
        Ok(Prepared::new(DecodeAndMultiply(kernel)).note(note))
    }
}

/// Bytes of decoded weights that a worker holds, so that they stay in its cache; a single row may have more.
const TILE_BYTES: usize = 256 << 10;
/// Rows of a tile, at most.
const TILE_ROWS: usize = 32;
/// Tiles that a weight is cut into at least, as far as it has rows, so that all threads have work.
const TILES: usize = 32;
/// Rows of a tile are a multiple of it where they can be, since kernels take several rows at once.
const ROW_STEP: usize = 4;

/// Rows of a weight `[p, n]` that are decoded at a time. It depends on the shape alone, never on threads.
fn tile_rows(p: usize, n: usize) -> usize {
    let fitting = TILE_BYTES / n.max(1).saturating_mul(size_of::<f32>());
    let rows = fitting.min(p.div_ceil(TILES).next_multiple_of(ROW_STEP)).min(TILE_ROWS);
    if rows > ROW_STEP { rows - rows % ROW_STEP } else { rows.max(1) }
}

struct DecodeAndMultiply(F32Kernel);

impl Kernel for DecodeAndMultiply {
    fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
        let [p, n] = *shapes.inputs[1] else { return Scratch::default() };
        Scratch { shared: 0, per_worker: n.saturating_mul(tile_rows(p, n) * size_of::<f32>()) }
    }

    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, w, decoder) = (cx.input(0)?.values::<f32>()?, cx.input(1)?, cx.decoder(1)?);
        let out = cx.output(0)?.into_values::<f32>()?;
        let [p, n] = *w.shape() else {
            return Err(Error::failed(format_args!("the weight has the shape {:?}", w.shape())));
        };
        if out.is_empty() || n == 0 {
            out.fill(0.0);
            return Ok(());
        }
        let row_bytes = w.bytes().len() / p;
        if out.len() / p != x.len() / n || out.len() % p != 0 || x.len() % n != 0 {
            return Err(Error::failed(format_args!(
                "{} values times a weight [{p}, {n}] do not give {} values",
                x.len(),
                out.len()
            )));
        }
        let rows = tile_rows(p, n);
        // The rows of the weight are columns of the output.
        let size = [usize::MAX, rows];
        cx.executor().try_par_tiles_mut(out, p, size, cx.worker_scratch(), |mut tile, scratch| {
            let rows = tile.columns();
            let weights = &mut bytemuck::cast_slice_mut(scratch)[..rows.len() * n];
            let blocks = &w.bytes()[rows.start * row_bytes..rows.end * row_bytes];
            decoder.dequantize(blocks, weights).map_err(|error| {
                Error::new(error.kind(), format_args!("rows {rows:?} of `w` cannot be decoded: {error}"))
            })?;
            self.0.multiply(weights, x, n, &mut tile);
            Ok(())
        })
    }
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
