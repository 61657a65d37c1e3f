//! Another well-behaved plugin: `second.half`, the upper half of each f32.

use bitquilt_plugin_api::half::bf16;
use bitquilt_plugin_api::{EncodingSpec, Plugin, QuantizationEncoding, Result, Rows, export_plugin};

struct Half;

impl QuantizationEncoding for Half {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new("second.half", 1, 2)
    }

    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        for (value, bytes) in rows.values().iter().zip(dst.chunks_exact_mut(2)) {
            bytes.copy_from_slice(&bf16::from_f32(*value).to_le_bytes());
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        for (bytes, value) in blocks.chunks_exact(2).zip(dst) {
            *value = bf16::from_le_bytes([bytes[0], bytes[1]]).to_f32();
        }
        Ok(())
    }
}

fn plugin() -> Plugin {
    Plugin::new("fixture-second", env!("CARGO_PKG_VERSION")).encoding(Half)
}

export_plugin!(plugin);
