//! Stopping work that takes long.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

thread_local! {
    static CURRENT: RefCell<Option<Interrupt>> = const { RefCell::new(None) };
}

/// A request to stop, which any thread may make. Clones are the same request.
///
/// Within its [scope](Self::scope) what takes long looks for it, and is then an error:
///
/// | work | looks for it | error |
/// |---|---|---|
/// | quantizing, decoding | after every 65 536 values | [`QuantizeError::Interrupted`](crate::QuantizeError::Interrupted) |
/// | loading a graph | before each node's kernel is prepared | [`LoadError::Interrupted`](crate::LoadError::Interrupted) |
/// | a run | before each node | [`RunError::Interrupted`](crate::RunError::Interrupted) |
/// | a [search](crate::quantize::allocation) | in all of these, and before each probe | [`AllocationError::Interrupted`](crate::quantize::allocation::AllocationError::Interrupted) |
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
        Self::in_scope().unwrap_or_default()
    }

    /// That of the innermost scope on this thread, if there is one. Nothing is allocated.
    pub(crate) fn in_scope() -> Option<Self> {
        CURRENT.with_borrow(Clone::clone)
    }

    /// Whether that of the innermost scope on this thread was requested.
    pub(crate) fn is_current_requested() -> bool {
        CURRENT.with_borrow(|current| current.as_ref().is_some_and(Self::is_requested))
    }
}
