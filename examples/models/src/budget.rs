//! Memory that a thread may have, for work whose size a stranger chooses.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The system's allocator, which stops a thread that takes more memory than its [`Budget`].
///
/// Make it the program's: `#[global_allocator] static ALLOCATOR: Budgeted = Budgeted;`. Threads without a budget notice nothing.
pub struct Budgeted;

/// A thread's memory, and whether it is used up. The thread itself never goes on after that: it keeps what it has until the program ends.
#[derive(Clone, Default)]
pub struct Budget(Arc<AtomicBool>);

thread_local! {
    /// The number of bytes that this thread may still take; `usize::MAX` without a budget.
    static LEFT: Cell<usize> = const { Cell::new(usize::MAX) };
    /// The flag that is set when they are used up.
    static SPENT: Cell<*const AtomicBool> = const { Cell::new(ptr::null()) };
}

impl Budget {
    /// Has `work` done by this thread with so many bytes beside those it has.
    pub fn spend<T>(&self, bytes: usize, work: impl FnOnce() -> T) -> T {
        /// Ends the spending, by a panic of the work as well.
        struct End;
        impl Drop for End {
            fn drop(&mut self) {
                LEFT.set(usize::MAX);
            }
        }
        SPENT.set(Arc::as_ptr(&self.0));
        LEFT.set(bytes);
        let _end = End;
        work()
    }

    /// Whether the thread was stopped.
    pub fn is_spent(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Takes bytes off the thread's budget, and does not return if they are more than it has.
fn charge(bytes: usize) {
    let left = LEFT.get();
    if left == usize::MAX {
        return;
    }
    match left.checked_sub(bytes) {
        Some(left) => LEFT.set(left),
        None => stop(),
    }
}

/// Gives bytes back to the thread's budget.
fn release(bytes: usize) {
    let left = LEFT.get();
    if left != usize::MAX {
        LEFT.set(left.saturating_add(bytes).min(usize::MAX - 1));
    }
}

/// An allocator may neither unwind nor answer that there is nothing, which would end the program: the thread stays here.
#[cold]
fn stop() -> ! {
    // SAFETY: `spend` set it to what its `Budget` owns and borrows the budget; there is a limit until it returns or unwinds, and no longer.
    unsafe { (*SPENT.get()).store(true, Ordering::Release) };
    loop {
        std::thread::park();
    }
}

// SAFETY: all is the system's allocator, whose answers are passed on as they are; what is done beside that allocates nothing.
unsafe impl GlobalAlloc for Budgeted {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        charge(layout.size());
        // SAFETY: the caller keeps to the contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        charge(layout.size());
        // SAFETY: the caller keeps to the contract.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        charge(size);
        release(layout.size());
        // SAFETY: the caller keeps to the contract.
        unsafe { System.realloc(memory, layout, size) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        release(layout.size());
        // SAFETY: the caller keeps to the contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

#[cfg(test)]
#[global_allocator]
static ALLOCATOR: Budgeted = Budgeted;

#[cfg(test)]
mod tests {
    use super::*;
    use std::hint::black_box;
    use std::thread;
    use std::time::Duration;

    #[test]
    fn a_thread_that_takes_more_than_its_budget_stops_and_others_go_on() {
        let budget = Budget::default();
        let spending = budget.clone();
        // What is given back can be taken again.
        let frugal = || (0..100).for_each(|_| drop(black_box(vec![1u8; 1 << 16])));
        thread::spawn(move || spending.spend(1 << 17, frugal)).join().unwrap();
        assert!(!budget.is_spent());
        let spending = budget.clone();
        let greedy = || black_box(vec![0u8; 1 << 18]).len();
        let thread = thread::spawn(move || spending.spend(1 << 17, greedy));
        while !budget.is_spent() {
            thread::sleep(Duration::from_millis(1));
        }
        assert!(!thread.is_finished());
        assert_eq!(black_box(vec![0u8; 1 << 20]).len(), 1 << 20);
    }
}
