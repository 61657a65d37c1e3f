//! The encodings that have kernels of their own: a file and a line each.

use bitquilt_ggml_blocks::BlockFormat;
use bitquilt_simd::Isa;

use crate::activation::ActivationFormat;
use crate::drive::Kernels;
use crate::error::KernelError;
use crate::kernels::Encoding;
use crate::widen::{F16, F32};

mod scales;

/// Modules of formats of integers, with the types of `bitquilt_ggml_blocks` that they implement [`Unpack`](crate::unpack::Unpack) for,
/// and a table of them.
macro_rules! unpacked {
    ($($module:ident: $format:ident,)*) => {
        $(mod $module;)*

        static UNPACKED: &[Encoding] = &[
            $(Encoding::integers::<bitquilt_ggml_blocks::$format>(bitquilt_ggml_blocks::$format::NAME),)*
        ];
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
}

/// Formats of floats.
static FLOATS: [Encoding; 3] =
    [Encoding::bf16("bf16"), Encoding::floats::<F16>("f16"), Encoding::floats::<F32>("f32")];

/// Every encoding that has kernels of its own.
fn all() -> impl Iterator<Item = &'static Encoding> {
    UNPACKED.iter().chain(&FLOATS)
}

/// The encoding of this name.
fn named(name: &str) -> Option<&'static Encoding> {
    all().find(|encoding| encoding.name == name)
}

/// The names of the encodings that have kernels of their own.
pub fn encodings() -> impl Iterator<Item = &'static str> {
    all().map(|encoding| encoding.name)
}

/// Values and bytes of a block of an encoding that has kernels of its own.
#[must_use]
pub fn block(encoding: &str) -> Option<(usize, usize)> {
    Some(find(encoding, Isa::Scalar).ok()?.block())
}

/// What the length of a row must be a multiple of for the kernels of an encoding.
#[must_use]
pub fn row_step(encoding: &str) -> Option<usize> {
    Some(find(encoding, Isa::Scalar).ok()?.row_step())
}

/// The instruction set whose kernels multiply with weights of `encoding` where `isa` is chosen: the nearest that it includes of those
/// with kernels of their own for it. AVX-VNNI adds none for encodings of floats, BF16 for bfloat16 alone.
#[must_use]
pub fn serving(encoding: &str, isa: Isa) -> Isa {
    named(encoding).map_or(Isa::Scalar, |encoding| encoding.serving(isa))
}

/// How the kernels of `encoding` on `isa` want their activations.
///
/// # Errors
/// When there are none.
pub fn activations(encoding: &str, isa: Isa) -> Result<ActivationFormat, KernelError> {
    Ok(find(encoding, isa)?.activations())
}

pub(crate) fn find(encoding: &str, isa: Isa) -> Result<&'static dyn Kernels, KernelError> {
    isa.check()?;
    let encoding = named(encoding).ok_or_else(|| KernelError::Encoding {
        encoding: encoding.to_owned(),
        known: encodings().collect::<Vec<_>>().join(", "),
    })?;
    Ok(encoding.kernels(isa))
}
