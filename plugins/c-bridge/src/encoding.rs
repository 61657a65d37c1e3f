//! An encoding that C describes.

use bitquilt_declared::{Declaration, DeclaredEncoding};
use bitquilt_plugin_api::{
    EncodingSpec, Error, Importance, QuantizationEncoding, Result, Rows, Unpacked, Unpacking,
};

use crate::call::{User, call};
use crate::header::{DequantizeFn, QuantizeFn, RawEncoding, UnpackFn};
use crate::read::{self, Item};

/// The longest layout, in bytes, the zero at its end included.
const MAX_LAYOUT: usize = 1 << 16;

/// An encoding that C has functions for, or only declares.
pub(crate) enum AnyEncoding {
    Coded(CEncoding),
    Declared(DeclaredEncoding),
}

impl AnyEncoding {
    /// Reads the description; `what` names it in errors.
    pub(crate) fn read(what: &str, raw: &Item<RawEncoding>) -> Result<Self> {
        let record = raw.read(what)?;
        match (record.quantize, record.dequantize) {
            (None, None) if record.layout.is_some() => Self::declared(what, &record).map(Self::Declared),
            _ => CEncoding::read(what, raw).map(Self::Coded),
        }
    }

    /// The encoding that the layout alone says all of.
    fn declared(what: &str, raw: &RawEncoding) -> Result<DeclaredEncoding> {
        if unpacking(what, raw)?.is_some() {
            return Err(Error::invalid(format_args!(
                "{what}->unpack is there, and {what}->dequantize, which it has to agree with, is NULL; leave it NULL: the layout says what \
                 blocks unpack to"
            )));
        }
        let text = raw.layout.read_long(&format!("{what}->layout"), MAX_LAYOUT)?;
        let declaration = Declaration::parse(&text)
            .map_err(|error| Error::invalid(format_args!("{what}->layout: {error}")))?;
        let name = raw.name.read(&format!("{what}->name"))?;
        if declaration.name() != name {
            return Err(Error::invalid(format_args!(
                "{what}->layout declares the encoding `{}`, and {what}->name is `{name}`; they must be the same",
                declaration.name()
            )));
        }
        let of_layout = (declaration.version(), declaration.block_len(), declaration.block_bytes());
        let (version, len, bytes) = (raw.version, raw.block_len, raw.block_bytes);
        if (version, len, bytes) != (0, 0, 0) && (version, len, bytes) != of_layout {
            let (its_version, its_len, its_bytes) = of_layout;
            return Err(Error::invalid(format_args!(
                "{what} has version {version} and blocks of {len} values in {bytes} bytes, its layout declares version {its_version} and \
                 {its_len} in {its_bytes}; leave the three 0, or make them the same"
            )));
        }
        Ok(DeclaredEncoding::new(declaration))
    }
}

pub(crate) struct CEncoding {
    spec: EncodingSpec,
    user: User,
    quantize: QuantizeFn,
    dequantize: DequantizeFn,
    unpack: Option<UnpackFn>,
}

/// What blocks unpack to, if there is a function for it.
fn unpacking(what: &str, raw: &RawEncoding) -> Result<Option<Unpacking>> {
    let RawEncoding { group_len, code_bits, code_offset, .. } = *raw;
    let has_minima = read::switch(&format!("{what}->has_minima"), raw.has_minima)?;
    read::reserved(&format!("{what}->reserved"), raw.reserved)?;
    if raw.unpack.is_none() {
        return match (group_len, code_bits, code_offset, has_minima) {
            (0, 0, 0, false) => Ok(None),
            _ => Err(Error::invalid(format_args!(
                "{what}->unpack is NULL, and group_len is {group_len}, code_bits {code_bits}, code_offset {code_offset}, has_minima {}, \
                 which say what it gives; leave them 0",
                raw.has_minima
            ))),
        };
    }
    let unpacking = Unpacking::new(group_len, code_bits).offset(code_offset);
    let unpacking = if has_minima { unpacking.with_min() } else { unpacking };
    match unpacking.problem(raw.block_len) {
        Some(problem) => Err(Error::invalid(format_args!("{what}->unpack is there, but {problem}"))),
        None => Ok(Some(unpacking)),
    }
}

impl CEncoding {
    /// Reads the description; `what` names it in errors.
    fn read(what: &str, raw: &Item<RawEncoding>) -> Result<Self> {
        let raw = raw.read(what)?;
        let name = raw.name.read(&format!("{what}->name"))?;
        let summary = raw.summary.read_or_empty(&format!("{what}->summary"))?;
        let importance = match raw.importance {
            0 => Importance::Ignored,
            1 => Importance::Optional,
            2 => Importance::Required,
            code => {
                return Err(Error::invalid(format_args!(
                    "{what}->importance is {code}; BITQUILT_IMPORTANCE_IGNORED, _OPTIONAL or _REQUIRED is expected"
                )));
            }
        };
        let mut spec = EncodingSpec::new(name, raw.block_len, raw.block_bytes)
            .version(raw.version)
            .importance(importance)
            .summary(summary);
        if raw.layout.is_some() {
            spec = spec.layout(raw.layout.read_long(&format!("{what}->layout"), MAX_LAYOUT)?);
        }
        if let Some(unpacking) = unpacking(what, &raw)? {
            spec = spec.unpacking(unpacking);
        }
        Ok(Self {
            spec,
            unpack: raw.unpack,
            user: User(raw.user),
            quantize: read::function(&format!("{what}->quantize"), raw.quantize)?,
            dequantize: read::function(&format!("{what}->dequantize"), raw.dequantize)?,
        })
    }
}

impl QuantizationEncoding for CEncoding {
    fn spec(&self) -> EncodingSpec {
        self.spec.clone()
    }

    fn quantize(&self, rows: Rows<'_>, importance: Option<&[f32]>, dst: &mut [u8]) -> Result<()> {
        let (values, count, row_len) = (rows.values().as_ptr(), rows.iter().len(), rows.row_len());
        let importance = importance.map_or(std::ptr::null(), <[f32]>::as_ptr);
        call("quantize", |error| {
            // SAFETY: the buffers have the lengths that the header says: the host has checked them against the spec.
            unsafe {
                (self.quantize)(self.user.get(), values, count, row_len, importance, dst.as_mut_ptr(), error)
            }
        })
    }

    fn dequantize(&self, blocks: &[u8], dst: &mut [f32]) -> Result<()> {
        let count = blocks.len() / self.spec.block_bytes;
        call("dequantize", |error| {
            // SAFETY: as above.
            unsafe { (self.dequantize)(self.user.get(), blocks.as_ptr(), count, dst.as_mut_ptr(), error) }
        })
    }

    fn unpack(&self, blocks: &[u8], unpacked: &mut Unpacked<'_>) -> Result<()> {
        let unpack = self
            .unpack
            .ok_or_else(|| Error::unsupported(format_args!("`{}` has no `unpack`", self.spec.name)))?;
        let count = blocks.len() / self.spec.block_bytes;
        let (codes, scales) = (unpacked.codes.as_mut_ptr(), unpacked.scales.as_mut_ptr());
        let has_min = self.spec.unpacking.is_some_and(|unpacking| unpacking.has_min);
        let minima = if has_min { unpacked.mins.as_mut_ptr() } else { std::ptr::null_mut() };
        call("unpack", |error| {
            // SAFETY: as above; there are minima where the description says so.
            unsafe { unpack(self.user.get(), blocks.as_ptr(), count, codes, scales, minima, error) }
        })
    }
}
