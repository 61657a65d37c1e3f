//! A declaration before it is checked.

use std::collections::BTreeMap;

use crate::declaration::Declaration;
use crate::error::{DeclarationError, Problem};
use crate::field::Order;
use crate::float::{CodeDType, ScaleDType};

/// What a text or a builder says. Numbers are as they were given.
#[derive(Clone, Debug, Default)]
pub(crate) struct Draft {
    pub(crate) name: Option<String>,
    pub(crate) version: Option<i64>,
    pub(crate) summary: Option<String>,
    pub(crate) block_len: Option<i64>,
    pub(crate) block_bytes: Option<i64>,
    pub(crate) groups: Option<i64>,
    pub(crate) codes: Option<DraftCodes>,
    pub(crate) values: Option<Vec<f32>>,
    pub(crate) unused: Option<f32>,
    pub(crate) offset: Option<i64>,
    pub(crate) signed: bool,
    pub(crate) scale: Option<DraftEntries>,
    pub(crate) super_scale: Option<DraftEntries>,
    pub(crate) min: Option<DraftEntries>,
    pub(crate) zero: Option<DraftEntries>,
    /// The line of each key, where there is a text.
    pub(crate) lines: BTreeMap<String, usize>,
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct DraftCodes {
    pub(crate) at: i64,
    pub(crate) kind: CodesKind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum CodesKind {
    Bits { bits: i64, order: Order },
    Float(CodeDType),
}

#[derive(Clone, Copy, Debug)]
pub(crate) struct DraftEntries {
    pub(crate) at: i64,
    pub(crate) kind: EntriesKind,
}

#[derive(Clone, Copy, Debug)]
pub(crate) enum EntriesKind {
    Bits(i64),
    Float(ScaleDType),
}

impl Draft {
    /// An error of a key, at its line or at that of the table that it is in.
    pub(crate) fn error(&self, key: &str, problem: Problem) -> DeclarationError {
        let outer = key.split(['.', '[']).next().unwrap_or(key);
        let line = self.lines.get(key).or_else(|| self.lines.get(outer)).copied();
        DeclarationError { line, key: Some(key.to_owned()), problem }
    }
}

/// A declaration in the making, for authors who write Rust. It is checked by [`Builder::build`].
///
/// ```
/// # fn main() -> Result<(), bitquilt_declared::DeclarationError> {
/// use bitquilt_declared::{Declaration, ScaleDType};
///
/// let ternary = Declaration::builder("my.ternary", 128, 34)
///     .codes(2, 2)
///     .values([-1.0, 0.0, 1.0])
///     .unused(0.0)
///     .scale(0, ScaleDType::F16)
///     .build()?;
/// assert_eq!(ternary.levels(), [-1.0, 0.0, 1.0, 0.0]);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
#[must_use]
pub struct Builder(Draft);

impl Declaration {
    /// Begins a declaration of blocks of `block_len` values in `block_bytes` bytes.
    pub fn builder(name: impl Into<String>, block_len: usize, block_bytes: usize) -> Builder {
        let (block_len, block_bytes) = (Some(number(block_len)), Some(number(block_bytes)));
        Builder(Draft { name: Some(name.into()), block_len, block_bytes, ..Draft::default() })
    }
}

impl Builder {
    /// The version of the byte format, 1 where it is not called.
    pub fn version(mut self, version: u32) -> Self {
        self.0.version = Some(version.into());
        self
    }

    /// One line for listings.
    pub fn summary(mut self, summary: impl Into<String>) -> Self {
        self.0.summary = Some(summary.into());
        self
    }

    /// Equal parts of a block, each with a scale, a minimum and a zero of its own.
    pub fn groups(mut self, groups: usize) -> Self {
        self.0.groups = Some(number(groups));
        self
    }

    /// Codes of so many bits in one stream from byte `at` on.
    pub fn codes(self, at: usize, bits: u32) -> Self {
        self.codes_in(at, bits, Order::Sequential)
    }

    /// Codes of so many bits from byte `at` on, in an order.
    pub fn codes_in(mut self, at: usize, bits: u32, order: Order) -> Self {
        self.0.codes =
            Some(DraftCodes { at: number(at), kind: CodesKind::Bits { bits: bits.into(), order } });
        self
    }

    /// Codes that are floats, from byte `at` on.
    pub fn float_codes(mut self, at: usize, dtype: CodeDType) -> Self {
        self.0.codes = Some(DraftCodes { at: number(at), kind: CodesKind::Float(dtype) });
        self
    }

    /// The value of each code.
    pub fn values(mut self, values: impl Into<Vec<f32>>) -> Self {
        self.0.values = Some(values.into());
        self
    }

    /// The value of codes that have none: those after the table, or a float's infinities and NaN.
    pub fn unused(mut self, value: f32) -> Self {
        self.0.unused = Some(value);
        self
    }

    /// A code stands for itself minus this.
    pub fn offset(mut self, offset: u32) -> Self {
        self.0.offset = Some(offset.into());
        self
    }

    /// Codes, and zeros, are in two's complement.
    pub fn signed(mut self) -> Self {
        self.0.signed = true;
        self
    }

    /// A scale for each group from byte `at` on.
    pub fn scale(mut self, at: usize, dtype: ScaleDType) -> Self {
        self.0.scale = Some(DraftEntries::float(at, dtype));
        self
    }

    /// Scales that are whole numbers of so many bits, multiples of the super scale.
    pub fn scale_bits(mut self, at: usize, bits: u32) -> Self {
        self.0.scale = Some(DraftEntries::bits(at, bits));
        self
    }

    /// The factor of a block's scales.
    pub fn super_scale(mut self, at: usize, dtype: ScaleDType) -> Self {
        self.0.super_scale = Some(DraftEntries::float(at, dtype));
        self
    }

    /// What is added to the values of each group.
    pub fn min(mut self, at: usize, dtype: ScaleDType) -> Self {
        self.0.min = Some(DraftEntries::float(at, dtype));
        self
    }

    /// Whole numbers of so many bits, each taken from the codes of a group.
    pub fn zero(mut self, at: usize, bits: u32) -> Self {
        self.0.zero = Some(DraftEntries::bits(at, bits));
        self
    }

    /// Floats, each taken from the codes of a group.
    pub fn float_zero(mut self, at: usize, dtype: ScaleDType) -> Self {
        self.0.zero = Some(DraftEntries::float(at, dtype));
        self
    }

    /// The declaration; an error says what is wrong with it.
    pub fn build(self) -> Result<Declaration, DeclarationError> {
        self.0.check()
    }
}

impl DraftEntries {
    fn float(at: usize, dtype: ScaleDType) -> Self {
        Self { at: number(at), kind: EntriesKind::Float(dtype) }
    }

    fn bits(at: usize, bits: u32) -> Self {
        Self { at: number(at), kind: EntriesKind::Bits(bits.into()) }
    }
}

/// A number as a text would have it. What does not fit is too large in any case.
fn number(value: usize) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}
