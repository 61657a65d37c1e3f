//! The searches for scales and levels, which formats of a kind share.

pub(crate) mod affine;
pub(crate) mod blocks32;
pub(crate) mod codebook;
pub(crate) mod grid;
pub(crate) mod positive;
pub(crate) mod refined;
pub(crate) mod sums;
pub(crate) mod super_affine;
pub(crate) mod symmetric;
pub(crate) mod ternary;
