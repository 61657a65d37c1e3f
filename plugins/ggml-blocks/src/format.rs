//! What a format is: the trait that each implements, and the plain descriptor made from it.

use bytemuck::Pod;

use bitquilt_simd::Isa;

use crate::lanes::{AnyLanes, Body, Lanes, lanes_of};

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

/// A bound that holds for every value of a block with the largest magnitude `m`, if `m` is at most `greatest` and there is no importance:
/// it decodes within `fraction * max(m, least)`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProvenError {
    /// The error as a fraction of the largest magnitude.
    pub fraction: f32,
    /// The magnitude below which the error no longer gets smaller.
    pub least: f32,
    /// The largest magnitude for which the bound holds.
    pub greatest: f32,
}

/// A format that stores each [`Self::BLOCK_LEN`] consecutive values of a row as one [`Self::Block`].
pub trait BlockFormat: Send + Sync + 'static {
    /// The format's name as ggml writes it, in lower case: `q4_0`, `iq2_xxs`.
    const NAME: &'static str;
    /// The format's number in files: its value in ggml's `enum ggml_type`.
    const GGML_TYPE: u32;
    /// Values in a block.
    const BLOCK_LEN: usize;
    /// Use of an importance vector.
    const IMPORTANCE: Importance;
    /// What the error of a value that is quantized and decoded stays below, as a fraction of the largest magnitude in its block. Of formats that
    /// search, it is no proof, but a good deal more than any error that was seen.
    ///
    /// It holds without importance and with the same for all columns, for blocks whose largest magnitude is from 2^-5 to
    /// 2^5: there no scale is rounded to zero or infinity, whatever its format.
    const ERROR_BOUND: f32;
    /// How far values are from what they decode to, if that is proven.
    const PROVEN_ERROR: Option<ProvenError> = None;
    /// Where in a block its half-precision floats are.
    const HALVES: &'static [usize] = &[];
    /// The bytes of a block: `repr(C)`, alignment 1, no padding, every bit pattern legal.
    type Block: Pod + Send + Sync;

    /// Quantizes one whole row. `row.len()` is `blocks.len() * BLOCK_LEN`, the values are finite, and
    /// `importance`, where given, is as long as the row and finite.
    ///
    /// The lanes of `V` hold different blocks; they change how many are quantized at once, and no byte. It is compiled
    /// for each instruction set, so it and all that it calls for each block should be `#[inline(always)]`.
    fn quantize_row_in<V: Lanes>(row: &[f32], importance: Option<&[f32]>, blocks: &mut [Self::Block]);

    /// [`Self::quantize_row_in`] with one lane: the reference.
    fn quantize_row(row: &[f32], importance: Option<&[f32]>, blocks: &mut [Self::Block]) {
        Self::quantize_row_in::<f32>(row, importance, blocks);
    }

    /// Decodes whole blocks. `dst.len()` is `blocks.len() * BLOCK_LEN`. Compiled for each instruction set, too.
    fn dequantize_in<V: Lanes>(blocks: &[Self::Block], dst: &mut [f32]);

    /// [`Self::dequantize_in`] with one lane: the reference.
    fn dequantize(blocks: &[Self::Block], dst: &mut [f32]) {
        Self::dequantize_in::<f32>(blocks, dst);
    }
}

/// [`BlockFormat::quantize_row_in`].
struct QuantizeRow<'a, F: BlockFormat> {
    row: &'a [f32],
    importance: Option<&'a [f32]>,
    blocks: &'a mut [F::Block],
}

impl<F: BlockFormat> Body for QuantizeRow<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        F::quantize_row_in::<V>(self.row, self.importance, self.blocks);
    }
}

/// [`BlockFormat::dequantize_in`].
struct Dequantize<'a, F: BlockFormat> {
    blocks: &'a [F::Block],
    dst: &'a mut [f32],
}

impl<F: BlockFormat> Body for Dequantize<'_, F> {
    type Output = ();

    #[inline(always)]
    fn run<V: Lanes>(self) {
        F::dequantize_in::<V>(self.blocks, self.dst);
    }
}

type QuantizeRowIn = fn(AnyLanes, &[f32], Option<&[f32]>, &mut [u8]);

/// A format as a value: the facts and functions of a [`BlockFormat`], over plain bytes at any address.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// The format's name as ggml writes it, in lower case.
    pub name: &'static str,
    /// The format's number in files: its value in ggml's `enum ggml_type`.
    pub ggml_type: u32,
    /// Values in a block.
    pub block_len: usize,
    /// Bytes of a block.
    pub block_bytes: usize,
    /// Use of an importance vector.
    pub importance: Importance,
    /// See [`BlockFormat::ERROR_BOUND`].
    pub error_bound: f32,
    /// See [`BlockFormat::PROVEN_ERROR`].
    pub proven_error: Option<ProvenError>,
    /// Where in a block its half-precision floats are.
    pub halves: &'static [usize],
    quantize_row: QuantizeRowIn,
    dequantize: fn(AnyLanes, &[u8], &mut [f32]),
}

impl Format {
    /// The descriptor of `F`.
    pub const fn of<F: BlockFormat>() -> Self {
        const { assert!(align_of::<F::Block>() == 1, "a block may start at any address") };
        Self {
            name: F::NAME,
            ggml_type: F::GGML_TYPE,
            block_len: F::BLOCK_LEN,
            block_bytes: size_of::<F::Block>(),
            importance: F::IMPORTANCE,
            error_bound: F::ERROR_BOUND,
            proven_error: F::PROVEN_ERROR,
            halves: F::HALVES,
            quantize_row: |lanes, row, importance, bytes| {
                let blocks = bytemuck::cast_slice_mut(bytes);
                lanes.run(QuantizeRow::<F> { row, importance, blocks });
            },
            dequantize: |lanes, bytes, dst| {
                lanes.run(Dequantize::<F> { blocks: bytemuck::cast_slice(bytes), dst });
            },
        }
    }

    /// Bytes of a row of `len` values, or `None` where `len` is no multiple of the block length.
    pub const fn row_bytes(&self, len: usize) -> Option<usize> {
        match len % self.block_len {
            0 => (len / self.block_len).checked_mul(self.block_bytes),
            _ => None,
        }
    }

    /// Quantizes the rows of `rows`, each of `row_len` finite values, one after the other into `dst`.
    ///
    /// `importance` has `row_len` finite values and serves every row.
    ///
    /// # Panics
    /// If a length does not fit: `row_len` to the block, `rows` to `row_len`, `dst` to `rows`, `importance` to
    /// `row_len`; or if the importance that the format requires is missing.
    pub fn quantize(&self, rows: &[f32], row_len: usize, importance: Option<&[f32]>, dst: &mut [u8]) {
        self.quantize_with(Isa::detect(), rows, row_len, importance, dst);
    }

    /// [`Self::quantize`] with an instruction set of choice; the bytes are the same.
    ///
    /// # Panics
    /// As [`Self::quantize`].
    pub fn quantize_with(
        &self,
        isa: Isa,
        rows: &[f32],
        row_len: usize,
        importance: Option<&[f32]>,
        dst: &mut [u8],
    ) {
        let row_bytes = self.row_bytes(row_len).filter(|&bytes| bytes > 0).expect("a row is whole blocks");
        assert_eq!(rows.len() % row_len, 0, "whole rows");
        assert_eq!(dst.len() / row_bytes, rows.len() / row_len, "one encoded row for each row");
        assert_eq!(dst.len() % row_bytes, 0, "whole encoded rows");
        assert!(importance.is_none_or(|i| i.len() == row_len), "one importance for each column");
        assert!(importance.is_some() || self.importance != Importance::Required, "importance is required");
        let lanes = lanes_of(isa);
        for (row, bytes) in rows.chunks_exact(row_len).zip(dst.chunks_exact_mut(row_bytes)) {
            (self.quantize_row)(lanes, row, importance, bytes);
        }
    }

    /// Decodes any number of whole blocks.
    ///
    /// # Panics
    /// If `blocks` are not whole blocks, or `dst` is not as long as what they hold.
    pub fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) {
        self.dequantize_with(Isa::detect(), blocks, dst);
    }

    /// [`Self::dequantize`] with an instruction set of choice; the values are the same.
    ///
    /// # Panics
    /// As [`Self::dequantize`].
    pub fn dequantize_with(&self, isa: Isa, blocks: &[u8], dst: &mut [f32]) {
        assert_eq!(blocks.len() % self.block_bytes, 0, "whole blocks");
        assert_eq!(dst.len() / self.block_len, blocks.len() / self.block_bytes, "one value for each encoded");
        assert_eq!(dst.len() % self.block_len, 0, "whole decoded blocks");
        (self.dequantize)(lanes_of(isa), blocks, dst);
    }
}
