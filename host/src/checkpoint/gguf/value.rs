//! The typed values of GGUF metadata.

use std::fmt::{self, Display, Formatter};

use bytemuck::AnyBitPattern;

use super::cursor::Cursor;
use crate::checkpoint::error::{Brief, Fault};

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is named after its type")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(f32),
    Bool(bool),
    String(String),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(f64),
}

/// Values of one type. There are no arrays of arrays, as in ggml.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each variant is named after its type")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(Vec<f32>),
    Bool(Vec<bool>),
    String(Vec<String>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(Vec<f64>),
}

impl Value {
    /// The text, if it is one.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) => Some(text),
            _ => None,
        }
    }

    /// The boolean, if it is one.
    pub fn as_bool(&self) -> Option<bool> {
        match self {
            Self::Bool(value) => Some(*value),
            _ => None,
        }
    }

    /// The integer of any type, if it is one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U8(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::U64(value) => Some(value),
            Self::I8(value) => value.try_into().ok(),
            Self::I16(value) => value.try_into().ok(),
            Self::I32(value) => value.try_into().ok(),
            Self::I64(value) => value.try_into().ok(),
            _ => None,
        }
    }

    /// The floating-point number of either type, if it is one.
    pub fn as_f64(&self) -> Option<f64> {
        match self {
            Self::F32(value) => Some(f64::from(*value)),
            Self::F64(value) => Some(*value),
            _ => None,
        }
    }

    /// The array, if it is one.
    pub fn as_array(&self) -> Option<&Array> {
        match self {
            Self::Array(array) => Some(array),
            _ => None,
        }
    }
}

impl Array {
    /// Number of values.
    pub fn len(&self) -> usize {
        match self {
            Self::U8(values) => values.len(),
            Self::I8(values) => values.len(),
            Self::U16(values) => values.len(),
            Self::I16(values) => values.len(),
            Self::U32(values) => values.len(),
            Self::I32(values) => values.len(),
            Self::F32(values) => values.len(),
            Self::Bool(values) => values.len(),
            Self::String(values) => values.len(),
            Self::U64(values) => values.len(),
            Self::I64(values) => values.len(),
            Self::F64(values) => values.len(),
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The texts, if it is an array of them.
    pub fn as_strings(&self) -> Option<&[String]> {
        match self {
            Self::String(texts) => Some(texts),
            _ => None,
        }
    }

    pub(super) fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
            Self::Bool(_) => "bool",
            Self::String(_) => "string",
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F64(_) => "f64",
        }
    }
}

impl Display for Value {
    /// A scalar as it is; an array as its type and length.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(value) => value.fmt(f),
            Self::I8(value) => value.fmt(f),
            Self::U16(value) => value.fmt(f),
            Self::I16(value) => value.fmt(f),
            Self::U32(value) => value.fmt(f),
            Self::I32(value) => value.fmt(f),
            Self::F32(value) => value.fmt(f),
            Self::Bool(value) => value.fmt(f),
            Self::String(value) => value.fmt(f),
            Self::Array(array) => write!(f, "{}[{}]", array.type_name(), array.len()),
            Self::U64(value) => value.fmt(f),
            Self::I64(value) => value.fmt(f),
            Self::F64(value) => value.fmt(f),
        }
    }
}

/// The type number of arrays.
const ARRAY: u32 = 9;

/// Reads a type and a value of it.
pub(super) fn read(cursor: &mut Cursor<'_>, key: &str) -> Result<Value, Fault> {
    let what = format!("the value of `{}`", Brief(key));
    let what = what.as_str();
    Ok(match cursor.number(what)? {
        0 => Value::U8(cursor.number(what)?),
        1 => Value::I8(cursor.number(what)?),
        2 => Value::U16(cursor.number(what)?),
        3 => Value::I16(cursor.number(what)?),
        4 => Value::U32(cursor.number(what)?),
        5 => Value::I32(cursor.number(what)?),
        6 => Value::F32(cursor.number(what)?),
        7 => Value::Bool(boolean(cursor.number(what)?, what)?),
        8 => Value::String(cursor.string(what)?.to_owned()),
        ARRAY => Value::Array(read_array(cursor, what)?),
        10 => Value::U64(cursor.number(what)?),
        11 => Value::I64(cursor.number(what)?),
        12 => Value::F64(cursor.number(what)?),
        other => return Err(format!("{what} has type {other}, types 0 to 12 are known").into()),
    })
}

fn read_array(cursor: &mut Cursor<'_>, what: &str) -> Result<Array, Fault> {
    let (type_id, len) = (cursor.number(what)?, cursor.number(what)?);
    Ok(match type_id {
        0 => Array::U8(numbers(cursor, len, what)?),
        1 => Array::I8(numbers(cursor, len, what)?),
        2 => Array::U16(numbers(cursor, len, what)?),
        3 => Array::I16(numbers(cursor, len, what)?),
        4 => Array::U32(numbers(cursor, len, what)?),
        5 => Array::I32(numbers(cursor, len, what)?),
        6 => Array::F32(numbers(cursor, len, what)?),
        7 => {
            let bytes = cursor.take(len, what)?;
            Array::Bool(bytes.iter().map(|byte| boolean(*byte, what)).collect::<Result<_, _>>()?)
        }
        8 => Array::String(strings(cursor, len, what)?),
        ARRAY => return Err(format!("{what} is an array of arrays, which is not supported").into()),
        10 => Array::U64(numbers(cursor, len, what)?),
        11 => Array::I64(numbers(cursor, len, what)?),
        12 => Array::F64(numbers(cursor, len, what)?),
        other => return Err(format!("{what} is an array of type {other}, types 0 to 12 are known").into()),
    })
}

/// As many numbers; there is room for them in memory, as there is in the file.
fn numbers<T: AnyBitPattern>(cursor: &mut Cursor<'_>, len: u64, what: &str) -> Result<Vec<T>, Fault> {
    // A product that is too large is more than any file has.
    let bytes = cursor.take(len.saturating_mul(size_of::<T>() as u64), what)?;
    Ok(bytes.chunks_exact(size_of::<T>()).map(bytemuck::pod_read_unaligned).collect())
}

fn strings(cursor: &mut Cursor<'_>, len: u64, what: &str) -> Result<Vec<String>, Fault> {
    let mut texts = Vec::new();
    for index in 0..len {
        texts.push(cursor.string(format_args!("text {index} of {len} in {what}"))?.to_owned());
    }
    Ok(texts)
}

fn boolean(byte: u8, what: &str) -> Result<bool, Fault> {
    match byte {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(format!("{what} has a boolean that is {other}; only 0 and 1 are booleans").into()),
    }
}
