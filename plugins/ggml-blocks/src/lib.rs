//! The block formats of GGML: layouts, quantization and decoding, identical to ggml's to the byte.
//!
//! A plain library: it knows nothing of graphs or plugins. A format is a type that implements [`BlockFormat`];
//! there is one file a format, which pictures its bits. [`FORMATS`] lists them all behind one plain type.
//!
//! What decides a byte follows ggml 0.25 operation by operation: f32 arithmetic in its order, without fused
//! multiply-adds, and x86's result where a conversion overflows. So the bytes are the same on every machine.

mod affine;
mod blocks32;

mod float;
mod format;
mod ints;
mod lanes;
mod nibbles;
mod positive;
mod sums;
mod super_affine;
mod symmetric;

mod bf16;
mod f16;
mod q4_0;
mod q4_1;
mod q4_k;
mod q6_k;
mod q8_0;

pub use bf16::{BF16, BlockBF16};
pub use f16::{BlockF16, F16};
pub use float::Half;
pub use format::{BlockFormat, Format, Importance};
pub use q4_0::{BlockQ4_0, Q4_0};
pub use q4_1::{BlockQ4_1, Q4_1};
pub use q4_k::{BlockQ4K, Q4K};
pub use q6_k::{BlockQ6K, Q6K};
pub use q8_0::{BlockQ8_0, Q8_0};

/// Every format of this crate.
pub const FORMATS: &[Format] = &[
    Format::of::<BF16>(),
    Format::of::<F16>(),
    Format::of::<Q4_0>(),
    Format::of::<Q4_1>(),
    Format::of::<Q4K>(),
    Format::of::<Q6K>(),
    Format::of::<Q8_0>(),
];

/// The format of that name, written as ggml writes it in lower case.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}
