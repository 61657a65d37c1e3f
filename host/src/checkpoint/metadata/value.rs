//! The types of values.

use std::fmt::{self, Display, Formatter};

use serde::{Deserialize, Serialize};

use super::exact;
use crate::text::Cut;

/// A value of the metadata.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each variant is named after its type")]
pub enum Value {
    U8(u8),
    I8(i8),
    U16(u16),
    I16(i16),
    U32(u32),
    I32(i32),
    F32(#[serde(with = "exact::one")] f32),
    /// A byte: 0 is false and 1 true; others, which no writer should write, are kept.
    Bool(u8),
    String(String),
    /// A text that is no UTF-8.
    Bytes(Vec<u8>),
    Array(Array),
    U64(u64),
    I64(i64),
    F64(#[serde(with = "exact::one")] f64),
}

/// Values of one type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[expect(missing_docs, reason = "each variant is named after its type")]
pub enum Array {
    U8(Vec<u8>),
    I8(Vec<i8>),
    U16(Vec<u16>),
    I16(Vec<i16>),
    U32(Vec<u32>),
    I32(Vec<i32>),
    F32(#[serde(with = "exact::list")] Vec<f32>),
    /// Bytes, as those of [`Value::Bool`].
    Bool(Vec<u8>),
    String(Vec<String>),
    /// Texts of which one at least is no UTF-8.
    Bytes(Vec<Vec<u8>>),
    Array(Vec<Array>),
    U64(Vec<u64>),
    I64(Vec<i64>),
    F64(#[serde(with = "exact::list")] Vec<f64>),
}

/// Calls an expression for the values of an array of any type.
macro_rules! for_values {
    ($array:expr, $values:ident => $result:expr) => {
        match $array {
            Array::U8($values) => $result,
            Array::I8($values) => $result,
            Array::U16($values) => $result,
            Array::I16($values) => $result,
            Array::U32($values) => $result,
            Array::I32($values) => $result,
            Array::F32($values) => $result,
            Array::Bool($values) => $result,
            Array::String($values) => $result,
            Array::Bytes($values) => $result,
            Array::Array($values) => $result,
            Array::U64($values) => $result,
            Array::I64($values) => $result,
            Array::F64($values) => $result,
        }
    };
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
            Self::Bool(0) => Some(false),
            Self::Bool(1) => Some(true),
            _ => None,
        }
    }

    /// The integer of any type, if it is one that is not negative.
    pub fn as_u64(&self) -> Option<u64> {
        match *self {
            Self::U64(value) => Some(value),
            _ => self.as_i64()?.try_into().ok(),
        }
    }

    /// The integer of any type, if it is one that an i64 holds.
    pub fn as_i64(&self) -> Option<i64> {
        match *self {
            Self::U8(value) => Some(value.into()),
            Self::U16(value) => Some(value.into()),
            Self::U32(value) => Some(value.into()),
            Self::U64(value) => value.try_into().ok(),
            Self::I8(value) => Some(value.into()),
            Self::I16(value) => Some(value.into()),
            Self::I32(value) => Some(value.into()),
            Self::I64(value) => Some(value),
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
        for_values!(self, values => values.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// One of the values.
    pub fn get(&self, index: usize) -> Option<Value> {
        Some(match self {
            Self::U8(values) => Value::U8(*values.get(index)?),
            Self::I8(values) => Value::I8(*values.get(index)?),
            Self::U16(values) => Value::U16(*values.get(index)?),
            Self::I16(values) => Value::I16(*values.get(index)?),
            Self::U32(values) => Value::U32(*values.get(index)?),
            Self::I32(values) => Value::I32(*values.get(index)?),
            Self::F32(values) => Value::F32(*values.get(index)?),
            Self::Bool(values) => Value::Bool(*values.get(index)?),
            Self::String(values) => Value::String(values.get(index)?.clone()),
            Self::Bytes(values) => text(values.get(index)?),
            Self::Array(values) => Value::Array(values.get(index)?.clone()),
            Self::U64(values) => Value::U64(*values.get(index)?),
            Self::I64(values) => Value::I64(*values.get(index)?),
            Self::F64(values) => Value::F64(*values.get(index)?),
        })
    }

    /// The texts, if it is an array of them.
    pub fn as_strings(&self) -> Option<&[String]> {
        match self {
            Self::String(texts) => Some(texts),
            _ => None,
        }
    }

    /// The integers, if it is an array of integers of any type that i64 holds.
    pub fn to_integers(&self) -> Option<Vec<i64>> {
        fn widen<T: Copy + Into<i64>>(values: &[T]) -> Option<Vec<i64>> {
            Some(values.iter().map(|value| (*value).into()).collect())
        }
        match self {
            Self::U8(values) => widen(values),
            Self::I8(values) => widen(values),
            Self::U16(values) => widen(values),
            Self::I16(values) => widen(values),
            Self::U32(values) => widen(values),
            Self::I32(values) => widen(values),
            Self::I64(values) => widen(values),
            Self::U64(values) => values.iter().map(|value| (*value).try_into().ok()).collect(),
            _ => None,
        }
    }

    /// The floating-point numbers, if it is an array of either type of them.
    pub fn to_floats(&self) -> Option<Vec<f64>> {
        match self {
            Self::F32(values) => Some(values.iter().map(|value| f64::from(*value)).collect()),
            Self::F64(values) => Some(values.clone()),
            _ => None,
        }
    }

    /// The name of the values' type, such as `u32` or `string`.
    pub fn type_name(&self) -> &'static str {
        match self {
            Self::U8(_) => "u8",
            Self::I8(_) => "i8",
            Self::U16(_) => "u16",
            Self::I16(_) => "i16",
            Self::U32(_) => "u32",
            Self::I32(_) => "i32",
            Self::F32(_) => "f32",
            Self::Bool(_) => "bool",
            Self::String(_) | Self::Bytes(_) => "string",
            Self::Array(_) => "array",
            Self::U64(_) => "u64",
            Self::I64(_) => "i64",
            Self::F64(_) => "f64",
        }
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::String(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value.into())
    }
}

impl From<Array> for Value {
    fn from(array: Array) -> Self {
        Self::Array(array)
    }
}

/// A text, of bytes that may be no UTF-8.
pub(crate) fn text(bytes: &[u8]) -> Value {
    match std::str::from_utf8(bytes) {
        Ok(text) => Value::String(text.to_owned()),
        Err(_) => Value::Bytes(bytes.to_vec()),
    }
}

impl Display for Value {
    /// A scalar as it is, a text with what is no UTF-8 as `\x80`, and an array as its type, its length and its first values.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::U8(value) => value.fmt(f),
            Self::I8(value) => value.fmt(f),
            Self::U16(value) => value.fmt(f),
            Self::I16(value) => value.fmt(f),
            Self::U32(value) => value.fmt(f),
            Self::I32(value) => value.fmt(f),
            Self::F32(value) => value.fmt(f),
            Self::Bool(0) => false.fmt(f),
            Self::Bool(1) => true.fmt(f),
            Self::Bool(byte) => write!(f, "{byte} (no boolean)"),
            Self::String(value) => value.fmt(f),
            Self::Bytes(bytes) => Escaped(bytes).fmt(f),
            Self::Array(array) => array.fmt(f),
            Self::U64(value) => value.fmt(f),
            Self::I64(value) => value.fmt(f),
            Self::F64(value) => value.fmt(f),
        }
    }
}

impl Display for Array {
    /// `u32[100] [1, 2, 3, ..]`
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        const FIRST: usize = 8;
        write!(f, "{}[{}] [", self.type_name(), self.len())?;
        for (index, value) in (0..self.len().min(FIRST)).filter_map(|index| Some((index, self.get(index)?))) {
            let separator = if index > 0 { ", " } else { "" };
            match &value {
                Value::String(_) | Value::Bytes(_) => {
                    write!(f, "{separator}\"{}\"", Cut(&value.to_string(), 24))?;
                }
                Value::Array(array) => write!(f, "{separator}{}[{}]", array.type_name(), array.len())?,
                value => write!(f, "{separator}{value}")?,
            }
        }
        f.write_str(if self.len() > FIRST { ", ..]" } else { "]" })
    }
}

/// Bytes as text: what is no UTF-8 of them as `\x80`.
pub(crate) struct Escaped<'a>(pub(crate) &'a [u8]);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            f.write_str(chunk.valid())?;
            chunk.invalid().escape_ascii().fmt(f)?;
        }
        Ok(())
    }
}
