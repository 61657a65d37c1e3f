//! The block formats of GGML: layouts, quantization and decoding, identical to ggml's to the byte.
//!
//! A plain library: it knows nothing of graphs or plugins. A format is a type that implements [`BlockFormat`];
//! there is one file a format. The code here is the reference against which every faster kernel is tested.

/// What quantization to a format does with an importance vector: one weight an input column, in f32.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Importance {
    /// The vector does not change the bytes.
    Ignored,
    /// The bytes differ with and without the vector, and both are defined.
    Optional,
    /// The format cannot be written without the vector.
    Required,
}

/// A format that stores each [`Self::BLOCK_LEN`] consecutive values of a row as one [`Self::Block`].
pub trait BlockFormat: Send + Sync + 'static {
    /// The format's name as ggml writes it, in lower case: `q4_0`, `iq2_xxs`.
    const NAME: &'static str;
    /// Values in a block.
    const BLOCK_LEN: usize;
    /// Use of an importance vector.
    const IMPORTANCE: Importance;
    /// The bytes of a block: `repr(C)`, alignment 1 or 2, no padding, every bit pattern legal.
    type Block: bytemuck::Pod + Send + Sync;

    /// Quantizes one whole row. `row.len()` is `blocks.len() * BLOCK_LEN`, the values are finite, and
    /// `importance`, where given, is as long as the row.
    fn quantize_row(row: &[f32], importance: Option<&[f32]>, blocks: &mut [Self::Block]);

    /// Decodes whole blocks. `dst.len()` is `blocks.len() * BLOCK_LEN`.
    fn dequantize(blocks: &[Self::Block], dst: &mut [f32]);
}
