//! Reading typed values.

use bytemuck::AnyBitPattern;

use super::cursor::Cursor;
use crate::checkpoint::error::Fault;
use crate::checkpoint::metadata::{Array, Value, text};
use crate::text::Brief;

/// The type number of arrays.
const ARRAY: u32 = 9;

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
        8 => text(cursor.text(what)?),
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
        8 => texts(cursor, len, what)?,
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
