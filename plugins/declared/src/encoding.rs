//! A declaration as an encoding.

use bitquilt_plugin_api::{EncodingSpec, Error, QuantizationEncoding, Result, Rows};

use crate::declaration::Declaration;
use crate::encode::Encoder;

/// The encoding that a declaration describes.
#[derive(Clone, Debug)]
pub struct DeclaredEncoding {
    declaration: Declaration,
}

impl DeclaredEncoding {
    /// The encoding of a declaration.
    pub fn new(declaration: Declaration) -> Self {
        Self { declaration }
    }

    /// What it was made of.
    pub fn declaration(&self) -> &Declaration {
        &self.declaration
    }
}

impl QuantizationEncoding for DeclaredEncoding {
    fn spec(&self) -> EncodingSpec {
        self.declaration.spec()
    }

    fn quantize(&self, rows: Rows<'_>, importance: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        let (len, bytes) = (self.declaration.block_len(), self.declaration.block_bytes());
        let blocks = rows.values().len() / len;
        if !rows.row_len().is_multiple_of(len) || blocks.checked_mul(bytes) != Some(dst.len()) {
            return Err(Error::invalid(format_args!(
                "{} bytes are not the blocks of rows of {} values: a block has {len} values in {bytes} bytes",
                dst.len(),
                rows.row_len()
            )));
        }
        if let Some(weights) = importance.filter(|weights| weights.len() != rows.row_len()) {
            return Err(Error::invalid(format_args!(
                "the importance vector has {} weights for rows of {} columns",
                weights.len(),
                rows.row_len()
            )));
        }
        Encoder::new(&self.declaration).encode(rows, importance, dst);
        Ok(())
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        let (len, bytes) = (self.declaration.block_len(), self.declaration.block_bytes());
        if !blocks.len().is_multiple_of(bytes) || blocks.len() / bytes * len != dst.len() {
            return Err(Error::invalid(format_args!(
                "{} bytes are not the blocks of {} values: a block has {len} values in {bytes} bytes",
                blocks.len(),
                dst.len()
            )));
        }
        self.declaration.decode(blocks, dst);
        Ok(())
    }
}
