//! Reads what a C library describes, and takes nothing on trust that can be checked.
//!
//! The types here are what the header's structs have in place of pointers. Only a library makes them, but for texts that a host
//! lends, and it makes them as the header says; so they may be read wherever they are found.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;

use bitquilt_plugin_api::{Error, Result};

/// The largest size that a struct of a later header may have.
const MAX_RECORD: usize = 1 << 16;
/// The longest text that is read, in bytes.
const MAX_TEXT: usize = 1024;

/// A struct that begins with its size.
///
/// # Safety
/// `repr(C)`, the first field is a `usize` with the size of the struct, and no field has bit patterns that are invalid.
pub(crate) unsafe trait Record: 'static {}

/// A struct of the library: null, or readable for as many bytes as the struct there says it has, for as long as the program runs.
#[repr(transparent)]
pub(crate) struct Item<T>(*const T);

impl<T: Record> Item<T> {
    /// Whether there is one.
    pub(crate) fn is_some(&self) -> bool {
        !self.0.is_null()
    }

    /// The struct; `what` names it in errors.
    pub(crate) fn read(&self, what: &str) -> Result<&'static T> {
        let Self(pointer) = *self;
        if pointer.is_null() {
            return Err(Error::invalid(format_args!("{what} is NULL")));
        }
        if !pointer.is_aligned() {
            return Err(Error::invalid(format_args!(
                "{what} is at {pointer:?}, which is not aligned for a struct"
            )));
        }
        // SAFETY: readable, as the type says; a record begins with its size.
        let size = unsafe { pointer.cast::<usize>().read() };
        let least = size_of::<T>();
        if size < least || size > MAX_RECORD {
            return Err(Error::invalid(format_args!(
                "{what} has the size {size}, a struct of bitquilt.h is expected, of {least} bytes or a later header's more; set \
                 `size` to its sizeof"
            )));
        }
        // SAFETY: readable, aligned, and of all fields, which may have any bits.
        Ok(unsafe { &*pointer })
    }
}

/// An array of pointers to structs: null, or readable for `count` pointers, if they are at most as many as the header allows.
#[repr(C)]
pub(crate) struct List<T> {
    pub(crate) count: usize,
    pub(crate) items: *const Item<T>,
}

impl<T> List<T> {
    /// The structs; `what` names them in errors.
    pub(crate) fn read(&self, what: &str, most: usize) -> Result<&'static [Item<T>]> {
        let Self { count, items } = *self;
        if count == 0 {
            return Ok(&[]);
        }
        if count > most {
            return Err(Error::invalid(format_args!("{what} are {count}; there may be {most}")));
        }
        if items.is_null() || !items.is_aligned() {
            return Err(Error::invalid(format_args!(
                "{what} are {count}, but their array is at {items:?}; an array of pointers is expected"
            )));
        }
        // SAFETY: not null, aligned, and readable as the type says; the library keeps it unchanged for ever.
        Ok(unsafe { std::slice::from_raw_parts(items, count) })
    }
}

/// A text: null, or readable for `'a` up to the first zero or for [`MAX_TEXT`] bytes.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(crate) struct Text<'a>(*const c_char, PhantomData<&'a CStr>);

impl<'a> Text<'a> {
    /// None.
    pub(crate) const NULL: Self = Self(std::ptr::null(), PhantomData);

    /// A text for the library to read.
    pub(crate) fn lend(text: Option<&'a CStr>) -> Self {
        text.map_or(Self::NULL, |text| Self(text.as_ptr(), PhantomData))
    }

    /// A text that must be there; `what` names it in errors.
    pub(crate) fn read(self, what: &str) -> Result<String> {
        if self.0.is_null() {
            return Err(Error::invalid(format_args!("{what} is NULL; a text is expected")));
        }
        let mut bytes = Vec::new();
        loop {
            // SAFETY: readable, as the type says: no zero and less than MAX_TEXT bytes so far.
            match unsafe { self.0.add(bytes.len()).cast::<u8>().read() } {
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
    pub(crate) fn read_or_empty(self, what: &str) -> Result<String> {
        if self.0.is_null() { Ok(String::new()) } else { self.read(what) }
    }
}

/// A function that must be there.
pub(crate) fn function<F>(what: &str, function: Option<F>) -> Result<F> {
    function.ok_or_else(|| Error::invalid(format_args!("{what} is NULL; a function is expected")))
}
