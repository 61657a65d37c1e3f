//! Work that takes long: without the interpreter's lock, and until somebody interrupts it.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

use bitquilt::interrupt::Interrupt;
use pyo3::prelude::*;

/// How often signals are looked for.
const PAUSE: Duration = Duration::from_millis(50);

/// Does work of so many values: here if they are few, and otherwise as [`run`] does.
pub fn run_for<T: Send>(py: Python<'_>, values: usize, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    /// Values that any encoding has done before a person can tell.
    const FEW: usize = 1 << 15;
    if values <= FEW { Ok(py.detach(work)) } else { run(py, work) }
}

/// Does work in a thread of its own, while this one looks for signals. An exception that a signal's handler raises, such as
/// `KeyboardInterrupt`, stops the work's quantizing and decoding, and is what comes back.
pub fn run<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let interrupt = Interrupt::new();
    let (done, finished) = channel::<()>();
    let (outcome, interrupted) = py.detach(move || {
        let interrupt = &interrupt;
        thread::scope(|scope| {
            let worker = scope.spawn(move || {
                // Dropped at the end of the work, also where it panics.
                let _done = done;
                interrupt.scope(work)
            });
            let mut interrupted = None;
            while finished.recv_timeout(PAUSE) == Err(RecvTimeoutError::Timeout) {
                if interrupted.is_none()
                    && let Err(error) = Python::attach(|py| py.check_signals())
                {
                    interrupt.request();
                    interrupted = Some(error);
                }
            }
            (worker.join(), interrupted)
        })
    });
    match (outcome, interrupted) {
        (_, Some(error)) => Err(error),
        (Ok(value), None) => Ok(value),
        (Err(panic), None) => resume_unwind(panic),
    }
}
