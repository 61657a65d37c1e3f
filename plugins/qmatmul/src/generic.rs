//! `qmatmul` for every encoding: decode a tile of the weight, multiply it with all of `x`, go on to the next.

use bitquilt_plugin_api::{
    Error, Kernel, KernelKey, KernelProvider, PrepareContext, Prepared, Result, RunContext, Scratch,
    Selector, Shapes, bytemuck,
};

use bitquilt_kernels::{F32Kernel, Isa, Precision, QMATMUL};

use crate::decode::Decode;
use crate::tiling::tile_rows;

/// Serves every encoding, by the encoding's own decoder. Either precision is the same to it: `x` is never quantized.
pub(crate) struct Generic;

impl KernelProvider for Generic {
    fn key(&self) -> KernelKey {
        KernelKey::new(QMATMUL, Selector::AnyEncoding, "generic")
    }

    fn prepare(&self, cx: &PrepareContext<'_>) -> Result<Prepared> {
        let isa = Isa::of_option(cx.option("isa").as_deref()).map_err(Error::invalid)?;
        let kernel = F32Kernel::of(isa);
        Decode::of(cx)?;
        let encoding = cx.inputs()[1].encoding().unwrap_or_default();
        let remedy = match Precision::of(cx)? {
            Precision::Fast => "declare its layout, unpack its blocks, or decode it once: `decode`",
            Precision::Exact => "to decode it once, set `decode`",
        };
        let note =
            format!("decoded at each run by {encoding}, multiplied in f32 ({}); {remedy}", kernel.isa());
        Ok(Prepared::new(DecodeAndMultiply(kernel)).note(note))
    }
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
