//! One f32 algorithm for several blocks at a time.
//!
//! A search for a scale adds up floats, and the order of a sum decides its last bit. So a search is never split over
//! the lanes of a register: each lane runs the whole search, in its own order, for a block of its own. The searches
//! are written once, over [`Lanes`]; with [`f32`], the one-lane register, they are the scalar reference. The searches in
//! a grid have few blocks but many candidates for each: there the lanes are candidates, which is as good.
//!
//! A format is generic over its lanes and inlined whole into the code of a token, which is chosen at run time. Lanes of intrinsics
//! carry the searches; everything else is plain loops that the compiler vectorizes for the features of the function it is inlined into.

pub(crate) mod codes;
pub(crate) mod elementwise;
pub(crate) mod ints;
mod scalar;

use core::ops::{Add, Div, Mul, Neg, Sub};

use bitquilt_simd::{Isa, Run, Token, dispatch};

use codes::CodeLanes;

dispatch! {
    /// Lanes that this machine has.
    pub(crate) enum AnyLanes runs Body by InLanes {
        avx2 on "x86_64": Avx2;
        avx512 on "x86_64": Avx512;
        neon on "aarch64": Neon;
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

/// A token that there are lanes for.
trait HasLanes: Token {
    type Lanes: Lanes;
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

/// Operators of lanes, an instruction each.
#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
macro_rules! operators {
    ($lanes:ident: $($trait:ident $name:ident $instruction:ident),*) => {
        $(impl core::ops::$trait for $lanes {
            type Output = Self;

            #[inline(always)]
            fn $name(self, other: Self) -> Self {
                // SAFETY: the features are there, see the type.
                Self(unsafe { $instruction(self.0, other.0) })
            }
        })*
    };
}

#[cfg(any(target_arch = "x86_64", target_arch = "aarch64"))]
use operators;

/// A register of f32 lanes, of one instruction set. All operations are IEEE 754's, lane by lane, each rounded by itself.
pub trait Lanes:
    CodeLanes
    + Copy
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
    + Div<Output = Self>
    + Neg<Output = Self>
{
    /// Number of lanes.
    const COUNT: usize;
    /// A boolean for each lane.
    type Mask: Copy;

    /// `value` in every lane.
    fn splat(value: f32) -> Self;
    /// Transposes at most `COUNT` rows: lane `k` of vector `i` is `rows[k][i]`, or 0 where there is no row `k`.
    fn gather<const N: usize>(rows: &[[f32; N]]) -> [Self; N];
    /// The first `COUNT` values.
    fn load(src: &[f32]) -> Self;
    /// The first `COUNT` integers.
    fn from_bytes(src: &[i8]) -> Self;
    /// Writes the first `dst.len()` lanes, at most `COUNT`.
    fn store(self, dst: &mut [f32]);

    /// |self|.
    fn abs(self) -> Self;
    /// The square root.
    fn sqrt(self) -> Self;
    /// `ints::nearest`, then clamped to `low..=high`.
    fn nearest(self, low: i32, high: i32) -> Self;

    /// `ints::truncate`, of which the low bytes are written to the first `COUNT` of `dst`.
    fn truncate(self, dst: &mut [i8]);
    /// The smallest of the lanes, none of which is NaN.
    fn least(self) -> f32;

    /// self < other.
    fn lt(self, other: Self) -> Self::Mask;
    /// self != other; true where one is NaN.
    fn ne(self, other: Self) -> Self::Mask;
    /// Both.
    fn both(a: Self::Mask, b: Self::Mask) -> Self::Mask;
    /// True in some lane.
    fn any(mask: Self::Mask) -> bool;
    /// A bit for each lane, that of the first lowest.
    fn bits(mask: Self::Mask) -> u32;
    /// `yes` where the mask is true, `no` elsewhere.
    fn select(mask: Self::Mask, yes: Self, no: Self) -> Self;
    /// `yes` where the mask is true, `no` elsewhere.
    fn select_codes(mask: Self::Mask, yes: Self::Codes, no: Self::Codes) -> Self::Codes;

    /// `table[index & 15]` for each index.
    fn look_up(table: &[i8; 16], indices: [i8; 16]) -> [i8; 16];
    /// A bit for each byte, that of the first lowest: set where it is negative.
    fn sign_bits(bytes: [i8; 32]) -> u32;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_without_lanes_has_those_of_the_nearest_it_includes() {
        for isa in Isa::available() {
            let found = lanes_of(isa).isa();
            assert!(isa.includes(found) && found.is_available(), "{isa} has those of {found}");
            let mut nearer = isa.descend().take_while(|nearer| *nearer != found);
            assert!(nearer.all(|nearer| lanes_of(nearer).isa() != nearer), "{isa} has those of {found}");
            assert_eq!(found == Isa::Scalar, isa == Isa::Scalar, "{isa} has those of {found}");
        }
    }
}
