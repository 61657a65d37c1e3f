//! What all tests of the command share.

use bitquilt_tests::workplace::Workplace;

/// An empty directory with the command to run in it.
pub fn workplace() -> Workplace {
    Workplace::new(env!("CARGO_BIN_EXE_bitquilt"))
}
