//! A checked declaration.

use bitquilt_plugin_api::{EncodingSpec, Importance};

use crate::field::{self, Entries, Order, Stored};
use crate::float::{CodeDType, ScaleDType};

/// A declared encoding: the layout of a block, and what its codes mean. It has been checked: its fields lie in the block and apart.
#[derive(Clone, Debug)]
pub struct Declaration {
    pub(crate) name: String,
    pub(crate) version: u32,
    pub(crate) summary: String,
    pub(crate) block_len: usize,
    pub(crate) block_bytes: usize,
    pub(crate) groups: usize,
    pub(crate) codes: Codes,
    pub(crate) meaning: Meaning,
    pub(crate) scale: Entries,
    pub(crate) super_scale: Option<Entries>,
    pub(crate) min: Option<Entries>,
    pub(crate) zero: Option<Entries>,
    /// What the meaning makes of each code.
    pub(crate) levels: Vec<f32>,
}

/// Where the codes lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Codes {
    pub(crate) at: usize,
    pub(crate) bits: u32,
    pub(crate) order: Order,
}

/// What a code stands for, before zero, scale and minimum.
#[derive(Clone, Debug)]
pub(crate) enum Meaning {
    Offset(u32),
    Signed,
    Values { values: Vec<f32>, unused: Option<f32> },
    Float { dtype: CodeDType, unused: Option<f32> },
}

/// What makes values of the codes of a group: `(level - zero) * scale + min`, each operation rounded to f32.
///
/// Where there is no zero it is 0, and where there is no minimum it is -0: taking and adding these change no value, not even the sign
/// of a zero.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Factors {
    /// The scale, times the super scale where there is one.
    pub scale: f32,
    /// What is taken from a level.
    pub zero: f32,
    /// What is added in the end.
    pub min: f32,
}

/// The stored bits of a group's entries: those of a float of the entry's dtype, or a whole number of its bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoredFactors {
    /// The scale.
    pub scale: u32,
    /// The zero, where one is declared.
    pub zero: u32,
    /// The minimum, where one is declared.
    pub min: u32,
}

impl Factors {
    /// The value of a level. This order of operations, without a fused one, is the definition.
    #[inline(always)]
    pub fn value(self, level: f32) -> f32 {
        (level - self.zero) * self.scale + self.min
    }
}

impl Declaration {
    /// The encoding's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The version of its byte format.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// One line for listings; empty where there is none.
    pub fn summary(&self) -> &str {
        &self.summary
    }

    /// Values in a block.
    pub fn block_len(&self) -> usize {
        self.block_len
    }

    /// Bytes of a block.
    pub fn block_bytes(&self) -> usize {
        self.block_bytes
    }

    /// Values that share a scale.
    pub fn group_len(&self) -> usize {
        self.block_len / self.groups
    }

    /// Groups in a block.
    pub fn groups(&self) -> usize {
        self.groups
    }

    /// Bits of a code, from 1 to 8.
    pub fn bits(&self) -> u32 {
        self.codes.bits
    }

    /// How codes follow each other.
    pub fn order(&self) -> Order {
        self.codes.order
    }

    /// The value of each of the `2^bits` codes before zero, scale and minimum. All are finite.
    pub fn levels(&self) -> &[f32] {
        &self.levels
    }

    /// Whether levels are whole numbers by declaration: a code minus an offset, or a signed code.
    pub fn is_integer(&self) -> bool {
        matches!(self.meaning, Meaning::Offset(_) | Meaning::Signed)
    }

    /// How codes are read, where they are floats.
    pub fn code_dtype(&self) -> Option<CodeDType> {
        match self.meaning {
            Meaning::Float { dtype, .. } => Some(dtype),
            _ => None,
        }
    }

    /// Whether a minimum is added.
    pub fn has_min(&self) -> bool {
        self.min.is_some()
    }

    /// Whether a zero is taken from each level.
    pub fn has_zero(&self) -> bool {
        self.zero.is_some()
    }

    /// Whether a zero is taken that is, whatever the bytes, a whole number from 0 to 255.
    pub fn zeros_are_bytes(&self) -> bool {
        self.zero.is_some_and(|zero| zero.dtype().is_none()) && !self.is_signed()
    }

    /// Whether every scale, whatever the bytes, is exactly a value of f16.
    pub fn scales_are_f16(&self) -> bool {
        let exact = [Stored::Float(ScaleDType::F16), Stored::Float(ScaleDType::F8E4M3)];
        self.super_scale.is_none() && exact.contains(&self.scale.stored)
    }

    /// Unpacks the codes of one block: `block` has [`Self::block_bytes`] bytes, `codes` room for [`Self::block_len`] codes.
    ///
    /// # Panics
    /// If they have not.
    pub fn codes(&self, block: &[u8], codes: &mut [u8]) {
        assert_eq!((block.len(), codes.len()), (self.block_bytes, self.block_len), "one block and its codes");
        field::unpack(self.code_bytes(block), self.codes.bits, self.codes.order, codes);
    }

    /// Writes a block of stored numbers: `super_scale` counts where there is one, `groups` has the entries of each group, `codes` a code
    /// for each value.
    ///
    /// Bits that are too high for a field are left out, and entries of fields that are not declared do not count.
    ///
    /// # Panics
    /// If there are not so many groups, codes, or bytes.
    ///
    /// ```
    /// # fn main() -> Result<(), bitquilt_declared::DeclarationError> {
    /// use bitquilt_declared::{Declaration, ScaleDType, StoredFactors};
    ///
    /// let int4 = Declaration::builder("my.int4", 4, 5).codes(3, 4).scale(0, ScaleDType::F16).zero(2, 4).build()?;
    /// let mut block = [0; 5];
    /// int4.assemble(0, &[StoredFactors { scale: 0x3c00, zero: 8, min: 0 }], &[8, 9, 0, 15], &mut block);
    /// assert_eq!(block, [0x00, 0x3c, 8, 0x98, 0xf0]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn assemble(&self, super_scale: u32, groups: &[StoredFactors], codes: &[u8], block: &mut [u8]) {
        assert_eq!(groups.len(), self.groups, "the groups of a block");
        assert_eq!((block.len(), codes.len()), (self.block_bytes, self.block_len), "one block and its codes");
        block.fill(0);
        let mut put = |entries: Option<Entries>, index, raw| {
            entries.into_iter().for_each(|entries| entries.put(block, index, raw));
        };
        put(self.super_scale, 0, super_scale);
        for (index, stored) in groups.iter().enumerate() {
            put(Some(self.scale), index, stored.scale);
            put(self.zero, index, stored.zero);
            put(self.min, index, stored.min);
        }
        self.put_codes(codes, block);
    }

    /// Packs the codes of one block over zeros, each of so many [bits](Self::bits): the inverse of [`Self::codes`].
    ///
    /// # Panics
    /// If `codes` or `block` has another length.
    pub fn put_codes(&self, codes: &[u8], block: &mut [u8]) {
        assert_eq!((block.len(), codes.len()), (self.block_bytes, self.block_len), "one block and its codes");
        let bytes = &mut block[self.codes.at..][..self.codes.bytes(self.block_len)];
        field::pack(codes, self.codes.bits, self.codes.order, bytes);
    }

    /// The bytes of the codes in a block.
    pub(crate) fn code_bytes<'a>(&self, block: &'a [u8]) -> &'a [u8] {
        &block[self.codes.at..][..self.codes.bytes(self.block_len)]
    }

    /// The factors of a group of one block.
    ///
    /// # Panics
    /// If there is no such group, or `block` is shorter than a block.
    #[inline]
    pub fn factors(&self, block: &[u8], group: usize) -> Factors {
        assert!(group < self.groups, "group {group} of {}", self.groups);
        let scale = self.scale.value(block, group);
        let scale = match self.super_scale {
            Some(entries) => scale * entries.value(block, 0),
            None => scale,
        };
        let zero = self.zero.map_or(0.0, |zero| self.zero_of(zero.stored, zero.raw(block, group)));
        let min = self.min.map_or(-0.0, |entries| entries.value(block, group));
        Factors { scale, zero, min }
    }

    /// The value of a zero's stored bits, which has a sign where codes have one.
    pub(crate) fn zero_of(&self, stored: Stored, raw: u32) -> f32 {
        match stored {
            Stored::Bits(bits) if self.is_signed() => signed(raw, bits),
            _ => stored.value(raw),
        }
    }

    /// Whether codes are in two's complement.
    pub(crate) fn is_signed(&self) -> bool {
        matches!(self.meaning, Meaning::Signed)
    }

    /// What a registry wants to know; its layout is [`Self::to_text`].
    pub fn spec(&self) -> EncodingSpec {
        EncodingSpec::new(&self.name, self.block_len, self.block_bytes)
            .version(self.version)
            .summary(&self.summary)
            .importance(Importance::Optional)
            .layout(self.to_text())
    }
}

impl PartialEq for Declaration {
    fn eq(&self, other: &Self) -> bool {
        // The text is canonical, and tells -0 from 0.
        self.to_text() == other.to_text()
    }
}

impl Eq for Declaration {}

impl Codes {
    /// Bytes of so many codes.
    pub(crate) fn bytes(self, count: usize) -> usize {
        (count * self.bits as usize).div_ceil(8)
    }
}

impl Meaning {
    /// The level of each code of so many bits.
    pub(crate) fn levels(&self, bits: u32) -> Vec<f32> {
        let codes = 0..1u32 << bits;
        match self {
            Self::Offset(offset) => codes.map(|code| code as f32 - *offset as f32).collect(),
            Self::Signed => codes.map(|code| signed(code, bits)).collect(),
            Self::Float { dtype, unused } => dtype.values(*unused),
            Self::Values { values, unused } => {
                let mut levels = values.clone();
                levels.resize(1 << bits, unused.unwrap_or_default());
                levels
            }
        }
    }

    /// Whether an encoder writes a code: not one without a value of its own.
    pub(crate) fn is_written(&self, code: u32) -> bool {
        match self {
            Self::Offset(_) | Self::Signed => true,
            Self::Values { values, .. } => (code as usize) < values.len(),
            Self::Float { dtype, .. } => dtype.is_finite(code),
        }
    }
}

/// The value of a number of so many bits in two's complement.
fn signed(raw: u32, bits: u32) -> f32 {
    let sign = 1 << (bits - 1);
    (raw ^ sign) as f32 - sign as f32
}
