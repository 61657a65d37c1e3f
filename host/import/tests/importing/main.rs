//! Checkpoints of every format that is imported: made by hand and by numpy, and damaged.

#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod bitsandbytes;
mod common;
mod compressed;
mod gptq;
mod hostile;
mod hqq;
mod mlx;
mod numpy;
