//! Reads what a C library describes, and takes nothing on trust that can be checked.

use std::ffi::c_char;

use bitquilt_plugin_api::{Error, Result};

use crate::header::Record;

/// The largest size that a struct of a later header may have.
const MAX_RECORD: usize = 1 << 16;
/// The longest text that is read, in bytes.
const MAX_TEXT: usize = 1024;

/// A struct of the library; `what` names it in errors.
///
/// # Safety
/// `pointer` is null, or readable for as many bytes as the struct there says it has.
pub(crate) unsafe fn record<T: Record>(what: &str, pointer: *const T) -> Result<&'static T> {
    if pointer.is_null() {
        return Err(Error::invalid(format_args!("{what} is NULL")));
    }
    if !pointer.is_aligned() {
        return Err(Error::invalid(format_args!(
            "{what} is at {pointer:?}, which is not aligned for a struct"
        )));
    }
    // SAFETY: the caller says that it is readable; a record begins with its size.
    let size = unsafe { pointer.cast::<usize>().read() };
    let least = size_of::<T>();
    if size < least || size > MAX_RECORD {
        return Err(Error::invalid(format_args!(
            "{what} has the size {size}, a struct of bitquilt.h is expected, of {least} bytes or a later header's more; set `size` \
             to its sizeof"
        )));
    }
    // SAFETY: readable, aligned, and of all fields; no field has bit patterns that are invalid (functions are options).
    Ok(unsafe { &*pointer })
}

/// An array of pointers to structs.
///
/// # Safety
/// `pointer` is null, or readable for `count` pointers, if they are at most `most`.
pub(crate) unsafe fn list<T>(
    what: &str,
    pointer: *const *const T,
    count: usize,
    most: usize,
) -> Result<&'static [*const T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if count > most {
        return Err(Error::invalid(format_args!("{what} are {count}; there may be {most}")));
    }
    if pointer.is_null() || !pointer.is_aligned() {
        return Err(Error::invalid(format_args!(
            "{what} are {count}, but their array is at {pointer:?}; an array of pointers is expected"
        )));
    }
    // SAFETY: not null, aligned, and readable as the caller says; the library keeps it unchanged for ever.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// A text that must be there.
///
/// # Safety
/// `pointer` is null, or readable up to the first zero or for [`MAX_TEXT`] bytes.
pub(crate) unsafe fn text(what: &str, pointer: *const c_char) -> Result<String> {
    if pointer.is_null() {
        return Err(Error::invalid(format_args!("{what} is NULL; a text is expected")));
    }
    let mut bytes = Vec::new();
    loop {
        // SAFETY: no zero and less than MAX_TEXT bytes so far.
        match unsafe { pointer.add(bytes.len()).cast::<u8>().read() } {
            0 => break,
            byte => bytes.push(byte),
        }
        if bytes.len() == MAX_TEXT {
            return Err(Error::invalid(format_args!("{what} has no end within {MAX_TEXT} bytes")));
        }
    }
    String::from_utf8(bytes).map_err(|error| {
        let lossy = String::from_utf8_lossy(error.as_bytes()).into_owned();
        Error::invalid(format_args!("{what} is no UTF-8: {lossy:?}"))
    })
}

/// A text that may be missing, and is then empty.
///
/// # Safety
/// As for [`text`].
pub(crate) unsafe fn optional_text(what: &str, pointer: *const c_char) -> Result<String> {
    // SAFETY: as the caller promises.
    if pointer.is_null() { Ok(String::new()) } else { unsafe { text(what, pointer) } }
}

/// A function that must be there.
pub(crate) fn function<F>(what: &str, function: Option<F>) -> Result<F> {
    function.ok_or_else(|| Error::invalid(format_args!("{what} is NULL; a function is expected")))
}
