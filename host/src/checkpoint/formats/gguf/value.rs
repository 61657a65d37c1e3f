//! Typed values, read and written.

use bytemuck::{AnyBitPattern, NoUninit};

use super::cursor::Cursor;
use crate::checkpoint::error::Fault;
use crate::checkpoint::metadata::{Array, Value, text};
use crate::text::Brief;

/// The type number of arrays.
const ARRAY: u32 = 9;

/// The type number of texts.
const TEXT: u32 = 8;

/// How many arrays may lie in each other.
const MAX_DEPTH: usize = 8;

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
        7 => Value::Bool(cursor.number(what)?),
        TEXT => text(cursor.text(what)?),
        ARRAY => Value::Array(read_array(cursor, what, MAX_DEPTH)?),
        10 => Value::U64(cursor.number(what)?),
        11 => Value::I64(cursor.number(what)?),
        12 => Value::F64(cursor.number(what)?),
        other => return Err(format!("{what} has type {other}, types 0 to 12 are known").into()),
    })
}

/// Reads an array in which at most `depth - 1` more lie in each other.
fn read_array(cursor: &mut Cursor<'_>, what: &str, depth: usize) -> Result<Array, Fault> {
    if depth == 0 {
        return Err(format!("{what} has more than {MAX_DEPTH} arrays in each other").into());
    }
    let (type_id, len) = (cursor.number(what)?, cursor.number(what)?);
    Ok(match type_id {
        0 => Array::U8(numbers(cursor, len, what)?),
        1 => Array::I8(numbers(cursor, len, what)?),
        2 => Array::U16(numbers(cursor, len, what)?),
        3 => Array::I16(numbers(cursor, len, what)?),
        4 => Array::U32(numbers(cursor, len, what)?),
        5 => Array::I32(numbers(cursor, len, what)?),
        6 => Array::F32(numbers(cursor, len, what)?),
        7 => Array::Bool(numbers(cursor, len, what)?),
        TEXT => texts(cursor, len, what)?,
        ARRAY => {
            let mut arrays = Vec::new();
            for _ in 0..len {
                arrays.push(read_array(cursor, what, depth - 1)?);
            }
            Array::Array(arrays)
        }
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

fn texts(cursor: &mut Cursor<'_>, len: u64, what: &str) -> Result<Array, Fault> {
    let mut texts = Vec::new();
    for index in 0..len {
        texts.push(cursor.text(format_args!("text {index} of {len} in {what}"))?);
    }
    let utf8 = texts.iter().map(|text| std::str::from_utf8(text).map(str::to_owned));
    Ok(match utf8.collect() {
        Ok(texts) => Array::String(texts),
        Err(_) => Array::Bytes(texts.into_iter().map(<[u8]>::to_vec).collect()),
    })
}

/// Writes a type and a value of it.
pub(super) fn write(value: &Value, out: &mut Vec<u8>) {
    let mut put = |type_id: u32, bytes: &[u8]| {
        out.extend(type_id.to_le_bytes());
        out.extend(bytes);
    };
    match value {
        Value::U8(value) => put(0, &[*value]),
        Value::I8(value) => put(1, &value.to_le_bytes()),
        Value::U16(value) => put(2, &value.to_le_bytes()),
        Value::I16(value) => put(3, &value.to_le_bytes()),
        Value::U32(value) => put(4, &value.to_le_bytes()),
        Value::I32(value) => put(5, &value.to_le_bytes()),
        Value::F32(value) => put(6, &value.to_le_bytes()),
        Value::Bool(value) => put(7, &[*value]),
        Value::U64(value) => put(10, &value.to_le_bytes()),
        Value::I64(value) => put(11, &value.to_le_bytes()),
        Value::F64(value) => put(12, &value.to_le_bytes()),
        Value::String(text) => {
            put(TEXT, &[]);
            write_text(text.as_bytes(), out);
        }
        Value::Bytes(bytes) => {
            put(TEXT, &[]);
            write_text(bytes, out);
        }
        Value::Array(array) => {
            put(ARRAY, &[]);
            write_array(array, out);
        }
    }
}

/// Writes the type and the number of an array's values, and the values.
fn write_array(array: &Array, out: &mut Vec<u8>) {
    fn put<T: NoUninit>(type_id: u32, values: &[T], out: &mut Vec<u8>) {
        begin(type_id, values.len(), out);
        out.extend(bytemuck::cast_slice::<T, u8>(values));
    }
    fn begin(type_id: u32, len: usize, out: &mut Vec<u8>) {
        out.extend(type_id.to_le_bytes());
        out.extend((len as u64).to_le_bytes());
    }
    match array {
        Array::U8(values) => put(0, values, out),
        Array::I8(values) => put(1, values, out),
        Array::U16(values) => put(2, values, out),
        Array::I16(values) => put(3, values, out),
        Array::U32(values) => put(4, values, out),
        Array::I32(values) => put(5, values, out),
        Array::F32(values) => put(6, values, out),
        Array::Bool(values) => put(7, values, out),
        Array::U64(values) => put(10, values, out),
        Array::I64(values) => put(11, values, out),
        Array::F64(values) => put(12, values, out),
        Array::String(texts) => {
            begin(TEXT, texts.len(), out);
            texts.iter().for_each(|text| write_text(text.as_bytes(), out));
        }
        Array::Bytes(texts) => {
            begin(TEXT, texts.len(), out);
            texts.iter().for_each(|text| write_text(text, out));
        }
        Array::Array(arrays) => {
            begin(ARRAY, arrays.len(), out);
            arrays.iter().for_each(|array| write_array(array, out));
        }
    }
}

/// Writes a text: its length as u64, and its bytes.
pub(super) fn write_text(text: &[u8], out: &mut Vec<u8>) {
    out.extend((text.len() as u64).to_le_bytes());
    out.extend(text);
}
