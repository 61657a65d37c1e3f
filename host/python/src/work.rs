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

/// Who is told how far work is: a function of Python's, or nobody.
pub struct Progress {
    function: Option<Py<PyAny>>,
    interrupt: Interrupt,
    raised: Option<PyErr>,
}

impl Progress {
    /// Calls the function with what is done, how much of it, and of how much. What it raises stops the work.
    pub fn tell(&mut self, stage: &str, done: usize, of: usize) {
        let Some(function) = self.function.as_ref().filter(|_| !self.interrupt.is_requested()) else {
            return;
        };
        if let Err(error) = Python::attach(|py| function.call1(py, (stage, done, of)).map(drop)) {
            self.raised = Some(error);
            self.interrupt.request();
        }
    }
}

/// Does work as [`run`] does, and has a function told how far it is. What the function raises comes back.
pub fn run_told<T: Send>(
    py: Python<'_>,
    function: Option<Py<PyAny>>,
    work: impl FnOnce(&mut Progress) -> T + Send,
) -> PyResult<T> {
    let interrupt = Interrupt::new();
    let mut progress = Progress { function, interrupt: interrupt.clone(), raised: None };
    let done = run_until(py, &interrupt, || work(&mut progress))?;
    match progress.raised {
        Some(error) => Err(error),
        None => Ok(done),
    }
}

/// Does work in a thread of its own, while this one looks for signals. An exception that a signal's handler raises, such as
/// `KeyboardInterrupt`, [stops](Interrupt) the work, and is what comes back.
pub fn run<T: Send>(py: Python<'_>, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    run_until(py, &Interrupt::new(), work)
}

fn run_until<T: Send>(py: Python<'_>, interrupt: &Interrupt, work: impl FnOnce() -> T + Send) -> PyResult<T> {
    let (done, finished) = channel::<()>();
    let (outcome, interrupted) = py.detach(move || {
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
