//! Calls between C and Rust: statuses and texts on one side, results on the other.

use std::ffi::c_void;
use std::panic::{AssertUnwindSafe, catch_unwind};

use bitquilt_plugin_api::{Error, ErrorKind, Result};

use crate::header::{FAILED, INVALID, OK, RawError, UNSUPPORTED};

/// Room for a text.
const CAPACITY: usize = 1024;

/// What an author's functions are handed. The header says that it is for any thread.
#[derive(Clone, Copy)]
pub(crate) struct User(pub(crate) *mut c_void);

// SAFETY: the header asks authors for data that may be used from any thread, several at once.
unsafe impl Send for User {}
// SAFETY: as above.
unsafe impl Sync for User {}

impl User {
    /// The pointer.
    pub(crate) fn get(self) -> *mut c_void {
        self.0
    }
}

/// Calls a function of the library with room for a text, and makes a result of its status.
pub(crate) fn call(what: &str, function: impl FnOnce(*mut RawError) -> i32) -> Result<()> {
    let mut text = [0u8; CAPACITY];
    let mut error =
        RawError { size: size_of::<RawError>(), capacity: CAPACITY, text: text.as_mut_ptr().cast() };
    let status = function(&raw mut error);
    let kind = match status {
        OK => return Ok(()),
        INVALID => ErrorKind::Invalid,
        UNSUPPORTED => ErrorKind::Unsupported,
        FAILED => ErrorKind::Failed,
        _ => {
            return Err(Error::failed(format_args!(
                "`{what}` returned the status {status}, which bitquilt.h does not have"
            )));
        }
    };
    let said = text.split(|byte| *byte == 0).next().unwrap_or_default();
    Err(match String::from_utf8_lossy(said).trim() {
        "" => Error::new(kind, format_args!("`{what}` failed without saying why")),
        said => Error::new(kind, said),
    })
}

/// Answers a call of the library: a status, and the text of an error. No panic leaves it.
pub(crate) fn answer(error: Option<&RawError>, body: impl FnOnce() -> Result<()>) -> i32 {
    let outcome = catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<String>().map(String::as_str);
        let text = text.or(payload.downcast_ref::<&str>().copied()).unwrap_or("a panic");
        Err(Error::failed(text))
    });
    let Err(failure) = outcome else { return OK };
    if let Some(room) = error
        && !room.text.is_null()
        && room.capacity > 0
    {
        let mut end = failure.message().len().min(room.capacity - 1);
        while !failure.message().is_char_boundary(end) {
            end -= 1;
        }
        let said = &failure.message().as_bytes()[..end];
        // SAFETY: the header says that the text has room for `capacity` bytes.
        let text = unsafe { std::slice::from_raw_parts_mut(room.text.cast::<u8>(), end + 1) };
        text[..end].copy_from_slice(said);
        text[end] = 0;
    }
    match failure.kind() {
        ErrorKind::Invalid => INVALID,
        ErrorKind::Unsupported => UNSUPPORTED,
        _ => FAILED,
    }
}
