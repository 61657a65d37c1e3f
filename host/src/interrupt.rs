//! Stopping work that takes long.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static CURRENT: RefCell<Option<Interrupt>> = const { RefCell::new(None) };
}

/// A request to stop, which any thread may make. Clones are the same request.
///
/// What is quantized or decoded within its [scope](Self::scope) looks for it after every 65 536 values, and is then
/// [`QuantizeError::Interrupted`](crate::QuantizeError::Interrupted).
///
/// ```
/// use bitquilt::interrupt::Interrupt;
/// use bitquilt::{InferenceSession, QuantizeError, Tensor};
///
/// let session = InferenceSession::builder().build()?;
/// let encoding = session.registry().require_encoding("q4_k")?;
/// let interrupt = Interrupt::new();
/// interrupt.request();
/// let weight = Tensor::full([4, 256], 1f32);
/// let stopped = interrupt.scope(|| encoding.quantize(&weight)).unwrap_err();
/// assert_eq!(stopped, QuantizeError::Interrupted);
/// # Ok::<(), bitquilt::Error>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Interrupt(Arc<AtomicBool>);

impl Interrupt {
    /// Nothing is to be stopped yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Has all stop that runs in the scope.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it was requested.
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    /// Runs `work` on this thread, to be stopped by this request and not by that of an outer scope.
    pub fn scope<T>(&self, work: impl FnOnce() -> T) -> T {
        /// Puts the outer scope back, also where the work panics.
        struct Outer(Option<Interrupt>);
        impl Drop for Outer {
            fn drop(&mut self) {
                CURRENT.replace(self.0.take());
            }
        }
        let _outer = Outer(CURRENT.replace(Some(self.clone())));
        work()
    }

    /// That of the innermost scope on this thread, or one that nobody requests.
    pub(crate) fn current() -> Self {
        CURRENT.with_borrow(|current| current.clone()).unwrap_or_default()
    }
}
