//! The quantization encodings of GGML, as a bitquilt plugin.
//!
//! Each block format of [`bitquilt_ggml_blocks`] is an encoding of the format's name (`q4_0`, `q6_k`, `bf16`), whose bytes and
//! decoded values are ggml's own. The same plugin loads from a file: the example `ggml_plugin` exports it.

use bitquilt_ggml_blocks::{FORMATS, Format, Importance as FormatImportance, Isa};
use bitquilt_plugin_api::{EncodingSpec, ErrorBound, Importance, Plugin, QuantizationEncoding, Result, Rows};

/// The plugin: an encoding for every format, which encodes and decodes by the fastest instruction set of this machine.
pub fn plugin() -> Plugin {
    plugin_for(Isa::detect())
}

/// The plugin, whose encodings have the same bytes and values, and use the code for `isa`, which the machine has.
pub fn plugin_for(isa: Isa) -> Plugin {
    let plugin = Plugin::new("ggml", env!("CARGO_PKG_VERSION")).encoding(Single);
    FORMATS.iter().fold(plugin, |plugin, format| plugin.encoding(GgmlEncoding { format, isa }))
}

/// `f32` as an encoding, in little-endian bytes: a weight that is not encoded yet has a place in a graph where another one would be.
struct Single;

impl QuantizationEncoding for Single {
    fn spec(&self) -> EncodingSpec {
        EncodingSpec::new("f32", 1, 4)
            .importance(Importance::Ignored)
            .summary("f32 values as they are")
            .error_bound(ErrorBound::new(0.0, 0.0, f32::MAX))
    }

    fn quantize(&self, rows: Rows<'_>, _: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        for (value, bytes) in rows.values().iter().zip(dst.chunks_exact_mut(4)) {
            bytes.copy_from_slice(&value.to_le_bytes());
        }
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        for (bytes, value) in blocks.as_chunks::<4>().0.iter().zip(dst) {
            *value = f32::from_le_bytes(*bytes);
        }
        Ok(())
    }
}

/// A block format as an encoding.
struct GgmlEncoding {
    format: &'static Format,
    isa: Isa,
}

impl QuantizationEncoding for GgmlEncoding {
    fn spec(&self) -> EncodingSpec {
        let Format { name, block_len, block_bytes, importance, .. } = *self.format;
        let importance = match importance {
            FormatImportance::Ignored => Importance::Ignored,
            FormatImportance::Optional => Importance::Optional,
            FormatImportance::Required => Importance::Required,
        };
        let summary = match block_len {
            1 => format!("{name} values as they are"),
            _ => format!("GGML's {}", name.to_uppercase()),
        };
        let spec = EncodingSpec::new(name, block_len, block_bytes).importance(importance).summary(summary);
        match self.format.proven_error {
            Some(proven) => spec.error_bound(ErrorBound::new(proven.fraction, proven.least, proven.greatest)),
            None => spec,
        }
    }

    fn quantize(&self, rows: Rows<'_>, importance: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        self.format.quantize_with(self.isa, rows.values(), rows.row_len(), importance, dst);
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        self.format.dequantize_with(self.isa, blocks, dst);
        Ok(())
    }
}
