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

use std::sync::LazyLock;

use crate::format::BlockFormat;

/// An instruction set that this machine has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Isa(Kind);

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

impl Isa {
    /// The reference: one block after the other, with what every machine of the target has.
    pub const SCALAR: Self = Self(Kind::Scalar);

    /// All that this machine has, the fastest last.
    pub fn available() -> Vec<Self> {
        let mut available = vec![Self::SCALAR];
        #[cfg(target_arch = "x86_64")]
        {
            if is_x86_feature_detected!("avx2") {
                available.push(Self(Kind::Avx2));
            }
            if is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512dq")
                && is_x86_feature_detected!("avx512vl")
            {
                available.push(Self(Kind::Avx512));
            }
        }
        #[cfg(target_arch = "aarch64")]
        if std::arch::is_aarch64_feature_detected!("neon") {
            available.push(Self(Kind::Neon));
        }
        available
    }

    /// The fastest that this machine has.
    pub fn fastest() -> Self {
        static FASTEST: LazyLock<Isa> = LazyLock::new(|| Isa::available().pop().unwrap_or(Isa::SCALAR));
        *FASTEST
    }
}

/// [`BlockFormat::quantize_row_in`] with the lanes of `isa`.
pub(crate) fn quantize_row<F: BlockFormat>(
    isa: Isa,
    row: &[f32],
    importance: Option<&[f32]>,
    blocks: &mut [F::Block],
) {
    match isa.0 {
        Kind::Scalar => F::quantize_row_in::<f32>(row, importance, blocks),
        // SAFETY: an `Isa` of this kind is made only where its features were detected.
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

/// [`BlockFormat::dequantize_in`] with the lanes of `isa`.
pub(crate) fn dequantize<F: BlockFormat>(isa: Isa, blocks: &[F::Block], dst: &mut [f32]) {
    match isa.0 {
        Kind::Scalar => F::dequantize_in::<f32>(blocks, dst),
        // SAFETY: an `Isa` of this kind is made only where its features were detected.
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
