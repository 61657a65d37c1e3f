//! Sixteen floats at a time.
//!
//! Vector code is written once, over [`Simd`]. Each instruction set has sixteen lanes, in one register or several, and the
//! same results to the bit where it fuses multiplication and addition: what is summed across lanes has one order.

use half::f16;

use crate::token::{Run, Token};

/// The lanes of a register.
pub const LANES: usize = 16;

/// Sixteen floats of an instruction set.
///
/// Methods are inlined into [`Token::vectorize`], which is compiled with the instructions.
pub trait Simd: Token {
    /// Sixteen floats.
    type F: Copy;
    /// A choice for each lane.
    type M: Copy;
    /// Whether 32 values of `F` fit the registers, so that large tiles pay.
    const WIDE: bool;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// The values, the first in lane 0.
    fn load(self, from: &[f32; LANES]) -> Self::F;
    /// The values, as f32.
    fn load_f16(self, from: &[f16; LANES]) -> Self::F;
    /// Writes the lanes, rounded to the nearest, of two the even one.
    fn store_f16(self, to: &mut [f16; LANES], x: Self::F);
    /// Writes the lanes.
    fn store(self, to: &mut [f32; LANES], x: Self::F);
    /// `a + b`.
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a - b`.
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b`.
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`.
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a * b + c`, rounded once where the instruction set can.
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The greater one; `b` where one is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// The lesser one; `b` where one is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The square root.
    fn sqrt(self, x: Self::F) -> Self::F;
    /// The nearest whole number, the even one of two.
    fn round(self, x: Self::F) -> Self::F;
    /// `2^n`, for whole numbers from -126 to 127.
    fn exp2(self, n: Self::F) -> Self::F;
    /// `m` and `n` with `x = m * 2^n` and `1 <= m < 2`, for positive numbers that are no denormals.
    fn split(self, x: Self::F) -> (Self::F, Self::F);
    /// Where `a < b`.
    fn less(self, a: Self::F, b: Self::F) -> Self::M;
    /// The first `count` lanes.
    fn first(self, count: usize) -> Self::M;
    /// `a` where chosen, else `b`.
    fn select(self, choice: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// Lane `i` of row `j` becomes lane `j` of row `i`.
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES];

    /// The first sixteen values, with zeros for those that there are not.
    #[inline(always)]
    fn load_some(self, from: &[f32]) -> Self::F {
        match from.first_chunk() {
            Some(lanes) => self.load(lanes),
            None => {
                let mut lanes = [0.0; LANES];
                lanes[..from.len()].copy_from_slice(from);
                self.load(&lanes)
            }
        }
    }

    /// Writes the first lanes: sixteen, or as many as there is room for.
    #[inline(always)]
    fn store_some(self, to: &mut [f32], x: Self::F) {
        match to.first_chunk_mut() {
            Some(lanes) => self.store(lanes, x),
            None => {
                let mut lanes = [0.0; LANES];
                self.store(&mut lanes, x);
                to.copy_from_slice(&lanes[..to.len()]);
            }
        }
    }

    /// The upper half of the lanes added to the lower, until one is left.
    #[inline(always)]
    fn sum(self, x: Self::F) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes, x);
        fold(lanes, |a, b| a + b)
    }

    /// The greatest lane.
    #[inline(always)]
    fn greatest(self, x: Self::F) -> f32 {
        let mut lanes = [0.0; LANES];
        self.store(&mut lanes, x);
        fold(lanes, |a, b| if a > b { a } else { b })
    }
}

#[inline(always)]
fn fold(mut lanes: [f32; LANES], combine: impl Fn(f32, f32) -> f32) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] = combine(lanes[lane], lanes[lane + half]);
        }
        half /= 2;
    }
    lanes[0]
}

/// Code that is compiled once for each instruction set. Implementations are `#[inline(always)]`, as is all they call with it.
pub trait Body {
    /// What it answers.
    type Output;
    /// Runs it.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

impl<S: Simd, B: Body> Run<S> for B {
    type Output = B::Output;

    #[inline(always)]
    fn run(self, simd: S) -> Self::Output {
        Body::run(self, simd)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{AnySimd, Isa};

    #[test]
    fn a_set_without_code_has_that_of_the_nearest_it_includes() {
        for isa in Isa::available() {
            let found = AnySimd::of(isa).isa();
            assert!(isa.includes(found) && found.is_available(), "{isa} has that of {found}");
            let mut nearer = isa.descend().take_while(|nearer| *nearer != found);
            assert!(nearer.all(|nearer| AnySimd::of(nearer).isa() != nearer), "{isa} has that of {found}");
            assert_eq!(found == Isa::Scalar, isa == Isa::Scalar, "{isa} has that of {found}");
        }
    }

    /// Rounds to f16 and back.
    struct Halves<'a>(&'a [f32; LANES]);

    impl Body for Halves<'_> {
        type Output = ([f16; LANES], [f32; LANES]);

        #[inline(always)]
        fn run<S: Simd>(self, simd: S) -> Self::Output {
            let (mut halves, mut wide) = ([f16::ZERO; LANES], [0.0; LANES]);
            simd.store_f16(&mut halves, simd.load(self.0));
            simd.store(&mut wide, simd.load_f16(&halves));
            (halves, wide)
        }
    }

    #[test]
    fn halves_are_rounded_to_the_nearest_everywhere() {
        let noise =
            (0..1 << 14).map(|i: u32| f32::from_bits(i.wrapping_mul(0x9e37_79b9) >> 9 | 0x3f80_0000) - 1.5);
        let ends = [65_504.0, 65_519.9, 65_520.0, 1e9, 6.1e-5, 5.96e-8, 2.98e-8, 2.99e-8, 0.0, f32::INFINITY];
        let ends = ends.into_iter().flat_map(|x| [x, -x]).chain([f32::NAN; 12]);
        let noise = noise.enumerate();
        let values: Vec<f32> = noise.map(|(i, x)| x * 2f32.powi(i as i32 % 48 - 30)).chain(ends).collect();
        for simd in AnySimd::available() {
            for lanes in values.as_chunks().0 {
                let (halves, wide) = simd.run(Halves(lanes));
                for ((x, half), wide) in lanes.iter().zip(halves).zip(wide) {
                    let expected = f16::from_f32_const(*x);
                    assert_eq!(half.to_bits(), expected.to_bits(), "{x:e}, {}", simd.isa());
                    assert_eq!(wide.to_bits(), expected.to_f32_const().to_bits(), "{x:e}, {}", simd.isa());
                }
            }
        }
    }
}
