//! An encoding that C describes.

use bitquilt_declared::{Declaration, DeclaredEncoding};
use bitquilt_plugin_api::{EncodingSpec, Error, Importance, QuantizationEncoding, Result, Rows};

use crate::call::{User, call};
use crate::header::{DequantizeFn, QuantizeFn, RawEncoding};
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
        Ok(Self {
            spec,
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
}
