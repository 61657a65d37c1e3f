//! Floating-point control: how a thread rounds, whether it keeps the smallest numbers, and what it traps.
//!
//! It belongs to the host at every border. Whoever calls code of another library does it by [`in_default_control`], so that this
//! code finds the default whatever its caller had set, and the caller finds what it had, whatever was left behind. That an
//! operation was inexact, or overflowed, is noted in flags that nobody reads; they are left alone.
//!
//! The bits are those of Intel's manual, volume 1, 8.1.5 and 10.2.3, and of the Arm manual's FPCR. On other machines nothing is done.

use std::cell::Cell;
use std::fmt::{self, Display, Formatter};

/// The floating-point control of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FloatControl(machine::Bits);

impl FloatControl {
    /// What a program starts with: to nearest, nothing is flushed to zero, nothing trapped.
    pub const DEFAULT: Self = Self(machine::DEFAULT);

    /// This thread's.
    #[inline]
    pub fn current() -> Self {
        Self(machine::read())
    }

    /// Makes it this thread's.
    fn set(self) {
        // SAFETY: the compiler takes every thread for one in the default control. This sets the default, or puts back what a caller
        // had set before it called; in between runs nothing but what expects it.
        unsafe { machine::write(self.0) }
    }
}

impl Display for FloatControl {
    /// What is not as it is by default.
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let said: Vec<&str> =
            machine::MEANINGS.iter().filter(|(is, _)| is(self.0)).map(|(_, meaning)| *meaning).collect();
        match &said[..] {
            [] if *self == Self::DEFAULT => f.write_str("the default"),
            [] => f.write_str("other bits than the default's"),
            _ => f.write_str(&said.join(", ")),
        }
    }
}

/// A call that left another floating-point control than it found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ControlChange {
    /// What was called: `Kernel::run`.
    pub call: &'static str,
    /// What it left.
    pub left: FloatControl,
}

impl Display for ControlChange {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { call, left } = self;
        write!(f, "{call} leaves the thread's floating-point control changed: {left}")
    }
}

thread_local! {
    static CHANGE: Cell<Option<ControlChange>> = const { Cell::new(None) };
}

/// The first call since this was last asked, on this thread and in the parallel regions that it began, that left another control.
pub fn take_control_change() -> Option<ControlChange> {
    CHANGE.take()
}

/// Notes a change, unless one is noted already.
#[cold]
pub(crate) fn note_control_change(change: ControlChange) {
    CHANGE.set(CHANGE.get().or(Some(change)));
}

/// Runs `call` in the default control, and puts back what this thread had, also when it panics. `what` names it for
/// [`take_control_change`].
#[inline]
pub fn in_default_control<T>(what: &'static str, call: impl FnOnce() -> T) -> T {
    let _border = Border::cross(what);
    call()
}

/// A thread that is in other code, which began in the default control.
struct Border {
    what: &'static str,
    found: FloatControl,
}

impl Border {
    #[inline]
    fn cross(what: &'static str) -> Self {
        let found = FloatControl::current();
        if found != FloatControl::DEFAULT {
            FloatControl::DEFAULT.set();
        }
        Self { what, found }
    }

    #[cold]
    fn reset(&self, left: FloatControl) {
        if left != FloatControl::DEFAULT {
            note_control_change(ControlChange { call: self.what, left });
        }
        self.found.set();
    }
}

impl Drop for Border {
    #[inline]
    fn drop(&mut self) {
        let left = FloatControl::current();
        if left != self.found || left != FloatControl::DEFAULT {
            self.reset(left);
        }
    }
}

/// What a predicate finds, in words.
type Meaning = (fn(machine::Bits) -> bool, &'static str);

#[cfg(target_arch = "x86_64")]
mod machine {
    use std::arch::asm;

    use super::Meaning;

    /// MXCSR without its flags, and the control word of the x87 unit, which C's `long double` uses.
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    pub(super) struct Bits {
        mxcsr: u32,
        x87: u16,
    }

    pub(super) const DEFAULT: Bits = Bits { mxcsr: 0x1f80, x87: if cfg!(windows) { 0x027f } else { 0x037f } };

    #[cfg(test)]
    pub(super) const UPWARD: Bits = Bits { mxcsr: DEFAULT.mxcsr | 2 << 13, x87: DEFAULT.x87 | 2 << 10 };

    const FLAGS: u32 = 0x3f;
    const ZERO_OPERANDS: u32 = 1 << 6;
    const MASKS: u32 = 0x3f << 7;
    const ROUNDING: u32 = 3 << 13;
    const ZERO_RESULTS: u32 = 1 << 15;

    pub(super) const MEANINGS: &[Meaning] = &[
        (|bits| bits.mxcsr & ZERO_RESULTS != 0, "results below the normal numbers become zero"),
        (|bits| bits.mxcsr & ZERO_OPERANDS != 0, "operands below the normal numbers are taken for zero"),
        (|bits| bits.mxcsr & ROUNDING == 1 << 13, "results are rounded down"),
        (|bits| bits.mxcsr & ROUNDING == 2 << 13, "results are rounded up"),
        (|bits| bits.mxcsr & ROUNDING == 3 << 13, "results are rounded toward zero"),
        (|bits| bits.mxcsr & MASKS != MASKS, "floating-point exceptions are trapped"),
        (|bits| bits.x87 != DEFAULT.x87, "the x87 unit rounds otherwise or traps"),
    ];

    fn read_mxcsr() -> u32 {
        let mut mxcsr = 0u32;
        // SAFETY: writes the register to `mxcsr`, and changes nothing else.
        unsafe { asm!("stmxcsr [{}]", in(reg) &raw mut mxcsr, options(nostack, preserves_flags)) };
        mxcsr
    }

    #[inline]
    pub(super) fn read() -> Bits {
        let mut x87 = 0u16;
        // SAFETY: writes the control word to `x87`, and changes nothing else.
        unsafe { asm!("fnstcw [{}]", in(reg) &raw mut x87, options(nostack, preserves_flags)) };
        Bits { mxcsr: read_mxcsr() & !FLAGS, x87 }
    }

    /// # Safety
    /// The code that runs next expects this control.
    pub(super) unsafe fn write(bits: Bits) {
        let mxcsr = bits.mxcsr | read_mxcsr() & FLAGS;
        // SAFETY: reads two variables into the registers; both hold what was read from them, so no reserved bit is set. `fnclex`
        // drops the x87 unit's flags, which would trap at once where a trap is set. The caller answers for what follows.
        unsafe {
            asm!(
                "ldmxcsr [{mxcsr}]",
                "fnclex",
                "fldcw [{x87}]",
                mxcsr = in(reg) &raw const mxcsr,
                x87 = in(reg) &raw const bits.x87,
                options(nostack),
            );
        }
    }
}

#[cfg(target_arch = "aarch64")]
mod machine {
    use std::arch::asm;

    use super::Meaning;

    /// FPCR; its flags are in a register of their own.
    pub(super) type Bits = u64;

    pub(super) const DEFAULT: Bits = 0;
    #[cfg(test)]
    pub(super) const UPWARD: Bits = 1 << 22;

    const TRAPS: u64 = 0x9f << 8;
    const ROUNDING: u64 = 3 << 22;
    /// FZ, FZ16, and FIZ.
    const ZERO: u64 = 1 << 24 | 1 << 19 | 1;
    /// DN, and AH.
    const NANS: u64 = 1 << 25 | 2;

    pub(super) const MEANINGS: &[Meaning] = &[
        (|bits| bits & ZERO != 0, "numbers below the normal ones become zero"),
        (|bits| bits & ROUNDING == 1 << 22, "results are rounded up"),
        (|bits| bits & ROUNDING == 2 << 22, "results are rounded down"),
        (|bits| bits & ROUNDING == 3 << 22, "results are rounded toward zero"),
        (|bits| bits & NANS != 0, "NaNs are made otherwise"),
        (|bits| bits & TRAPS != 0, "floating-point exceptions are trapped"),
    ];

    #[inline]
    pub(super) fn read() -> Bits {
        let bits: u64;
        // SAFETY: reads a register that every program may read.
        unsafe { asm!("mrs {}, fpcr", out(reg) bits, options(nostack, preserves_flags)) };
        bits
    }

    /// # Safety
    /// The code that runs next expects this control.
    pub(super) unsafe fn write(bits: Bits) {
        // SAFETY: every program may write the register; the caller answers for what follows.
        unsafe { asm!("msr fpcr, {}", in(reg) bits, options(nostack, preserves_flags)) };
    }
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
mod machine {
    pub(super) type Bits = ();
    pub(super) const DEFAULT: Bits = ();
    pub(super) const MEANINGS: &[super::Meaning] = &[];
    pub(super) fn read() -> Bits {}
    /// # Safety
    /// There is none to keep.
    pub(super) unsafe fn write(_: Bits) {}
}

#[cfg(all(test, any(target_arch = "x86_64", target_arch = "aarch64")))]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    const UPWARD: FloatControl = FloatControl(machine::UPWARD);

    #[test]
    fn the_default_is_what_a_thread_starts_with() {
        assert_eq!(FloatControl::current(), FloatControl::DEFAULT);
        assert_eq!(FloatControl::DEFAULT.to_string(), "the default");
    }

    #[test]
    fn what_a_call_leaves_is_put_back_and_noted() {
        take_control_change();
        in_default_control("first", || ());
        assert_eq!(take_control_change(), None);
        in_default_control("second", || UPWARD.set());
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            in_default_control("third", || {
                UPWARD.set();
                panic!("of third")
            })
        }));
        assert!(panicked.is_err());
        assert_eq!(FloatControl::current(), FloatControl::DEFAULT);
        let change = take_control_change().unwrap();
        assert_eq!(change.call, "second");
        let said = change.to_string();
        assert!(
            said.starts_with(
                "second leaves the thread's floating-point control changed: results are rounded up"
            ),
            "{said}"
        );
        assert_eq!(take_control_change(), None);
    }

    #[test]
    fn a_caller_s_own_control_is_kept_from_the_call_and_put_back() {
        UPWARD.set();
        let seen = in_default_control("call", FloatControl::current);
        let after = FloatControl::current();
        FloatControl::DEFAULT.set();
        assert_eq!((seen, after), (FloatControl::DEFAULT, UPWARD));
        assert_eq!(take_control_change(), None);
    }
}
