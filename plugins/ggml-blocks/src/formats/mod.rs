//! The formats: a file, which pictures the bits of a block, and a line each.

use crate::format::Format;

/// Modules of formats, what they export, and the table of them.
macro_rules! formats {
    ($($module:ident: $format:ident,)*) => {
        $(mod $module;)*
        $(pub use $module::*;)*

        /// Every format of this crate.
        pub const FORMATS: &[Format] = &[$(Format::of::<$format>(),)*];
    };
}

formats! {
    bf16: BF16,
    f16: F16,
    iq1_m: IQ1M,
    iq1_s: IQ1S,
    iq2_s: IQ2S,
    iq2_xs: IQ2XS,
    iq2_xxs: IQ2XXS,
    iq3_s: IQ3S,
    iq3_xxs: IQ3XXS,
    iq4_nl: IQ4NL,
    iq4_xs: IQ4XS,
    mxfp4: MXFP4,
    nvfp4: NVFP4,
    q1_0: Q1_0,
    q2_0: Q2_0,
    q2_k: Q2K,
    q3_k: Q3K,
    q4_0: Q4_0,
    q4_1: Q4_1,
    q4_k: Q4K,
    q5_0: Q5_0,
    q5_1: Q5_1,
    q5_k: Q5K,
    q6_k: Q6K,
    q8_0: Q8_0,
    tq1_0: TQ1_0,
    tq2_0: TQ2_0,
}

/// The format of that name, written as ggml writes it in lower case.
pub fn format(name: &str) -> Option<&'static Format> {
    FORMATS.iter().find(|format| format.name == name)
}
