//! The `gemm` crate's products, with the microkernel of the instruction set that was chosen; by itself it takes the machine's fastest.
//! A set that `gemm` knows no microkernel of has that of the nearest that it includes.

use gemm_common::Parallelism;
use gemm_common::gemm::gemm_basic_generic;
use gemm_common::microkernel::{HMicroKernelFn, MicroKernelFn};
use gemm_common::simd::{MixedSimd, Scalar};
#[cfg(target_arch = "x86_64")]
use gemm_common::simd::{V3, V4};

use bitquilt_simd::{AnySimd, Isa};

/// A product of matrices whose rows' values lie one after the other: `out`, `[m, n]`, is `x`, `[m, k]`, times `y`, `[k, n]`.
#[derive(Clone, Copy)]
pub(super) struct Gemm {
    pub(super) m: usize,
    pub(super) k: usize,
    pub(super) n: usize,
    /// The first value, and how far rows are apart.
    pub(super) x: (*const f32, isize),
    /// As `x`.
    pub(super) y: (*const f32, isize),
    /// As `x`.
    pub(super) out: (*mut f32, isize),
}

/// Multiplies with the microkernel of a module of `gemm_f32`, whose registers have `$lanes` values.
macro_rules! multiply {
    ($gemm:expr, $module:ident, $simd:ty, $lanes:literal) => {{
        use gemm_f32::microkernel::$module::f32::{H_M, H_N, H_UKR, MR_DIV_N, NR, UKR};
        match <$simd as MixedSimd<f32, f32, f32, f32>>::try_new() {
            Some(simd) => {
                // SAFETY: the caller vouches for the matrices; the value says that the machine has the instructions.
                unsafe { $gemm.with::<_, $lanes, { MR_DIV_N * $lanes }, NR, MR_DIV_N, H_M, H_N>(simd, &UKR, &H_UKR) };
                true
            }
            None => false,
        }
    }};
}

impl Gemm {
    /// Computes it.
    ///
    /// # Safety
    /// The matrices are readable, the output is writable, and nobody else uses it.
    pub(super) unsafe fn compute(self, simd: AnySimd) {
        // SAFETY: the contract is the same. The last is `Isa::Scalar`, whose microkernel is always there.
        let done = simd.isa().descend().any(|isa| unsafe { self.compute_on(isa) });
        debug_assert!(done, "{} includes the microkernel of plain Rust", simd.isa());
    }

    /// Computes it with the microkernel of this instruction set alone; whether there is one, and the machine has it.
    ///
    /// # Safety
    /// As for [`Self::compute`].
    unsafe fn compute_on(self, isa: Isa) -> bool {
        match isa {
            #[cfg(target_arch = "x86_64")]
            Isa::Avx512 => multiply!(self, avx512f, V4, 16),
            #[cfg(target_arch = "x86_64")]
            Isa::Avx2 => multiply!(self, fma, V3, 8),
            #[cfg(target_arch = "aarch64")]
            Isa::Neon => multiply!(self, neon, Scalar, 4),
            Isa::Scalar => multiply!(self, scalar, Scalar, 1),
            _ => false,
        }
    }

    /// Computes it with a microkernel.
    ///
    /// # Safety
    /// As for [`Self::compute`].
    unsafe fn with<
        S: MixedSimd<f32, f32, f32, f32>,
        const N: usize,
        const MR: usize,
        const NR: usize,
        const MR_DIV_N: usize,
        const H_M: usize,
        const H_N: usize,
    >(
        self,
        simd: S,
        kernels: &[[MicroKernelFn<f32>; NR]; MR_DIV_N],
        horizontal: &[[HMicroKernelFn<f32>; H_N]; H_M],
    ) {
        let ((x, x_row), (y, y_row), (out, out_row)) = (self.x, self.y, self.out);
        // The microkernels want columns whose values lie one after the other, which are the rows of the transposed product.
        let (m, n, apart, [left, right]) = match out_row {
            ..2 => (self.m, self.n, [1, out_row], [(x, 1, x_row), (y, 1, y_row)]),
            _ => (self.n, self.m, [out_row, 1], [(y, y_row, 1), (x, x_row, 1)]),
        };
        // SAFETY: the caller's contract is this one's: `left` is `[m, k]`, `right` is `[k, n]`, each with how far columns and rows
        // are apart; the output is written and not read.
        unsafe {
            gemm_basic_generic::<S, f32, N, MR, NR, MR_DIV_N, H_M, H_N>(
                simd,
                m,
                n,
                self.k,
                out,
                apart[0],
                apart[1],
                false,
                left.0,
                left.1,
                left.2,
                right.0,
                right.1,
                right.2,
                0.0,
                1.0,
                false,
                false,
                false,
                |a, b, c| a * b + c,
                kernels,
                horizontal,
                false,
                Parallelism::None,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `[5, 70]` times `[70, 9]`, by the first of some instruction sets that has a microkernel.
    fn product(sets: impl IntoIterator<Item = Isa>) -> Option<Vec<f32>> {
        let (m, k, n) = (5, 70, 9);
        let x: Vec<f32> = (0..m * k).map(|i| (i * 7919 % 203) as f32 / 101.0 - 1.0).collect();
        let y: Vec<f32> = (0..k * n).map(|i| (i * 104_729 % 211) as f32 / 105.0 - 1.0).collect();
        let mut out = vec![f32::NAN; m * n];
        let row = |values: usize| values as isize;
        let gemm = Gemm {
            m,
            k,
            n,
            x: (x.as_ptr(), row(k)),
            y: (y.as_ptr(), row(n)),
            out: (out.as_mut_ptr(), row(n)),
        };
        // SAFETY: the vectors are as long as the matrices, and outlive the call.
        sets.into_iter().any(|isa| unsafe { gemm.compute_on(isa) }).then_some(out)
    }

    #[test]
    fn every_set_of_vectors_has_a_microkernel_of_vectors() {
        let expected = product([Isa::Scalar]).unwrap();
        for isa in Isa::available().filter(|isa| *isa != Isa::Scalar) {
            let found = product(isa.descend().take_while(|isa| *isa != Isa::Scalar));
            let found = found.unwrap_or_else(|| panic!("{isa} is left to plain Rust"));
            for (found, expected) in found.iter().zip(&expected) {
                assert!((found - expected).abs() < 1e-4, "{isa}: {found}, not {expected}");
            }
        }
    }
}
