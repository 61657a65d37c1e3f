//! Quantization encodings: f32 rows to blocks of bytes and back.

use std::any::Any;
use std::borrow::Cow;

use crate::unpacking::{Unpacked, Unpacking};
use crate::{Error, Result};

/// A way to store f32 values as blocks of bytes.
///
/// An encoding cuts each row (the last dimension of a weight) into blocks of [`EncodingSpec::block_len`] values and
/// stores each as [`EncodingSpec::block_bytes`] bytes. The same values give the same bytes on every machine.
/// The host splits work over rows and threads: implementations are single-threaded and keep no state between calls.
pub trait QuantizationEncoding: Send + Sync + 'static {
    /// What the encoding is. Read once, when it is registered. `[load-thread]`
    fn spec(&self) -> EncodingSpec;

    /// Encodes whole rows. `[any-thread]`
    ///
    /// The values are finite and a row is a whole number of blocks (the host has checked). `importance` has one weight
    /// for each column of a row; it is there only if the encoding takes it, and always if it demands it.
    /// `dst` has exactly the bytes of the rows' blocks, in order, and is wholly written.
    fn quantize(&self, rows: Rows<'_>, importance: Option<&[f32]>, dst: &mut [u8]) -> Result<()>;

    /// Decodes any whole number of blocks. `[any-thread]`
    ///
    /// `blocks` are bytes from anywhere: what no encoder writes is decoded to some values or refused with an error.
    /// `dst` has exactly the values of the blocks and is wholly written.
    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()>;

    /// Unpacks any whole number of blocks into codes, scales and minima, of which the host's kernels prepare weights: for an encoding
    /// whose spec has an [`Unpacking`]. `[any-thread]`
    ///
    /// `blocks` are bytes from anywhere, as for [`Self::dequantize`], and what is unpacked says the same values: a host compares the two,
    /// and refuses a weight of which they differ. It is called for many blocks at a time, when a weight is prepared. There is room for
    /// exactly what the blocks unpack to; all of it is written.
    fn unpack(&self, blocks: &[u8], unpacked: &mut Unpacked<'_>) -> Result<()> {
        let _ = (blocks, unpacked);
        Err(Error::unsupported("the encoding does not unpack its blocks"))
    }
}

/// What an encoding is.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct EncodingSpec {
    /// Its name, with an optional namespace: `q4_0`, `acme.int3`.
    pub name: String,
    /// Version of the byte format; checkpoints record it.
    pub version: u32,
    /// Values in a block.
    pub block_len: usize,
    /// Bytes of a block.
    pub block_bytes: usize,
    /// Use of an importance vector.
    pub importance: Importance,
    /// One line for listings.
    pub summary: String,
    /// How far decoded values are from what was encoded, where that is proven.
    pub error_bound: Option<ErrorBound>,
    /// The layout of a block as canonical text, for a host that can read it, where the encoding is made of declared fields.
    pub layout: Option<String>,
    /// What its blocks unpack to, where it has a function for that.
    pub unpacking: Option<Unpacking>,
}

/// How far a decoded value is at most from the value that was encoded.
///
/// It holds for every block whose largest magnitude `m` is at most `greatest`, quantized without importance (with any, if the encoding
/// [ignores](Importance::Ignored) it): each of its values decodes within `fraction * max(m, least)`. A host takes it at its word, and does
/// not decode again what it has just encoded where that could show nothing.
#[derive(Clone, Copy, Debug, PartialEq)]
#[non_exhaustive]
pub struct ErrorBound {
    /// The error as a fraction of the largest magnitude in the block.
    pub fraction: f32,
    /// The magnitude below which the error is that of a block of this magnitude: where scales are rounded to zero, for instance.
    pub least: f32,
    /// The largest magnitude for which the bound holds.
    pub greatest: f32,
}

impl ErrorBound {
    /// A bound for magnitudes up to `greatest`.
    pub const fn new(fraction: f32, least: f32, greatest: f32) -> Self {
        Self { fraction, least, greatest }
    }
}

/// What an encoding does with an importance vector: a weight for each column, larger where errors cost more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Importance {
    /// It does not change the bytes.
    Ignored,
    /// It is used where there is one.
    Optional,
    /// There is no encoding without it.
    Required,
}

impl EncodingSpec {
    /// The longest block that a host takes, in values and in bytes.
    pub const MAX_BLOCK: usize = 1 << 20;

    /// Whether a block has values and bytes, and no more than [`Self::MAX_BLOCK`] of either.
    pub fn has_sane_block(&self) -> bool {
        let allowed = 1..=Self::MAX_BLOCK;
        allowed.contains(&self.block_len) && allowed.contains(&self.block_bytes)
    }

    /// Version 1 of an encoding that ignores importance.
    pub fn new(name: impl Into<String>, block_len: usize, block_bytes: usize) -> Self {
        let (name, summary) = (name.into(), String::new());
        let importance = Importance::Ignored;
        Self {
            name,
            version: 1,
            block_len,
            block_bytes,
            importance,
            summary,
            error_bound: None,
            layout: None,
            unpacking: None,
        }
    }

    /// Sets the version of the byte format.
    #[must_use]
    pub fn version(mut self, version: u32) -> Self {
        self.version = version;
        self
    }

    /// Sets the use of an importance vector.
    #[must_use]
    pub fn importance(mut self, importance: Importance) -> Self {
        self.importance = importance;
        self
    }

    /// Sets the line for listings.
    #[must_use]
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.summary = summary.into();
        self
    }

    /// Sets the error bound.
    #[must_use]
    pub fn error_bound(mut self, bound: ErrorBound) -> Self {
        self.error_bound = Some(bound);
        self
    }

    /// Sets the layout of a block, as canonical text.
    #[must_use]
    pub fn layout(mut self, layout: impl Into<String>) -> Self {
        self.layout = Some(layout.into());
        self
    }

    /// Says what its blocks unpack to.
    #[must_use]
    pub fn unpacking(mut self, unpacking: Unpacking) -> Self {
        self.unpacking = Some(unpacking);
        self
    }

    /// Bits of a block for each value in it.
    pub fn bits_per_value(&self) -> f64 {
        self.block_bytes as f64 * 8.0 / self.block_len as f64
    }

    /// Bytes of a row of `values` values; an error if that is no whole number of blocks.
    pub fn row_bytes(&self, values: usize) -> Result<usize> {
        if self.block_len == 0 || !values.is_multiple_of(self.block_len) {
            return Err(Error::invalid(format_args!(
                "a row of {values} values is no whole number of `{}` blocks of {} values",
                self.name, self.block_len
            )));
        }
        (values / self.block_len).checked_mul(self.block_bytes).ok_or_else(|| {
            Error::invalid(format_args!("a row of {values} values is too long for `{}`", self.name))
        })
    }

    /// The shape of the u8 bytes of a tensor of `shape` values; an error if its rows are no whole number of blocks.
    pub fn byte_shape(&self, shape: &[usize]) -> Result<Vec<usize>> {
        let Some((row, outer)) = shape.split_last() else {
            return Err(Error::invalid(format_args!(
                "a scalar cannot be encoded as `{}`: it has no rows",
                self.name
            )));
        };
        Ok([outer, &[self.row_bytes(*row)?]].concat())
    }
}

/// Consecutive rows of one length.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    values: &'a [f32],
    row_len: usize,
}

impl<'a> Rows<'a> {
    /// Rows of `row_len` values each; an error if `values` is no whole number of them.
    pub fn new(values: &'a [f32], row_len: usize) -> Result<Self> {
        if row_len == 0 || !values.len().is_multiple_of(row_len) {
            return Err(Error::invalid(format_args!("{} values are no rows of {row_len}", values.len())));
        }
        Ok(Self { values, row_len })
    }

    /// All values, row after row.
    pub fn values(&self) -> &'a [f32] {
        self.values
    }

    /// Values in a row.
    pub fn row_len(&self) -> usize {
        self.row_len
    }

    /// Each row.
    pub fn iter(&self) -> std::slice::ChunksExact<'a, f32> {
        self.values.chunks_exact(self.row_len)
    }
}

impl<'a> IntoIterator for Rows<'a> {
    type Item = &'a [f32];
    type IntoIter = std::slice::ChunksExact<'a, f32>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

/// A registered encoding, whoever wrote it. Arguments are checked before they reach the author.
#[derive(Clone, Copy)]
pub struct Encoding<'a> {
    encoding: &'a dyn Erased,
    block_len: usize,
    block_bytes: usize,
    /// What it is, where the host has it: a library makes it anew each time that it is asked.
    spec: Option<&'a EncodingSpec>,
}

/// An encoding of any library, behind its border.
pub(crate) trait Erased: QuantizationEncoding + Any {}

impl<'a> Encoding<'a> {
    /// `block_len` and `block_bytes` are those of its spec.
    pub(crate) fn new(encoding: &'a dyn Erased, block_len: usize, block_bytes: usize) -> Self {
        Self { encoding, block_len, block_bytes, spec: None }
    }

    /// An encoding that the host has asked what it is.
    pub(crate) fn known(encoding: &'a dyn Erased, spec: &'a EncodingSpec) -> Self {
        Self { spec: Some(spec), ..Self::new(encoding, spec.block_len, spec.block_bytes) }
    }

    pub(crate) fn erased(self) -> &'a dyn Any {
        self.encoding
    }

    /// What it is.
    pub fn spec(&self) -> Cow<'a, EncodingSpec> {
        self.spec.map_or_else(|| Cow::Owned(self.encoding.spec()), Cow::Borrowed)
    }

    /// Values in a block.
    pub fn block_len(&self) -> usize {
        self.block_len
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Encodes whole rows of finite values. `importance` has a weight for each column; `dst` has the bytes of the rows' blocks.
    pub fn quantize(&self, rows: Rows<'_>, importance: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        let spec = self.spec();
        let need = spec.row_bytes(rows.row_len())?.checked_mul(rows.iter().len());
        if need != Some(dst.len()) {
            return Err(Error::invalid(format_args!("the rows' blocks do not have {} bytes", dst.len())));
        }
        let importance = match (importance, spec.importance) {
            (Some(weights), _) if weights.len() != rows.row_len() => {
                let (weights, columns) = (weights.len(), rows.row_len());
                return Err(Error::invalid(format_args!(
                    "the importance vector has {weights} weights for rows of {columns} columns"
                )));
            }
            (None, Importance::Required) => {
                return Err(Error::invalid(format_args!(
                    "`{}` needs an importance vector: one weight for each of the {} columns",
                    spec.name,
                    rows.row_len()
                )));
            }
            (_, Importance::Ignored) => None,
            (weights, _) => weights,
        };
        self.encoding.quantize(rows, importance, dst)
    }

    /// Decodes whole blocks; `dst` has their values.
    pub fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        let fits = self.block_bytes != 0
            && blocks.len().is_multiple_of(self.block_bytes)
            && (blocks.len() / self.block_bytes).checked_mul(self.block_len) == Some(dst.len());
        if !fits {
            let (bytes, values) = (blocks.len(), dst.len());
            return Err(Error::invalid(format_args!(
                "{bytes} bytes are not the blocks of {values} values: a block has {} values in {} bytes",
                self.block_len, self.block_bytes
            )));
        }
        self.encoding.dequantize(blocks, dst)
    }

    /// Unpacks whole blocks; there is room for exactly what they unpack to. What the author gave is checked.
    pub fn unpack(&self, blocks: &[u8], unpacked: &mut Unpacked<'_>) -> Result<()> {
        let spec = self.spec();
        if self.block_bytes == 0 || !blocks.len().is_multiple_of(self.block_bytes) {
            let bytes = blocks.len();
            return Err(Error::invalid(format_args!(
                "{bytes} bytes are no whole blocks: a block has {} bytes",
                self.block_bytes
            )));
        }
        let unpacking = spec
            .unpacking
            .ok_or_else(|| Error::unsupported(format_args!("`{}` does not unpack its blocks", spec.name)))?;
        unpacked.check_room(&spec.name, unpacking, self.block_len, blocks.len() / self.block_bytes)?;
        self.encoding.unpack(blocks, unpacked)?;
        unpacked.check(&spec.name, unpacking, self.block_len)
    }
}
