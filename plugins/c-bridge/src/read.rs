//! Reads what a C library describes, and takes nothing on trust that can be checked.
//!
//! The types here are what the header's structs have in place of pointers. Only a library makes them, but for texts that a host
//! lends, and it makes them as the header says; so they may be read wherever they are found.

use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use bitquilt_plugin_api::text::Cut;
use bitquilt_plugin_api::{Error, MAX_NAME, Result, name_problem};

/// The largest size that a struct of a later header may have.
const MAX_RECORD: usize = 1 << 16;
/// The longest text that is read, in bytes, the zero at its end included.
const MAX_TEXT: usize = 1024;

/// A struct that begins with its size.
///
/// # Safety
/// `repr(C)`, the first field is a `usize` with the size of the struct, and no field has bit patterns that are invalid, all zeros among
/// them. Fields are added in pairs or alone so that each version's size is a multiple of 8.
pub(crate) unsafe trait Record: 'static {
    /// The bytes that every version of the header has.
    const LEAST: usize;
}

/// A struct of the library: null, or readable for as many bytes as the struct there says it has, for as long as the program runs.
#[repr(transparent)]
pub(crate) struct Item<T>(*const T);

impl<T: Record> Item<T> {
    /// Whether there is one.
    pub(crate) fn is_some(&self) -> bool {
        !self.0.is_null()
    }

    /// The struct, with zeros for what an older header does not have; `what` names it in errors.
    pub(crate) fn read(&self, what: &str) -> Result<T> {
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
        if !is_size(size, T::LEAST, size_of::<T>()) {
            let least = T::LEAST;
            return Err(Error::invalid(format_args!(
                "{what} has the size {size}, a struct of bitquilt.h is expected, of {least} bytes or a later header's more; set \
                 `size` to its sizeof"
            )));
        }
        // SAFETY: readable for `size` bytes, and a record.
        Ok(unsafe { copy(pointer, size) })
    }
}

/// Whether a struct that has at least the bytes `least`, and in this version `full`, may have the size `size`.
pub(crate) fn is_size(size: usize, least: usize, full: usize) -> bool {
    (least..=MAX_RECORD).contains(&size) && (size >= full || size.is_multiple_of(8))
}

/// The first `size` bytes of a struct, and zeros after them.
///
/// # Safety
/// `pointer` is readable for `size` bytes, which are fields of a struct that may have any bits, all zeros among them.
pub(crate) unsafe fn copy<T>(pointer: *const T, size: usize) -> T {
    let mut record = MaybeUninit::<T>::zeroed();
    let bytes = size.min(size_of::<T>());
    // SAFETY: both have as many bytes; what was not copied is zero.
    unsafe {
        pointer.cast::<u8>().copy_to_nonoverlapping(record.as_mut_ptr().cast(), bytes);
        record.assume_init()
    }
}

/// An array: null, or readable for `count` items, if they are at most as many as the header allows.
#[repr(C)]
pub(crate) struct List<T> {
    pub(crate) count: usize,
    pub(crate) items: *const T,
}

impl<T> List<T> {
    /// The items; `what` names them in errors.
    pub(crate) fn read(&self, what: &str, most: usize) -> Result<&'static [T]> {
        // SAFETY: the type says so.
        unsafe { array(what, "pointers", self.count, self.items, most) }
    }
}

/// The items of an array; `what` names them in errors, and `of` says what they are.
///
/// # Safety
/// The array is the library's, and as [`List`] says.
pub(crate) unsafe fn array<T>(
    what: &str,
    of: &str,
    count: usize,
    items: *const T,
    most: usize,
) -> Result<&'static [T]> {
    if count == 0 {
        return Ok(&[]);
    }
    if count > most {
        return Err(Error::invalid(format_args!("{what} are {count}; there may be {most}")));
    }
    if items.is_null() || !items.is_aligned() {
        return Err(Error::invalid(format_args!(
            "{what} are {count}, but their array is at {items:?}; an array of {of} is expected"
        )));
    }
    // SAFETY: not null, aligned, and readable, as the caller promises; the library keeps it unchanged for ever.
    Ok(unsafe { std::slice::from_raw_parts(items, count) })
}

/// A switch: 0 or 1.
pub(crate) fn switch(what: &str, value: impl Into<u64>) -> Result<bool> {
    match value.into() {
        0 => Ok(false),
        1 => Ok(true),
        value => Err(Error::invalid(format_args!("{what} is {value}; 0 or 1 is expected"))),
    }
}

/// A field that has no meaning yet.
pub(crate) fn reserved(what: &str, value: u32) -> Result<()> {
    match value {
        0 => Ok(()),
        value => Err(Error::invalid(format_args!("{what} is {value}; it has no meaning, and must be 0"))),
    }
}

/// A text: null, or readable for `'a` up to the first zero or for as many bytes as are read at most.
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
        self.read_long(what, MAX_TEXT)
    }

    /// The same, of up to `most` bytes with the zero at its end.
    pub(crate) fn read_long(self, what: &str, most: usize) -> Result<String> {
        if self.0.is_null() {
            return Err(Error::invalid(format_args!("{what} is NULL; a text is expected")));
        }
        let mut bytes = Vec::new();
        loop {
            // SAFETY: readable, as the type says: no zero and less than `most` bytes so far.
            match unsafe { self.0.add(bytes.len()).cast::<u8>().read() } {
                0 => break,
                byte => bytes.push(byte),
            }
            if bytes.len() == most {
                return Err(Error::invalid(format_args!("{what} has no end within {most} bytes")));
            }
        }
        String::from_utf8(bytes).map_err(|error| {
            let lossy = String::from_utf8_lossy(error.as_bytes()).into_owned();
            Error::invalid(format_args!("{what} is no UTF-8: {lossy:?}"))
        })
    }

    /// A name that the host does not check.
    pub(crate) fn read_name(self, what: &str) -> Result<String> {
        let name = self.read(what)?;
        if name_problem(&name).is_none() {
            return Ok(name);
        }
        Err(Error::invalid(format_args!(
            "{what} is `{}`; a name has 1 to {MAX_NAME} of a-z A-Z 0-9 _ - . and begins with a letter",
            Cut(&name, MAX_NAME)
        )))
    }

    /// Whether there is one.
    pub(crate) fn is_some(self) -> bool {
        !self.0.is_null()
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
