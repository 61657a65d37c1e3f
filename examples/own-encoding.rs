//! An encoding and an op inside one's own program: no shared library, the same traits.
//!
//! `signs` keeps of each 32 values one bit a value and their mean magnitude. `count_negative` is an op that decodes any encoding.

use bitquilt::plugin_api::{
    Error as OpError, InferContext, Kernel, Op, OpSignature, OutputType, QuantizationEncoding,
    Result as OpResult, Rows, RunContext, Scratch, Shapes, bytemuck,
};
use bitquilt::{DType, EncodingSpec, Error, Graph, InferenceSession, Tensor, TensorType};

struct Signs;

impl QuantizationEncoding for Signs {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new("signs", 32, 8).summary("a bit a value, and an f32 magnitude for each 32")
    }

    fn quantize(&self, rows: Rows<'_>, _importance: Option<&[f32]>, dst: &mut [u8]) -> OpResult<()> {
        for (values, block) in rows.values().chunks_exact(32).zip(dst.chunks_exact_mut(8)) {
            let magnitude = values.iter().map(|value| value.abs()).sum::<f32>() / 32.0;
            let negative = values.iter().rev().fold(0u32, |bits, value| bits << 1 | u32::from(*value < 0.0));
            block[..4].copy_from_slice(&magnitude.to_le_bytes());
            block[4..].copy_from_slice(&negative.to_le_bytes());
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> OpResult<()> {
        for (block, values) in blocks.chunks_exact(8).zip(dst.chunks_exact_mut(32)) {
            let magnitude = f32::from_le_bytes([block[0], block[1], block[2], block[3]]);
            let negative = u32::from_le_bytes([block[4], block[5], block[6], block[7]]);
            for (bit, value) in values.iter_mut().enumerate() {
                *value = if negative >> bit & 1 == 1 { -magnitude } else { magnitude };
            }
        }
        Ok(())
    }
}

/// `count_negative(w)`: how many values of each row are negative, i32 `[rows]`.
struct CountNegative;

impl Op for CountNegative {
    fn signature(&self) -> OpSignature {
        OpSignature::new("count_negative").encoded("w")
    }

    fn infer(&self, cx: &InferContext<'_>) -> OpResult<Vec<OutputType>> {
        match &cx.inputs()[0].shape[..] {
            [rows, _] => Ok(vec![TensorType::dense(DType::I32, [rows]).into()]),
            _ => Err(OpError::invalid(format_args!("`w` is {}; a matrix is expected", cx.inputs()[0]))),
        }
    }
}

impl Kernel for CountNegative {
    fn scratch(&self, shapes: &Shapes<'_>) -> Scratch {
        Scratch { shared: 0, per_worker: shapes.inputs[0][1] * size_of::<f32>() }
    }

    fn run(&self, cx: &mut RunContext<'_>) -> OpResult<()> {
        let (w, decoder, counts) = (cx.input(0)?, cx.decoder(0)?, cx.output(0)?.into_values::<i32>()?);
        let row_bytes = w.bytes().len() / counts.len().max(1);
        cx.executor().try_par_chunks_mut(counts, 1, cx.worker_scratch(), |row, count, scratch| {
            let values: &mut [f32] = bytemuck::cast_slice_mut(scratch);
            decoder.dequantize(&w.bytes()[row * row_bytes..][..row_bytes], values)?;
            count[0] = values.iter().map(|value| i32::from(*value < 0.0)).sum();
            Ok(())
        })
    }
}

fn main() -> Result<(), Error> {
    bitquilt_examples::end_with_the_reader();
    let session = InferenceSession::builder().encoding(Signs).simple_op(CountNegative).build()?;
    let weight: Vec<f32> = (0..4 * 64).map(|index| ((index * 37 % 101) as f32 - 50.0) / 50.0).collect();
    let weight = Tensor::new([4, 64], weight)?;

    let mut graph = Graph::new(session.registry(), [TensorType::f32([1, 64])])?;
    let encoded = graph.quantize("signs", &weight)?;
    let product = graph.qmatmul(graph.input(0), encoded)?;
    let counts = graph.op("count_negative", [encoded])?;
    graph.output_named("product", product)?;
    graph.output_named("negative", counts)?;

    let model = session.load(&graph)?;
    let results = model.execute([("input0", &Tensor::full([1, 64], 1f32))])?;
    println!(
        "bytes             {} of {}",
        graph.constant_tensor(encoded).map_or(0, |w| w.bytes().len()),
        weight.bytes().len()
    );
    println!("row sums          {:?}", results.get::<f32>("product")?);
    println!("negative values   {:?}", results.get::<i32>("negative")?);
    print!("\n{}", model.explain()?);
    Ok(())
}
