//! Exceptions of an author's code, on their way through the library, whose errors are texts.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use bitquilt::plugin_api::Error;
use bitquilt::text::Cut;
use pyo3::prelude::*;

/// The most exceptions that wait to be raised again. Of several that threads raise at a time one comes back.
const WAITING: usize = 16;
/// The most characters of an exception that the library's error has.
const SHOWN: usize = 300;

/// Exceptions, each with the text that the library's error has.
static RAISED: Mutex<VecDeque<(String, PyErr)>> = Mutex::new(VecDeque::new());

/// The library's error for an exception, which [`take`] finds again.
pub fn note(py: Python<'_>, error: PyErr) -> Error {
    let kind = error.get_type(py).name().map_or_else(|_| "Exception".to_owned(), |name| name.to_string());
    let text = format!("{kind}: {}", Cut(&error.value(py).to_string(), SHOWN));
    // What is dropped may run code of Python's, with which nothing may be locked.
    let _dropped = {
        let mut raised = RAISED.lock().unwrap_or_else(PoisonError::into_inner);
        raised.push_back((text.clone(), error));
        (raised.len() > WAITING).then(|| raised.pop_front())
    };
    Error::failed(text)
}

/// The exception that a sentence of the library is about, with that sentence as a note.
pub fn take(py: Python<'_>, sentence: &str) -> Option<PyErr> {
    let error = {
        let mut raised = RAISED.lock().unwrap_or_else(PoisonError::into_inner);
        let index = raised.iter().rposition(|(text, _)| sentence.contains(text.as_str()))?;
        raised.remove(index)?.1
    };
    // An exception without notes is raised as it is.
    let _ = error.value(py).call_method1("add_note", (sentence,));
    Some(error)
}
