//! The codes of a strip as they are prepared.

use bitquilt_kernels::fields::{CodeWords, FieldReader, FieldWriter, merge, translate};
use bitquilt_kernels::{DotIsa, Form, STRIP_CODES, StripForm};

/// How the codes of a strip are stored.
pub(super) trait CodeField: Send + Sync + 'static {
    /// The form of strips with one scale and no minimum.
    type Scaled: Form;
    /// The form of strips with a scale and a minimum.
    type Affine: Form;
    /// The codes of strips whose halves have scales of their own.
    type OfParts: CodeField;
    /// Prepared bytes.
    const BYTES: usize;
    /// Whether many weights are stored so.
    const IS_COMMON: bool = false;
    /// Whether raw codes are stored, and looked up when they are read.
    const INDICES: bool = false;

    /// Writes the codes of a row.
    fn write(record: &mut FieldWriter<'_>, codes: CodeWords);

    /// Reads what was written; indices are looked up in the table.
    fn read<I: DotIsa>(fields: &mut FieldReader<'_, I>, table: &[u8; 16]) -> [I::Codes; STRIP_CODES];
}

/// A width of codes: its type, forms of so many bits, prepared bytes, whether they are indices, and how it is written and read.
macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident: $bits:literal bits, parts $parts:ident, $bytes:literal bytes, indices $indices:literal, common $common:literal,
        |$record:ident, $codes:ident| $write:expr, |$fields:ident, $table:ident| $read:expr;)*) => {
        $(
            $(#[$doc])*
            pub(super) struct $name;

            impl CodeField for $name {
                type Scaled = StripForm<1, 0, $bits>;
                type Affine = StripForm<1, 1, $bits>;
                type OfParts = $parts;
                const BYTES: usize = $bytes;
                const INDICES: bool = $indices;
                const IS_COMMON: bool = $common;

                fn write($record: &mut FieldWriter<'_>, $codes: CodeWords) {
                    $write
                }

                #[inline(always)]
                fn read<I: DotIsa>($fields: &mut FieldReader<'_, I>, $table: &[u8; 16]) -> [I::Codes; STRIP_CODES] {
                    $read
                }
            }
        )*
    };
}

// Few forms, so that little is compiled: narrower codes have the form of the next wider ones.
codes! {
    /// Codes of 2 bits.
    Twos: 4 bits, parts Fours, 8 bytes, indices false, common false,
        |record, codes| record.crumbs(codes),
        |fields, _table| fields.low_crumbs();
    /// Codes of 3 bits.
    Threes: 4 bits, parts Fours, 12 bytes, indices false, common false,
        |record, codes| record.octal_halves(codes),
        |fields, _table| fields.octals();
    /// Codes of 4 bits.
    Fours: 4 bits, parts Fours, 16 bytes, indices false, common true,
        |record, codes| record.nibbles(codes),
        |fields, _table| fields.nibbles();
    /// Codes of 5 bits.
    Fives: 6 bits, parts Eights, 20 bytes, indices false, common false,
        |record, codes| {
            record.nibbles(codes);
            record.bits(codes.map(|word| word >> 4));
        },
        |fields, _table| {
            let low = fields.nibbles();
            merge(fields.isa, low, fields.bits())
        };
    /// Codes of 6 bits.
    Sixes: 6 bits, parts Eights, 24 bytes, indices false, common false,
        |record, codes| {
            record.nibbles(codes);
            record.crumbs(codes.map(|word| word >> 4));
        },
        |fields, _table| {
            let low = fields.nibbles();
            merge(fields.isa, low, fields.crumbs())
        };
    /// Codes of 8 bits.
    Eights: 8 bits, parts Eights, 32 bytes, indices false, common false,
        |record, codes| record.bytes(codes),
        |fields, _table| fields.bytes();
    /// Indices of 4 bits into a table of codes of 8 bits.
    Indices: 8 bits, parts Indices, 16 bytes, indices true, common true,
        |record, codes| record.nibbles(codes),
        |fields, table| {
            let indices = fields.nibbles();
            translate(fields.isa, table, indices)
        };
}
