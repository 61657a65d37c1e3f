//! The encodings that have kernels of their own: a file and a line each.

use bitquilt_ggml_blocks::BlockFormat;
use bitquilt_simd::Isa;

use crate::activation::ActivationFormat;
use crate::drive::Kernels;
use crate::error::KernelError;
use crate::kernels::{Select, bf16_of, floats_of, strips_of};
use crate::widen::{F16, F32};

mod scales;

/// Modules of formats of integers, with the types of `bitquilt_ggml_blocks` that they implement [`Unpack`](crate::unpack::Unpack) for,
/// and a table of them.
macro_rules! unpacked {
    ($($module:ident: $format:ident,)*) => {
        $(mod $module;)*

        static UNPACKED: &[(&str, Select)] =
            &[$((bitquilt_ggml_blocks::$format::NAME, strips_of::<bitquilt_ggml_blocks::$format>),)*];
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
static FLOATS: [(&str, Select); 3] =
    [("bf16", bf16_of), ("f16", floats_of::<F16>), ("f32", floats_of::<F32>)];

/// Every encoding that has kernels of its own.
fn kernels() -> impl Iterator<Item = (&'static str, Select)> {
    UNPACKED.iter().chain(&FLOATS).copied()
}

/// The names of the encodings that have kernels of their own.
pub fn encodings() -> impl Iterator<Item = &'static str> {
    kernels().map(|(name, _)| name)
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
    isa.descend().find(|isa| has_own(encoding, *isa)).unwrap_or(Isa::Scalar)
}

/// Whether there are kernels for an instruction set that the one it adds to does not have.
fn has_own(encoding: &str, isa: Isa) -> bool {
    match isa {
        Isa::Scalar | Isa::Avx2 | Isa::Avx512Vnni | Isa::NeonDotprod => true,
        Isa::AvxVnni => !["bf16", "f16", "f32"].contains(&encoding),
        Isa::Avx512Bf16 => encoding == "bf16",
        Isa::Avx512 | Isa::Neon => false,
    }
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
    match kernels().find(|(name, _)| *name == encoding) {
        Some((_, select)) => Ok(select(isa)),
        None => Err(KernelError::Encoding {
            encoding: encoding.to_owned(),
            known: encodings().collect::<Vec<_>>().join(", "),
        }),
    }
}
