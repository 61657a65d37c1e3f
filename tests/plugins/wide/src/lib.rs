//! A plugin that uses what few do: an effect, inputs by name, attributes of every kind, kernels above others, and an op of two weights.

mod gemv;
mod mix;
mod pair;
mod tick;

use bitquilt_plugin_api::{EncodingSpec, Plugin, QuantizationEncoding, Result, Rows, export_plugin};

/// f32 as it is, with a layout that is declared.
struct Plain;

impl QuantizationEncoding for Plain {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new("wide.plain", 4, 16).layout("block_len = 4\nblock_bytes = 16\n")
    }

    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        let values = rows.values().iter().zip(dst.as_chunks_mut().0);
        values.for_each(|(value, bytes)| *bytes = value.to_le_bytes());
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        let values = dst.iter_mut().zip(blocks.as_chunks().0);
        values.for_each(|(value, bytes)| *value = f32::from_le_bytes(*bytes));
        Ok(())
    }
}

fn plugin() -> Plugin {
    Plugin::new("fixture-wide", env!("CARGO_PKG_VERSION"))
        .encoding(Plain)
        .simple_op(tick::Tick::default())
        .simple_op(pair::Pair)
        .op(mix::Mix)
        .kernel(mix::Mix)
        .kernel(gemv::Gemv)
}

export_plugin!(plugin);
