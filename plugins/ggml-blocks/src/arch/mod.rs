//! The same code, compiled for each instruction set: which one runs is chosen at run time.
//!
//! A format is generic over its lanes and inlined whole into the functions here, the only ones with target features.
//! Lanes of intrinsics carry the searches; everything else is plain loops that the compiler vectorizes for the
//! features of the function it is inlined into.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;

use bitquilt_simd::Isa;

use crate::format::BlockFormat;

/// An instruction set that there is code for and the machine has: a value is made only where the features are there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Code(Kind);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Scalar,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "aarch64")]
    Neon,
}

impl Code {
    /// The code for `isa`, or for the nearest that it includes of those that there is code for.
    ///
    /// # Panics
    /// If the machine does not have it.
    pub(crate) fn of(isa: Isa) -> Self {
        assert!(isa.is_available(), "this machine does not have the instruction set {isa}");
        let kind = |isa| match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => Some(Kind::Avx512),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => Some(Kind::Avx2),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => Some(Kind::Neon),
            _ => None,
        };
        Self(isa.descend().find_map(kind).unwrap_or(Kind::Scalar))
    }
}

/// [`BlockFormat::quantize_row_in`] with the lanes of `code`.
pub(crate) fn quantize_row<F: BlockFormat>(
    code: Code,
    row: &[f32],
    importance: Option<&[f32]>,
    blocks: &mut [F::Block],
) {
    match code.0 {
        Kind::Scalar => F::quantize_row_in::<f32>(row, importance, blocks),
        // SAFETY: a `Code` of this kind is made only where its features were detected.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => unsafe { avx2::quantize_row::<F>(row, importance, blocks) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => unsafe { avx512::quantize_row::<F>(row, importance, blocks) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Kind::Neon => unsafe { neon::quantize_row::<F>(row, importance, blocks) },
    }
}

/// [`BlockFormat::dequantize_in`] with the lanes of `code`.
pub(crate) fn dequantize<F: BlockFormat>(code: Code, blocks: &[F::Block], dst: &mut [f32]) {
    match code.0 {
        Kind::Scalar => F::dequantize_in::<f32>(blocks, dst),
        // SAFETY: a `Code` of this kind is made only where its features were detected.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx2 => unsafe { avx2::dequantize::<F>(blocks, dst) },
        // SAFETY: as above.
        #[cfg(target_arch = "x86_64")]
        Kind::Avx512 => unsafe { avx512::dequantize::<F>(blocks, dst) },
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        Kind::Neon => unsafe { neon::dequantize::<F>(blocks, dst) },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_without_code_runs_that_of_the_nearest_it_includes() {
        let same = |isa: Isa, other: Isa| assert_eq!(Code::of(isa), Code::of(other), "{isa}");
        for isa in Isa::available() {
            match isa {
                Isa::AvxVnni => same(isa, Isa::Avx2),
                Isa::Avx512Vnni | Isa::Avx512Bf16 => same(isa, Isa::Avx512),
                Isa::NeonDotprod => same(isa, Isa::Neon),
                Isa::Scalar | Isa::Avx2 | Isa::Avx512 | Isa::Neon => {
                    assert_eq!(Code::of(isa) == Code(Kind::Scalar), isa == Isa::Scalar);
                }
            }
        }
    }
}
