//! Keeps a panic inside the library it happened in, and turns it into an error.

use std::any::Any;
use std::cell::RefCell;
use std::mem::ManuallyDrop;
use std::ops::Deref;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::{Error, ErrorKind, Result};

thread_local! {
    /// Where this thread panicked last, as the recording hook saw it.
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Makes panics of this library silent, and remembers where they happened.
///
/// A shared library has a panic hook of its own; in a program's own code this would replace the program's.
pub(crate) fn install_recording_hook() {
    std::panic::set_hook(Box::new(|info| {
        let place = info.location().map(|at| format!("{}:{}", at.file(), at.line()));
        let _ = PLACE.try_with(|slot| *slot.borrow_mut() = place);
    }));
}

/// The place of this thread's last panic, once.
pub(crate) fn take_place() -> Option<String> {
    PLACE.try_with(|slot| slot.borrow_mut().take()).ok().flatten()
}

/// Says that this thread's next caught panic came from `place`.
pub(crate) fn set_place(place: Option<String>) {
    let _ = PLACE.try_with(|slot| *slot.borrow_mut() = place);
}

/// Runs the author's `what`; a panic in it is an error.
pub(crate) fn guard<T>(what: &str, call: impl FnOnce() -> Result<T>) -> Result<T> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result,
        Err(payload) => Err(panicked(what, payload)),
    }
}

fn panicked(what: &str, payload: Box<dyn Any + Send>) -> Error {
    let text = payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a value that is no text".to_owned());
    let place = take_place().map(|place| format!(" at {place}")).unwrap_or_default();
    discard(payload);
    // `assert_eq!` writes several lines.
    let text = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    Error::new(ErrorKind::Panicked, format_args!("`{what}` panicked{place}: {text}"))
}

/// Drops what an author made; a panic in its destructor ends there.
pub(crate) fn discard<T>(value: T) {
    let Err(second) = catch_unwind(AssertUnwindSafe(move || drop(value))) else { return };
    // What a destructor panicked with may have one that panics as well; what that one panics with is left alone.
    if let Err(third) = catch_unwind(AssertUnwindSafe(move || drop(second))) {
        std::mem::forget(third);
    }
    take_place();
}

/// An author's value whose destructor cannot panic.
pub(crate) struct Guarded<T>(ManuallyDrop<T>);

impl<T> Guarded<T> {
    pub(crate) fn new(value: T) -> Self {
        Self(ManuallyDrop::new(value))
    }
}

impl<T> Deref for Guarded<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.0
    }
}

impl<T> Drop for Guarded<T> {
    fn drop(&mut self) {
        // SAFETY: the value is taken once, here, and not used again.
        discard(unsafe { ManuallyDrop::take(&mut self.0) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("in drop");
        }
    }

    #[test]
    fn panics_become_errors() {
        let error = guard("infer", || -> Result<()> { panic!("rank {}", 3) }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Panicked);
        assert_eq!(error.message(), "`infer` panicked: rank 3");
    }

    #[test]
    fn destructors_that_panic_are_contained() {
        drop(Guarded::new(Bomb));
        let error = guard("run", || -> Result<()> { std::panic::panic_any(Bomb) }).unwrap_err();
        assert!(error.message().contains("no text"));
    }
}
