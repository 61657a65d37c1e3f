//! Weights that are prepared of what their encoding unpacks them to.
//!
//! Each 32 values become a block of a declared layout, with their codes, scales and minima as they are, for which there are kernels.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter};
use std::ops::Range;

use bitquilt_declared::{Declaration, ScaleDType};
use bitquilt_kernels::{EncodingKernels, Isa, Lent, PackedWeight, RowSource, STRIP_LEN, prepared};
use bitquilt_plugin_api::{
    Encoding, EncodingSpec, Error, PrepareContext, Prepared, Result, Unpacked, Unpacking,
};

use crate::matrix::matrix_shape;

/// Bytes of a scale, and of a minimum.
const FACTOR_BYTES: usize = size_of::<f32>();

/// What an encoding unpacks to, as blocks of a declared layout.
pub(crate) struct Strips {
    name: String,
    unpacking: Unpacking,
    layout: Declaration,
    /// Parts of a strip with factors of their own.
    parts: usize,
}

impl Strips {
    /// Those of an encoding; or why there are none.
    pub(crate) fn of(spec: &EncodingSpec, unpacking: Unpacking) -> std::result::Result<Self, String> {
        if let Some(problem) = unpacking.problem(spec.block_len) {
            return Err(format!("`{}` cannot be unpacked: {problem}", spec.name));
        }
        let parts = if unpacking.group_len.is_multiple_of(STRIP_LEN) { 1 } else { 2 };
        let scales = parts * FACTOR_BYTES;
        let at = if unpacking.has_min { 2 * scales } else { scales };
        let code_bytes = STRIP_LEN / 8 * unpacking.code_bits as usize;
        let layout = Declaration::builder(&spec.name, STRIP_LEN, at + code_bytes)
            .groups(parts)
            .codes(at, unpacking.code_bits)
            .offset(unpacking.code_offset)
            .scale(0, ScaleDType::F32);
        let layout = if unpacking.has_min { layout.min(scales, ScaleDType::F32) } else { layout };
        let layout =
            layout.build().map_err(|error| format!("`{}` cannot be unpacked: {error}", spec.name))?;
        Ok(Self { name: spec.name.clone(), unpacking, layout, parts })
    }

    /// The layout of a strip.
    pub(crate) fn layout(&self) -> &Declaration {
        &self.layout
    }

    /// The kernel for a node, whose weight is unpacked here.
    pub(crate) fn prepare(
        &self,
        cx: &PrepareContext<'_>,
        kernels: &EncodingKernels,
        isa: Isa,
    ) -> Result<Prepared> {
        let [p, n] = matrix_shape("w", &cx.inputs()[1])?;
        let weight = cx.constant(1).ok_or_else(|| Error::failed("the weight is not a constant"))?;
        let rows = Rows { strips: self, encoding: cx.decoder(&self.name)?, weight: weight.bytes(), n, p };
        let par = Lent(cx.executor());
        let packed = PackedWeight::pack_rows(kernels, isa, n, p, &rows, &par, |bytes| cx.memory(bytes));
        Ok(prepared(packed.map_err(Error::failed)?, isa))
    }

    /// Adds the strips of a row.
    fn put(&self, row: &Unpacked<'_>, strips: &mut Vec<u8>) {
        for (index, codes) in row.codes.chunks_exact(STRIP_LEN).enumerate() {
            let first = strips.len();
            let groups = (0..self.parts)
                .map(|part| (STRIP_LEN * index + STRIP_LEN / self.parts * part) / self.unpacking.group_len);
            groups.clone().for_each(|group| strips.extend(row.scales[group].to_le_bytes()));
            if self.unpacking.has_min {
                groups.for_each(|group| strips.extend(row.mins[group].to_le_bytes()));
            }
            strips.resize(first + self.layout.block_bytes(), 0);
            self.layout.put_codes(codes, &mut strips[first..]);
        }
    }
}

/// What `explain` says of the kernels.
impl Display for Strips {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Unpacking { group_len, code_bits, has_min, .. } = self.unpacking;
        let factors = if has_min { "a scale and a minimum" } else { "a scale" };
        let bits = if code_bits == 1 { "bit" } else { "bits" };
        write!(f, "unpacked by `{}`: codes of {code_bits} {bits}, {factors} for each {group_len}", self.name)
    }
}

/// The rows of a weight as strips, which its encoding makes.
struct Rows<'a> {
    strips: &'a Strips,
    encoding: Encoding<'a>,
    weight: &'a [u8],
    n: usize,
    p: usize,
}

impl RowSource for Rows<'_> {
    fn rows(&self, rows: Range<usize>) -> Result<Cow<'_, [u8]>> {
        let unpacking = self.strips.unpacking;
        let groups = self.n / unpacking.group_len;
        let (mut codes, mut scales) = (vec![0; self.n], vec![0.0; groups]);
        let mut mins = vec![0.0; if unpacking.has_min { groups } else { 0 }];
        let mut strips = Vec::new();
        for row in rows {
            let mut unpacked = Unpacked { codes: &mut codes, scales: &mut scales, mins: &mut mins };
            self.unpack(row, &mut unpacked).map_err(|error| {
                Error::new(error.kind(), format_args!("row {row} of `w` cannot be prepared: {error}"))
            })?;
            self.strips.put(&unpacked, &mut strips);
        }
        Ok(Cow::Owned(strips))
    }
}

impl Rows<'_> {
    /// Unpacks a row, and compares one of its blocks, each row another, with what `dequantize` makes of it.
    fn unpack(&self, row: usize, unpacked: &mut Unpacked<'_>) -> Result<()> {
        let row_bytes = self.weight.len() / self.p;
        let bytes = &self.weight[row * row_bytes..][..row_bytes];
        self.encoding.unpack(bytes, unpacked)?;
        let (block_len, block_bytes) = (self.encoding.block_len(), self.encoding.block_bytes());
        let block = row % (self.n / block_len);
        let mut decoded = vec![0.0; block_len];
        self.encoding.dequantize(&bytes[block * block_bytes..][..block_bytes], &mut decoded)?;
        for (index, decoded) in decoded.into_iter().enumerate() {
            let value = block * block_len + index;
            let (code, group) = (unpacked.codes[value], value / self.strips.unpacking.group_len);
            let (scale, min) =
                (unpacked.scales[group], unpacked.mins.get(group).copied().unwrap_or_default());
            if !self.strips.unpacking.agrees(code, scale, min, decoded) {
                return Err(Error::failed(format_args!(
                    "`unpack` of `{}` makes value {index} of block {block} {}, and `dequantize` {decoded}; the two must agree",
                    self.strips.name,
                    self.strips.unpacking.value(code, scale, min)
                )));
            }
        }
        Ok(())
    }
}
