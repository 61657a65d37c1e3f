//! The block formats of GGML: layouts, quantization and decoding, identical to ggml's to the byte.
//!
//! A plain library: it knows nothing of graphs or plugins. A format is a type that implements [`BlockFormat`];
//! there is one file a format, which pictures its bits. [`FORMATS`] lists them all behind one plain type.
//!
//! What decides a byte follows ggml 0.25 operation by operation: f32 arithmetic in its order, without fused
//! multiply-adds, and x86's result where a conversion overflows. So the bytes are the same on every machine.
//!
//! The golden files in `testdata` hold that in the tests, `tests/peers/quantize.sh` against ggml's own library, which it also
//! times; `cargo bench -p bitquilt-ggml-blocks` measures every format, and `tests/fuzz/libfuzzer/run.sh` looks for bytes that decode
//! differently, or that make anything read or write outside its buffer.

mod affine;
mod arch;
mod blocks32;
mod code_lanes;
mod codebook;
mod e2m1;
mod elementwise;
mod float;
mod format;
mod grid;
mod ints;
mod lanes;
mod packing;
mod positive;
mod refined;
mod sums;
mod super_affine;
mod symmetric;
mod ternary;

mod bf16;
mod f16;
mod iq1_m;
mod iq1_s;
mod iq2_s;
mod iq2_xs;
mod iq2_xxs;
mod iq3_s;
mod iq3_xxs;
mod iq4_nl;
mod iq4_xs;
mod mxfp4;
mod nvfp4;
mod q1_0;
mod q2_0;
mod q2_k;
mod q3_k;
mod q4_0;
mod q4_1;
mod q4_k;
mod q5_0;
mod q5_1;
mod q5_k;
mod q6_k;
mod q8_0;
mod tq1_0;
mod tq2_0;

pub use bf16::{BF16, BlockBF16};
pub use bitquilt_simd::Isa;
pub use code_lanes::{CodeLanes, Entries};
pub use f16::{BlockF16, F16};
pub use float::Half;
pub use format::{BlockFormat, Format, Importance, ProvenError};
pub use iq1_m::{BlockIQ1M, IQ1M};
pub use iq1_s::{BlockIQ1S, IQ1S};
pub use iq2_s::{BlockIQ2S, IQ2S};
pub use iq2_xs::{BlockIQ2XS, IQ2XS};
pub use iq2_xxs::{BlockIQ2XXS, IQ2XXS};
pub use iq3_s::{BlockIQ3S, IQ3S};
pub use iq3_xxs::{BlockIQ3XXS, IQ3XXS};
pub use iq4_nl::{BlockIQ4NL, IQ4NL};
pub use iq4_xs::{BlockIQ4XS, IQ4XS};
pub use lanes::Lanes;
pub use mxfp4::{BlockMXFP4, MXFP4};
pub use nvfp4::{BlockNVFP4, NVFP4};
pub use q1_0::{BlockQ1_0, Q1_0};
pub use q2_0::{BlockQ2_0, Q2_0};
pub use q2_k::{BlockQ2K, Q2K};
pub use q3_k::{BlockQ3K, Q3K};
pub use q4_0::{BlockQ4_0, Q4_0};
pub use q4_1::{BlockQ4_1, Q4_1};
pub use q4_k::{BlockQ4K, Q4K};
pub use q5_0::{BlockQ5_0, Q5_0};
pub use q5_1::{BlockQ5_1, Q5_1};
pub use q5_k::{BlockQ5K, Q5K};
pub use q6_k::{BlockQ6K, Q6K};
pub use q8_0::{BlockQ8_0, Q8_0};
pub use tq1_0::{BlockTQ1_0, TQ1_0};
pub use tq2_0::{BlockTQ2_0, TQ2_0};

/// Every format of this crate.
pub const FORMATS: &[Format] = &[
    Format::of::<BF16>(),
    Format::of::<F16>(),
    Format::of::<IQ1M>(),
    Format::of::<IQ1S>(),
    Format::of::<IQ2S>(),
    Format::of::<IQ2XS>(),
    Format::of::<IQ2XXS>(),
    Format::of::<IQ3S>(),
    Format::of::<IQ3XXS>(),
    Format::of::<IQ4NL>(),
    Format::of::<IQ4XS>(),
    Format::of::<MXFP4>(),
    Format::of::<NVFP4>(),
    Format::of::<Q1_0>(),
    Format::of::<Q2_0>(),
    Format::of::<Q2K>(),
    Format::of::<Q3K>(),
    Format::of::<Q4_0>(),
    Format::of::<Q4_1>(),
    Format::of::<Q4K>(),
    Format::of::<Q5_0>(),
    Format::of::<Q5_1>(),
    Format::of::<Q5K>(),
    Format::of::<Q6K>(),
    Format::of::<Q8_0>(),
    Format::of::<TQ1_0>(),
    Format::of::<TQ2_0>(),
];

/// The format of that name, written as ggml writes it in lower case.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}
