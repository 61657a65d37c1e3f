//! The same code, compiled for each instruction set: which one runs is chosen at run time.
//!
//! A format is generic over its lanes and inlined whole into the code of a token.
//! Lanes of intrinsics carry the searches; everything else is plain loops that the compiler vectorizes for the
//! features of the function it is inlined into.

#[cfg(target_arch = "aarch64")]
use bitquilt_simd::Neon;
#[cfg(target_arch = "x86_64")]
use bitquilt_simd::{Avx2, Avx512};
use bitquilt_simd::{Isa, Run, Scalar, Token, dispatch};

use super::Lanes;
#[cfg(target_arch = "aarch64")]
use super::neon;
#[cfg(target_arch = "x86_64")]
use super::{avx2, avx512};

/// A token that there are lanes for.
trait HasLanes: Token {
    type Lanes: Lanes;
}

impl HasLanes for Scalar<false> {
    type Lanes = f32;
}

#[cfg(target_arch = "x86_64")]
impl HasLanes for Avx2 {
    type Lanes = avx2::F32x8;
}

#[cfg(target_arch = "x86_64")]
impl HasLanes for Avx512 {
    type Lanes = avx512::F32x16;
}

#[cfg(target_arch = "aarch64")]
impl HasLanes for Neon {
    type Lanes = neon::F32x4;
}

/// Code that is compiled for each kind of lanes. Implementations are `#[inline(always)]`.
pub(crate) trait Body {
    /// What it answers.
    type Output;
    /// Runs it.
    fn run<V: Lanes>(self) -> Self::Output;
}

/// A [`Body`] as a token runs it.
struct InLanes<B>(B);

impl<T: HasLanes, B: Body> Run<T> for InLanes<B> {
    type Output = B::Output;

    #[inline(always)]
    fn run(self, _: T) -> B::Output {
        self.0.run::<T::Lanes>()
    }
}

dispatch! {
    /// Lanes that this machine has.
    pub(crate) enum AnyLanes runs Body by InLanes {
        "x86_64": Avx2, Avx512;
        "aarch64": Neon;
    }
}

/// The lanes for `isa`, or for the nearest that it includes of those that there are lanes for.
///
/// # Panics
/// If the machine does not have it.
pub(crate) fn lanes_of(isa: Isa) -> AnyLanes {
    assert!(isa.is_available(), "this machine does not have the instruction set {isa}");
    AnyLanes::of(isa)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_without_lanes_has_those_of_the_nearest_it_includes() {
        for isa in Isa::available() {
            let expected = match isa {
                Isa::AvxVnni => Isa::Avx2,
                Isa::Avx512Vnni | Isa::Avx512Bf16 => Isa::Avx512,
                Isa::NeonDotprod => Isa::Neon,
                Isa::Scalar | Isa::Avx2 | Isa::Avx512 | Isa::Neon => isa,
            };
            assert_eq!(lanes_of(isa).isa(), expected);
        }
    }
}
