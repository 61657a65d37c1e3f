//! Plain Rust: every machine has it, and the other instruction sets are tested against it.

use std::array;

use half::f16;

use crate::Isa;
use crate::lanes::{LANES, Simd};
use crate::token::{Run, Token};

/// Arrays of floats. If `FUSED`, a product and a sum are rounded once, which is slow where the machine has no instruction for it.
#[derive(Clone, Copy, Debug)]
pub struct Scalar<const FUSED: bool>;

impl<const FUSED: bool> Token for Scalar<FUSED> {
    const ISA: Isa = Isa::Scalar;

    fn detect() -> Option<Self> {
        Some(Self)
    }

    fn vectorize<R: Run<Self>>(self, code: R) -> R::Output {
        code.run(self)
    }
}

impl<const FUSED: bool> Simd for Scalar<FUSED> {
    type F = [f32; LANES];
    type M = [bool; LANES];
    const WIDE: bool = false;

    #[inline(always)]
    fn splat(self, x: f32) -> Self::F {
        [x; LANES]
    }
    #[inline(always)]
    fn load(self, from: &[f32; LANES]) -> Self::F {
        *from
    }
    #[inline(always)]
    fn load_f16(self, from: &[f16; LANES]) -> Self::F {
        from.map(f16::to_f32_const)
    }
    #[inline(always)]
    fn store_f16(self, to: &mut [f16; LANES], x: Self::F) {
        *to = x.map(f16::from_f32_const);
    }
    #[inline(always)]
    fn store(self, to: &mut [f32; LANES], x: Self::F) {
        *to = x;
    }
    #[inline(always)]
    fn add(self, a: Self::F, b: Self::F) -> Self::F {
        array::from_fn(|lane| a[lane] + b[lane])
    }
    #[inline(always)]
    fn sub(self, a: Self::F, b: Self::F) -> Self::F {
        array::from_fn(|lane| a[lane] - b[lane])
    }
    #[inline(always)]
    fn mul(self, a: Self::F, b: Self::F) -> Self::F {
        array::from_fn(|lane| a[lane] * b[lane])
    }
    #[inline(always)]
    fn div(self, a: Self::F, b: Self::F) -> Self::F {
        array::from_fn(|lane| a[lane] / b[lane])
    }
    #[inline(always)]
    fn fma(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F {
        array::from_fn(
            |lane| {
                if FUSED { a[lane].mul_add(b[lane], c[lane]) } else { a[lane] * b[lane] + c[lane] }
            },
        )
    }
    #[inline(always)]
    fn max(self, a: Self::F, b: Self::F) -> Self::F {
        array::from_fn(|lane| if a[lane] > b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    fn min(self, a: Self::F, b: Self::F) -> Self::F {
        array::from_fn(|lane| if a[lane] < b[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    fn sqrt(self, x: Self::F) -> Self::F {
        x.map(f32::sqrt)
    }
    #[inline(always)]
    fn split(self, x: Self::F) -> (Self::F, Self::F) {
        let mantissa = |x: f32| f32::from_bits(x.to_bits() & 0x7f_ffff | 0x3f80_0000);
        (x.map(mantissa), x.map(|x| ((x.to_bits() >> 23).cast_signed() - 127) as f32))
    }
    #[inline(always)]
    fn round(self, x: Self::F) -> Self::F {
        x.map(f32::round_ties_even)
    }
    #[inline(always)]
    fn exp2(self, n: Self::F) -> Self::F {
        n.map(|n| f32::from_bits(((n as i32 + 127) << 23).cast_unsigned()))
    }
    #[inline(always)]
    fn less(self, a: Self::F, b: Self::F) -> Self::M {
        array::from_fn(|lane| a[lane] < b[lane])
    }
    #[inline(always)]
    fn first(self, count: usize) -> Self::M {
        array::from_fn(|lane| lane < count)
    }
    #[inline(always)]
    fn select(self, choice: Self::M, a: Self::F, b: Self::F) -> Self::F {
        array::from_fn(|lane| if choice[lane] { a[lane] } else { b[lane] })
    }
    #[inline(always)]
    fn transpose(self, rows: [Self::F; LANES]) -> [Self::F; LANES] {
        array::from_fn(|row| array::from_fn(|lane| rows[lane][row]))
    }
}
