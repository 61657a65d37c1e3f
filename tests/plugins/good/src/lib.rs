//! A well-behaved plugin: `good.int8`, and `good.row_sums`, an op that decodes any encoding.

use bitquilt_plugin_api::{
    EncodingSpec, Error, InferContext, Kernel, Op, OpSignature, OutputType, Plugin, QuantizationEncoding,
    Result, Rows, RunContext, Scratch, Shapes, TensorType, bytemuck, export_plugin,
};

const BLOCK: usize = 16;
const BLOCK_BYTES: usize = 4 + BLOCK;

/// Blocks of 16 values: a scale as f32, then a signed byte a value.
struct Int8;

impl QuantizationEncoding for Int8 {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new("good.int8", BLOCK, BLOCK_BYTES).summary("8-bit integers with a scale for each 16")
    }

    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        for (values, block) in rows.values().chunks_exact(BLOCK).zip(dst.chunks_exact_mut(BLOCK_BYTES)) {
            let largest = values.iter().fold(0f32, |max, value| max.max(value.abs()));
            let scale = largest / 127.0;
            let (head, codes) = block.split_at_mut(4);
            head.copy_from_slice(&scale.to_le_bytes());
            for (code, value) in codes.iter_mut().zip(values) {
                *code = if scale == 0.0 { 0 } else { (value / scale).round() as i8 as u8 };
            }
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        for (block, values) in blocks.chunks_exact(BLOCK_BYTES).zip(dst.chunks_exact_mut(BLOCK)) {
            let scale = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            for (value, code) in values.iter_mut().zip(&block[4..]) {
                *value = f32::from(*code as i8) * scale;
            }
        }
        Ok(())
    }
}

/// `good.row_sums(w)`: the sum of each row of an encoded matrix, f32 `[rows]`.
struct RowSums;

impl Op for RowSums {
    fn signature(&self) -> OpSignature {
        OpSignature::new("good.row_sums").encoded("w").summary("the sum of each row")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        match &cx.inputs()[0].shape[..] {
            [rows, _] => Ok(vec![TensorType::f32([rows]).into()]),
            _ => Err(Error::invalid(format_args!("`w` is {}; a matrix is expected", cx.inputs()[0]))),
        }
    }
}

impl Kernel for RowSums {
    fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
        Scratch { shared: 0, per_worker: shapes.inputs[0][1] * size_of::<f32>() }
    }

    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (w, decoder, sums) = (cx.input(0)?, cx.decoder(0)?, cx.output(0)?.into_values::<f32>()?);
        let row_bytes = w.bytes().len() / sums.len().max(1);
        cx.executor().try_par_chunks_mut(sums, 1, cx.worker_scratch(), |row, sum, scratch| {
            let values: &mut [f32] = bytemuck::cast_slice_mut(scratch);
            decoder.dequantize(&w.bytes()[row * row_bytes..][..row_bytes], values)?;
            sum[0] = values.iter().sum();
            Ok(())
        })
    }
}

fn plugin() -> Plugin {
    Plugin::new("fixture-good", env!("CARGO_PKG_VERSION")).encoding(Int8).simple_op(RowSums)
}

export_plugin!(plugin);
