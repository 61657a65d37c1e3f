//! The encodings that have kernels of their own: a file and a line each.

use std::sync::LazyLock;

use bitquilt_ggml_blocks::BlockFormat;
use bitquilt_kernels::{ActivationFormat, EncodingKernels, Isa, KernelError};

mod levels;
mod scales;

/// Modules of formats of integers, with the types of `bitquilt_ggml_blocks` that they implement [`Unpack`](bitquilt_kernels::Unpack) for, in [`Of`],
/// and a table of them.
macro_rules! unpacked {
    ($($module:ident: $format:ident,)*) => {
        $(mod $module;)*

        fn unpacked() -> Vec<EncodingKernels> {
            use bitquilt_ggml_blocks::{$($format),*};
            vec![$(EncodingKernels::new($format::NAME, Of($format))),*]
        }
    };
}

unpacked! {
    q4_0: Q4_0,
    q4_1: Q4_1,
    q5_0: Q5_0,
    q5_1: Q5_1,
    q8_0: Q8_0,
    q2_k: Q2K,
    q3_k: Q3K,
    q4_k: Q4K,
    q5_k: Q5K,
    q6_k: Q6K,
    iq4_nl: IQ4NL,
    iq4_xs: IQ4XS,
    mxfp4: MXFP4,
    nvfp4: NVFP4,
    iq1_m: IQ1M,
    iq1_s: IQ1S,
    iq2_xxs: IQ2XXS,
    iq2_xs: IQ2XS,
    iq2_s: IQ2S,
    iq3_xxs: IQ3XXS,
    iq3_s: IQ3S,
    tq1_0: TQ1_0,
    tq2_0: TQ2_0,
    q1_0: Q1_0,
    q2_0: Q2_0,
}

/// The kernels of each encoding that has some.
static ALL: LazyLock<Vec<EncodingKernels>> = LazyLock::new(|| {
    let floats = [EncodingKernels::bf16("bf16"), EncodingKernels::f16("f16"), EncodingKernels::f32("f32")];
    unpacked().into_iter().chain(floats).collect()
});

/// A format of `bitquilt_ggml_blocks`, as what unpacks its blocks.
#[derive(Clone, Copy)]
struct Of<F>(F);

/// Values and bytes of a block.
const fn block_of<F: BlockFormat>() -> (usize, usize) {
    (F::BLOCK_LEN, size_of::<F::Block>())
}

/// The kernels of every encoding that has some here.
pub fn all() -> impl Iterator<Item = &'static EncodingKernels> {
    ALL.iter()
}

/// The names of the encodings that have kernels of their own.
pub fn encodings() -> impl Iterator<Item = &'static str> {
    ALL.iter().map(EncodingKernels::encoding)
}

/// The kernels of the encoding of this name.
///
/// # Errors
/// When it has none.
pub fn named(encoding: &str) -> Result<&'static EncodingKernels, KernelError> {
    ALL.iter().find(|kernels| kernels.encoding() == encoding).ok_or_else(|| KernelError::Encoding {
        encoding: encoding.to_owned(),
        known: encodings().collect::<Vec<_>>().join(", "),
    })
}

/// Values and bytes of a block of an encoding that has kernels of its own.
#[must_use]
pub fn block(encoding: &str) -> Option<(usize, usize)> {
    Some(named(encoding).ok()?.block())
}

/// What the length of a row must be a multiple of for the kernels of an encoding.
#[must_use]
pub fn row_step(encoding: &str) -> Option<usize> {
    Some(named(encoding).ok()?.row_step())
}

/// [`EncodingKernels::serving`] of an encoding; [`Isa::Scalar`] where it has no kernels.
#[must_use]
pub fn serving(encoding: &str, isa: Isa) -> Isa {
    named(encoding).map_or(Isa::Scalar, |kernels| kernels.serving(isa))
}

/// How the kernels of `encoding` on `isa` want their activations.
///
/// # Errors
/// When there are none.
pub fn activations(encoding: &str, isa: Isa) -> Result<ActivationFormat, KernelError> {
    Ok(named(encoding)?.activations(isa)?)
}
