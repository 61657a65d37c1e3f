//! `dequantize`: encoded blocks to f32.

use bitquilt_plugin_api::{
    InferContext, Kernel, Op, OpSignature, OutputType, Plugin, Result, RunContext, TensorType, WorkerScratch,
};

use super::check::Input;
use super::parallel::piece_len;

/// Registers the op.
pub(super) fn register(plugin: Plugin) -> Plugin {
    plugin.simple_op(Dequantize)
}

/// `dequantize(x)`: the values of blocks of any encoding, f32 of the same logical shape.
pub(super) struct Dequantize;

impl Op for Dequantize {
    fn signature(&self) -> OpSignature {
        OpSignature::new("dequantize").encoded("x").summary("the values of encoded blocks, as f32")
    }

    fn infer(&self, cx: &InferContext<'_>) -> Result<Vec<OutputType>> {
        Ok(vec![TensorType::f32(Input::of(cx, 0, "x")?.shape()).into()])
    }
}

impl Kernel for Dequantize {
    fn run(&self, cx: &mut RunContext<'_>) -> Result<()> {
        let (x, decoder) = (cx.input(0)?.bytes(), cx.decoder(0)?);
        let (block_len, block_bytes) = (decoder.block_len(), decoder.block_bytes());
        let output = cx.output(0)?.into_values::<f32>()?;
        let piece = piece_len(block_len, 4);
        cx.executor().try_par_chunks_mut(output, piece, WorkerScratch::none(), |index, values, _| {
            let (first, count) = (index * (piece / block_len), values.len() / block_len);
            decoder.dequantize(&x[first * block_bytes..][..count * block_bytes], values)
        })
    }
}

#[cfg(test)]
mod tests {
    use bitquilt_plugin_api::{EncodingSpec, Error, Plugin, QuantizationEncoding, Rows};

    use super::*;
    use crate::Tensor;
    use crate::ops::testing::{Ops, check_inference, none};

    /// Blocks of three bytes, a value each; 255 is no value.
    struct Bytes;

    impl QuantizationEncoding for Bytes {
        fn spec(&self) -> EncodingSpec {
            EncodingSpec::new("bytes", 3, 3)
        }

        fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
            dst.iter_mut().zip(rows.values()).for_each(|(byte, value)| *byte = *value as u8);
            Ok(())
        }

        fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
            dst.iter_mut().zip(blocks).for_each(|(value, byte)| *value = (*byte).into());
            if blocks.contains(&255) { Err(Error::invalid("255 is no value")) } else { Ok(()) }
        }
    }

    #[test]
    fn blocks_of_any_encoding_are_decoded() {
        let ops = Ops::with([Plugin::new("test", "1.0.0").encoding(Bytes)]);
        let shapes: [&[usize]; 7] = [&[3], &[0], &[2, 0], &[0, 3], &[2, 5, 6], &[7, 3 * 1031], &[1031, 3]];
        for shape in shapes {
            let mut bytes: Vec<u8> =
                (0..shape.iter().product()).map(|byte: usize| (byte % 251) as u8).collect();
            let encode = |bytes: &[u8]| Tensor::from_encoded(&Bytes.spec(), shape, bytes).unwrap();
            let output = ops.run("dequantize", &none(), &[encode(&bytes)]).unwrap();
            let expected: Vec<f32> = bytes.iter().copied().map(f32::from).collect();
            assert_eq!(output, Tensor::new(shape, expected).unwrap());
            if let Some(last) = bytes.last_mut() {
                *last = 255;
                let error = ops.run("dequantize", &none(), &[encode(&bytes)]).unwrap_err();
                assert_eq!(error.message(), "255 is no value");
            }
        }
    }

    #[test]
    fn the_output_has_the_logical_shape() {
        check_inference("dequantize", &[(none(), &["any.encoding [vocab, 64]"], "f32 [vocab, 64]")]);
    }
}
