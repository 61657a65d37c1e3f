//! Sixteen floats at a time, and a file for each instruction set that computes with them.
//!
//! The ops' vector code is written once, over [`Simd`]. Each instruction set has sixteen lanes, in one register or several, and the
//! same results to the bit where it fuses multiplication and addition: what is summed across lanes has one order.

use bitquilt_plugin_api::bytemuck::{self, Pod};
use bitquilt_plugin_api::half::f16;
use bitquilt_plugin_api::{Error, NodeView, Result};
use bitquilt_simd::Isa;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;

pub(super) use scalar::Scalar;

/// The lanes of a register.
pub(crate) const LANES: usize = 16;

/// An instruction set. A value of it is proof that the machine has the instructions.
///
/// Methods are inlined into [`vectorize`](Self::vectorize), which is compiled with the instructions.
pub(crate) trait Simd: Copy + Send + Sync + 'static {
    /// Sixteen floats.
    type F: Copy;
    /// A choice for each lane.
    type M: Copy;
    /// Whether 32 values of `F` fit the registers, so that large tiles pay.
    const WIDE: bool;

    /// Runs `body` compiled with the instructions.
    fn vectorize<B: Body>(self, body: B) -> B::Output;

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

/// Asks for the cache lines of `values`, ahead of their use, where the machine can.
#[inline(always)]
pub(crate) fn prefetch<T>(values: &[T]) {
    for line in (0..size_of_val(values)).step_by(64) {
        prefetch_line(values.as_ptr().cast::<u8>().wrapping_add(line));
    }
}

/// Asks for the cache line of an address, which need not be readable.
#[inline(always)]
pub(crate) fn prefetch_line(address: *const u8) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE is part of x86-64, and a prefetch neither reads nor faults.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(address.cast::<i8>()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Reads from every cache line of `values`, so that they are near when they are used. Where memory is walked on through, the machine
/// fetches ahead by itself, from where it sees reads: that is faster than to ask for each line, but within a page alone, so that the
/// first line of each page is asked for before.
#[inline(always)]
pub(super) fn touch<T: Pod>(values: &[T]) {
    let bytes: &[u8] = bytemuck::cast_slice(values);
    bytes.chunks(4096).for_each(|page| prefetch(&page[..1]));
    std::hint::black_box((0..bytes.len()).step_by(64).fold(0, |all, line| all | bytes[line]));
}

/// Code that is compiled once for each instruction set. Implementations are `#[inline(always)]`, as is all they call with it.
pub(crate) trait Body {
    /// What it answers.
    type Output;
    /// Runs it.
    fn run<S: Simd>(self, simd: S) -> Self::Output;
}

/// A [`Simd`] that this machine has.
#[derive(Clone, Copy)]
pub(crate) enum AnySimd {
    /// Plain Rust.
    Scalar(Scalar<false>),
    /// AVX2 with FMA and F16C.
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    /// AVX-512 F.
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
    /// NEON.
    #[cfg(target_arch = "aarch64")]
    Neon(neon::Neon),
    /// Plain Rust that fuses multiplication and addition, as all but [`Self::Scalar`] do.
    #[cfg(test)]
    Fused(Scalar<true>),
}

impl AnySimd {
    /// The one for an instruction set that the machine has, or for the nearest that it includes.
    pub(crate) fn of(isa: Isa) -> Self {
        isa.descend().find_map(Self::own).unwrap_or(Self::Scalar(Scalar))
    }

    /// The one that a node's session chooses.
    pub(super) fn chosen(node: &NodeView<'_>) -> Result<Self> {
        Isa::of_option(node.option("isa").as_deref()).map(Self::of).map_err(Error::invalid)
    }

    /// Those that this machine has, the slowest first.
    #[cfg(test)]
    pub(crate) fn available() -> impl Iterator<Item = Self> {
        Isa::available().filter_map(Self::own)
    }

    /// The one that there is for an instruction set alone.
    fn own(isa: Isa) -> Option<Self> {
        match isa {
            Isa::Scalar => Some(Self::Scalar(Scalar)),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => avx2::Avx2::detect().map(Self::Avx2),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => avx512::Avx512::detect().map(Self::Avx512),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => neon::Neon::detect().map(Self::Neon),
            _ => None,
        }
    }

    /// The instruction set's name, for `explain`.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Scalar(_) => Isa::Scalar.name(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Isa::Avx2.name(),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Isa::Avx512.name(),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(_) => Isa::Neon.name(),
            #[cfg(test)]
            Self::Fused(_) => "fused",
        }
    }

    /// Runs `body` compiled for it.
    pub(crate) fn run<B: Body>(self, body: B) -> B::Output {
        match self {
            Self::Scalar(simd) => simd.vectorize(body),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(simd) => simd.vectorize(body),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(simd) => simd.vectorize(body),
            #[cfg(target_arch = "aarch64")]
            Self::Neon(simd) => simd.vectorize(body),
            #[cfg(test)]
            Self::Fused(simd) => simd.vectorize(body),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tensor;
    use crate::ops::testing::noise;

    #[test]
    fn a_set_without_code_has_that_of_the_nearest_it_includes() {
        for isa in Isa::available() {
            let expected = match isa {
                Isa::Scalar | Isa::Avx2 | Isa::Avx512 | Isa::Neon => isa,
                Isa::AvxVnni => Isa::Avx2,
                Isa::Avx512Vnni | Isa::Avx512Bf16 => Isa::Avx512,
                Isa::NeonDotprod => Isa::Neon,
            };
            assert_eq!(AnySimd::of(isa).name(), expected.name());
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
        let noise: Tensor = noise(&[1 << 14], 7);
        let ends = [65_504.0, 65_519.9, 65_520.0, 1e9, 6.1e-5, 5.96e-8, 2.98e-8, 2.99e-8, 0.0, f32::INFINITY];
        let ends = ends.into_iter().flat_map(|x| [x, -x]).chain([f32::NAN; 12]);
        let noise = noise.values::<f32>().unwrap().iter().enumerate();
        let values: Vec<f32> = noise.map(|(i, x)| x * 2f32.powi(i as i32 % 48 - 30)).chain(ends).collect();
        for simd in AnySimd::available() {
            for lanes in values.as_chunks().0 {
                let (halves, wide) = simd.run(Halves(lanes));
                for ((x, half), wide) in lanes.iter().zip(halves).zip(wide) {
                    let expected = f16::from_f32_const(*x);
                    assert_eq!(half.to_bits(), expected.to_bits(), "{x:e}, {}", simd.name());
                    assert_eq!(wide.to_bits(), expected.to_f32_const().to_bits(), "{x:e}, {}", simd.name());
                }
            }
        }
    }
}
