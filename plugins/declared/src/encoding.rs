//! A declaration as an encoding.

use bitquilt_plugin_api::{EncodingSpec, Error, QuantizationEncoding, Result, Rows};

use crate::declaration::Declaration;

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
        let _ = importance;
        let declaration = &self.declaration;
        if declaration.spec().row_bytes(rows.row_len())?.checked_mul(rows.iter().len()) != Some(dst.len()) {
            return Err(Error::invalid(format_args!("the rows' blocks do not have {} bytes", dst.len())));
        }
        declaration.encode(rows.values(), dst);
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

impl Declaration {
    /// Encodes by absmax scaling.
    fn encode(&self, values: &[f32], dst: &mut [u8]) {
        let reach = self.levels.iter().fold(0f32, |most, level| most.max(level.abs()));
        for (values, block) in values.chunks_exact(self.block_len).zip(dst.chunks_exact_mut(self.block_bytes))
        {
            block.fill(0);
            if let Some(super_scale) = self.super_scale {
                super_scale.put(
                    block,
                    0,
                    match super_scale.stored {
                        crate::field::Stored::Float(dtype) => dtype.store(1.0),
                        crate::field::Stored::Bits(_) => 1,
                    },
                );
            }
            let mut codes = vec![0u8; self.block_len];
            let group_len = self.group_len();
            for (group, values) in values.chunks_exact(group_len).enumerate() {
                let most = values.iter().fold(0f32, |most, value| most.max(value.abs()));
                let ideal = f64::from(most) / f64::from(reach.max(f32::MIN_POSITIVE));
                let raw = match self.scale.stored {
                    crate::field::Stored::Float(dtype) => dtype.store(ideal),
                    crate::field::Stored::Bits(bits) => ideal.clamp(0.0, ((1 << bits) - 1) as f64) as u32,
                };
                self.scale.put(block, group, raw);
                let factors = self.factors(block, group);
                for (code, value) in codes[group * group_len..].iter_mut().zip(values) {
                    let error = |code: usize| (factors.value(self.levels[code]) - value).abs();
                    let best = (0..self.levels.len())
                        .filter(|code| self.meaning.is_written(*code as u32))
                        .min_by(|a, b| error(*a).total_cmp(&error(*b)));
                    *code = best.unwrap_or_default() as u8;
                }
            }
            let (at, bytes) = (self.codes.at, self.codes.bytes(self.block_len));
            crate::field::pack(&codes, self.codes.bits, self.codes.order, &mut block[at..][..bytes]);
        }
    }
}
