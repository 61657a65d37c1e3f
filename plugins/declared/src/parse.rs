//! From a text to a draft.

use std::fmt::Write;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::declaration::Declaration;
use crate::draft::{CodesKind, Draft, DraftCodes, DraftEntries, EntriesKind};
use crate::error::{DeclarationError, MAX_TEXT, Problem};
use crate::field::Order;
use crate::float::{CodeDType, ScaleDType};

const KEYS: [&str; 15] = [
    "name",
    "version",
    "summary",
    "block_len",
    "block_bytes",
    "groups",
    "codes",
    "values",
    "unused",
    "offset",
    "signed",
    "scale",
    "super_scale",
    "min",
    "zero",
];

type Parsed<T> = Result<T, DeclarationError>;
type Value<'a, 'i> = &'a Spanned<DeValue<'i>>;

impl Declaration {
    /// The longest text, in bytes.
    pub const MAX_TEXT: usize = MAX_TEXT;

    /// Reads the text of a `NAME.encoding.toml`.
    pub fn parse(text: &str) -> Result<Self, DeclarationError> {
        parse(text)?.check()
    }
}

/// Reads a text, and the line of each of its keys.
fn parse(text: &str) -> Parsed<Draft> {
    if text.len() > MAX_TEXT {
        let problem = Problem::TooLong { bytes: text.len() };
        return Err(DeclarationError { line: None, key: None, problem });
    }
    let table = DeTable::parse(text).map_err(|error| syntax(text, &error))?;
    let mut reader = Reader { text, draft: Draft::default() };
    for (key, span, value) in in_order(table.get_ref()) {
        reader.note(key, span);
        reader.key(key, value)?;
    }
    Ok(reader.draft)
}

fn syntax(text: &str, error: &toml::de::Error) -> DeclarationError {
    let line = error.span().map(|span| line_of(text, span.start));
    if error.message().starts_with("duplicate key") {
        let key = error.span().and_then(|span| text.get(span)).map(|key| key.trim().to_owned());
        return DeclarationError { line, key, problem: Problem::Duplicate };
    }
    let said = error.message().lines().collect::<Vec<_>>().join(", ");
    DeclarationError { line, key: None, problem: Problem::Syntax { said } }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count()
}

/// The entries of a table as they stand in the text.
fn in_order<'a, 'i>(table: &'a DeTable<'i>) -> Vec<(&'a str, Range<usize>, Value<'a, 'i>)> {
    let mut entries: Vec<_> =
        table.iter().map(|(key, value)| (&**key.get_ref(), key.span(), value)).collect();
    entries.sort_by_key(|(_, span, _)| span.start);
    entries
}

struct Reader<'t> {
    text: &'t str,
    draft: Draft,
}

/// The keys of a field's table.
#[derive(Default)]
struct Fields {
    at: Option<i64>,
    bits: Option<i64>,
    dtype: Option<String>,
    order: Option<String>,
}

impl Reader<'_> {
    fn note(&mut self, key: &str, span: Range<usize>) {
        self.draft.lines.insert(key.to_owned(), line_of(self.text, span.start));
    }

    fn key(&mut self, key: &str, value: Value<'_, '_>) -> Parsed<()> {
        match key {
            "name" => self.draft.name = Some(self.string(key, value)?),
            "summary" => self.draft.summary = Some(self.string(key, value)?),
            "version" => self.draft.version = Some(self.whole(key, value)?),
            "block_len" => self.draft.block_len = Some(self.whole(key, value)?),
            "block_bytes" => self.draft.block_bytes = Some(self.whole(key, value)?),
            "groups" => self.draft.groups = Some(self.whole(key, value)?),
            "offset" => self.draft.offset = Some(self.whole(key, value)?),
            "unused" => self.draft.unused = Some(self.float(key, value)?),
            "signed" => {
                let signed = value.get_ref().as_bool();
                self.draft.signed = signed.ok_or_else(|| self.wrong_type(key, value, "true or false"))?;
            }
            "values" => self.draft.values = Some(self.values(key, value)?),
            "codes" => self.draft.codes = Some(self.codes(key, value)?),
            "scale" => self.draft.scale = Some(self.entries(key, value, true)?),
            "super_scale" => self.draft.super_scale = Some(self.entries(key, value, false)?),
            "min" => self.draft.min = Some(self.entries(key, value, false)?),
            "zero" => self.draft.zero = Some(self.entries(key, value, true)?),
            _ => return Err(self.draft.error(key, Problem::UnknownKey { known: list(&KEYS) })),
        }
        Ok(())
    }

    fn wrong_type(&self, key: &str, value: Value<'_, '_>, expected: &'static str) -> DeclarationError {
        let found = match value.get_ref() {
            DeValue::String(_) => "a string".to_owned(),
            DeValue::Integer(number) => number.to_string(),
            DeValue::Float(number) => number.to_string(),
            DeValue::Boolean(value) => value.to_string(),
            DeValue::Datetime(_) => "a date".to_owned(),
            DeValue::Array(_) => "an array".to_owned(),
            DeValue::Table(_) => "a table".to_owned(),
        };
        self.draft.error(key, Problem::Type { found, expected })
    }

    fn string(&self, key: &str, value: Value<'_, '_>) -> Parsed<String> {
        let text = value.get_ref().as_str().map(str::to_owned);
        text.ok_or_else(|| self.wrong_type(key, value, "a string"))
    }

    fn whole(&self, key: &str, value: Value<'_, '_>) -> Parsed<i64> {
        let number = value.get_ref().as_integer();
        let number = number.and_then(|number| i64::from_str_radix(number.as_str(), number.radix()).ok());
        number.ok_or_else(|| self.wrong_type(key, value, "a whole number of 64 bits"))
    }

    /// A decimal number is rounded once, to the nearest f32.
    fn float(&self, key: &str, value: Value<'_, '_>) -> Parsed<f32> {
        let number = match value.get_ref() {
            DeValue::Float(number) => number.as_str().parse().ok(),
            DeValue::Integer(number) if number.radix() == 10 => number.as_str().parse().ok(),
            DeValue::Integer(number) => {
                i64::from_str_radix(number.as_str(), number.radix()).ok().map(|number| number as f32)
            }
            _ => None,
        };
        number.ok_or_else(|| self.wrong_type(key, value, "a number"))
    }

    fn values(&mut self, key: &str, value: Value<'_, '_>) -> Parsed<Vec<f32>> {
        let Some(array) = value.get_ref().as_array() else {
            return Err(self.wrong_type(key, value, "an array of numbers"));
        };
        let mut values = Vec::new();
        for (index, entry) in array.iter().enumerate() {
            let key = format!("{key}[{index}]");
            // Of more entries than any table has only the number is wanted.
            if index <= 256 {
                self.note(&key, entry.span());
            }
            values.push(self.float(&key, entry)?);
        }
        Ok(values)
    }

    /// Reads a field's table, which may have these keys.
    fn table(&mut self, key: &str, value: Value<'_, '_>, known: &[&str]) -> Parsed<Fields> {
        let Some(table) = value.get_ref().as_table() else {
            return Err(self.wrong_type(key, value, "a table like { at = 0, .. }"));
        };
        let mut fields = Fields::default();
        for (name, span, value) in in_order(table) {
            let key = format!("{key}.{name}");
            self.note(&key, span);
            match name {
                _ if !known.contains(&name) => {
                    return Err(self.draft.error(&key, Problem::UnknownKey { known: list(known) }));
                }
                "at" => fields.at = Some(self.whole(&key, value)?),
                "bits" => fields.bits = Some(self.whole(&key, value)?),
                "dtype" => fields.dtype = Some(self.string(&key, value)?),
                _ => fields.order = Some(self.string(&key, value)?),
            }
        }
        Ok(fields)
    }

    fn codes(&mut self, key: &str, value: Value<'_, '_>) -> Parsed<DraftCodes> {
        let fields = self.table(key, value, &["at", "bits", "order", "dtype"])?;
        let at = self.at(key, &fields)?;
        if let Some(dtype) = fields.dtype {
            let reason = "a dtype has its bits and its order";
            for (other, given) in
                [("codes.bits", fields.bits.is_some()), ("codes.order", fields.order.is_some())]
            {
                if given {
                    return Err(self.draft.error("codes.dtype", Problem::Conflict { other, reason }));
                }
            }
            let known = CodeDType::ALL.map(CodeDType::name);
            let dtype = CodeDType::from_name(&dtype)
                .ok_or_else(|| self.draft.error("codes.dtype", word(&dtype, &known)))?;
            return Ok(DraftCodes { at, kind: CodesKind::Float(dtype) });
        }
        let missing = || self.draft.error("codes.bits", Problem::Missing { example: "bits = 4" });
        let bits = fields.bits.ok_or_else(missing)?;
        let orders = [Order::Sequential, Order::Halves];
        let order = match fields.order {
            None => Order::Sequential,
            Some(name) => orders
                .into_iter()
                .find(|order| order.name() == name)
                .ok_or_else(|| self.draft.error("codes.order", word(&name, &orders.map(Order::name))))?,
        };
        Ok(DraftCodes { at, kind: CodesKind::Bits { bits, order } })
    }

    /// A field of a dtype, or of bits, too.
    fn entries(&mut self, key: &str, value: Value<'_, '_>, bits: bool) -> Parsed<DraftEntries> {
        let known: &[&str] = match bits {
            true => &["at", "bits", "dtype"],
            false => &["at", "dtype"],
        };
        let fields = self.table(key, value, known)?;
        let at = self.at(key, &fields)?;
        let kind = match (fields.bits, fields.dtype) {
            (Some(_), Some(_)) => {
                let reason = "an entry is a whole number or a float";
                let problem = Problem::Conflict { other: "bits", reason };
                return Err(self.draft.error(&format!("{key}.dtype"), problem));
            }
            (Some(bits), None) => EntriesKind::Bits(bits),
            (None, Some(name)) => {
                let known = ScaleDType::ALL.map(ScaleDType::name);
                let dtype = ScaleDType::from_name(&name)
                    .ok_or_else(|| self.draft.error(&format!("{key}.dtype"), word(&name, &known)))?;
                EntriesKind::Float(dtype)
            }
            (None, None) => {
                let of_bits = key == "zero";
                let (name, example) =
                    if of_bits { ("bits", "bits = 4") } else { ("dtype", "dtype = \"f16\"") };
                return Err(self.draft.error(&format!("{key}.{name}"), Problem::Missing { example }));
            }
        };
        Ok(DraftEntries { at, kind })
    }

    fn at(&self, key: &str, fields: &Fields) -> Parsed<i64> {
        let missing = || self.draft.error(&format!("{key}.at"), Problem::Missing { example: "at = 0" });
        fields.at.ok_or_else(missing)
    }
}

fn word(found: &str, known: &[&str]) -> Problem {
    Problem::Word { found: found.to_owned(), known: list(known) }
}

/// "a, b and c".
fn list(words: &[&str]) -> String {
    let mut text = String::new();
    for (index, word) in words.iter().enumerate() {
        let comma = match words.len() - index {
            _ if index == 0 => "",
            1 => " and ",
            _ => ", ",
        };
        let _ = write!(text, "{comma}{word}");
    }
    text
}
