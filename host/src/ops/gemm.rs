//! The `gemm` crate's products, with the microkernel of the instruction set that was chosen; by itself it takes the machine's fastest.

use gemm_common::Parallelism;
use gemm_common::gemm::gemm_basic_generic;
use gemm_common::microkernel::{HMicroKernelFn, MicroKernelFn};
use gemm_common::simd::{MixedSimd, Scalar};
#[cfg(target_arch = "x86_64")]
use gemm_common::simd::{V3, V4};

use bitquilt_simd::AnySimd;

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
        let done = match simd {
            #[cfg(target_arch = "x86_64")]
            AnySimd::Avx512(_) => multiply!(self, avx512f, V4, 16),
            #[cfg(target_arch = "x86_64")]
            AnySimd::Avx2(_) => multiply!(self, fma, V3, 8),
            #[cfg(target_arch = "aarch64")]
            AnySimd::Neon(_) => multiply!(self, neon, Scalar, 4),
            _ => false,
        };
        if !done {
            multiply!(self, scalar, Scalar, 1);
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
